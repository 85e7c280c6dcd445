r"""Runs a training cluster on this machine: several processes of one program.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m mnist_mechanics.fully_connected_replicated --sync

One of the workers is the chief. Each line of output starts with the name of its task. When the
workers have ended, the launcher stops the other tasks. If a task fails, or on Ctrl-C, it stops all.

TensorFlow's servers listen on every network interface, and anyone who can reach their ports can run
ops, which read and write files. With --private_network (Linux only) no one outside the cluster can
reach them, but the tasks cannot download data either.
"""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

from tutorial_support import cluster, programs
from tutorial_support.cluster import guard
from tutorial_support.programs import LOG, UsageError, number

GRACE = 30.0  # seconds between SIGTERM and SIGKILL, as in Kubernetes
Task = tuple[str, int]  # job and index
_IS_PRIVATE = "GRAPH_TUTORIALS_PRIVATE_NETWORK"  # set when the launcher runs in a private network


def free_addresses(count: int) -> list[str]:
    """Returns `count` different loopback addresses with free ports."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


def plan(num_ps: int, num_workers: int, evaluator: bool = False) -> dict[Task, dict[str, Any]]:
    """Returns the content of TF_CONFIG for each task.

    Args:
        num_ps: number of parameter servers.
        num_workers: number of workers including the chief, at least 1.
        evaluator: whether to add an evaluator.
    """
    addresses = free_addresses(num_ps + num_workers)
    tasks = {
        cluster.PS: addresses[:num_ps],
        cluster.CHIEF: addresses[num_ps : num_ps + 1],
        cluster.WORKER: addresses[num_ps + 1 :],
    }
    tasks = {job: members for job, members in tasks.items() if members}
    names = [(job, index) for job, members in tasks.items() for index in range(len(members))]
    names += [(cluster.EVALUATOR, 0)] * evaluator
    return {
        (job, index): {"cluster": tasks, "task": {"type": job, "index": index}}
        for job, index in names
    }


def start(command: list[str], config: dict[str, Any]) -> subprocess.Popen:
    """Starts a task with `config` in TF_CONFIG and its output in a pipe."""
    return subprocess.Popen(
        command,
        env=os.environ | {cluster.VARIABLE: json.dumps(config), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches only the launcher, which then ends the tasks
    )


class _Tasks:
    """The running tasks; `guard.py` ends them at the block's end or if this process is killed."""

    def __init__(self) -> None:
        self._processes: dict[Task, subprocess.Popen] = {}
        self._threads: list[threading.Thread] = []
        self._exit_codes: dict[Task, int] = {}
        self._stopped_at: dict[Task, float] = {}
        self._failed_write: OSError | None = None  # of a task's output

    def __enter__(self) -> "_Tasks":
        command = [sys.executable, "-S", "-E", guard.__file__, str(GRACE)]
        self._guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        if self._guard.wait():  # the guard was killed itself
            for process in self._processes.values():
                process.kill()
        for thread in self._threads:
            thread.join()
        if self._failed_write and exception[0] is None:
            raise self._failed_write

    def start(self, task: Task, command: list[str], config: dict[str, Any]) -> None:
        """Starts a task and a thread that prints its output."""
        process = self._processes[task] = start(command, config)
        self._tell_guard(process.pid)
        thread = threading.Thread(target=self._follow, args=(*task, process))
        thread.start()
        self._threads.append(thread)

    def _follow(self, job: str, index: int, process: subprocess.Popen) -> None:
        """Prints a task's output with its name before each line, and waits for its end."""
        assert process.stdout is not None
        for line in process.stdout:
            if not self.is_output_lost:  # otherwise read on, so that the task can write and end
                try:
                    sys.stdout.write(f"[{job} {index}] {line.decode(errors='replace')}")
                    sys.stdout.flush()
                except OSError as error:
                    self._failed_write = error
        process.wait()

    @property
    def is_output_lost(self) -> bool:
        """Whether the output of a task could not be written; the block's end raises the error."""
        return self._failed_write is not None

    def exit_codes(self) -> dict[Task, int]:
        """Returns the exit codes of the ended tasks, in the order in which they ended."""
        for task, process in self._processes.items():
            if task not in self._exit_codes and (code := process.poll()) is not None:
                self._exit_codes[task] = code
                self._tell_guard(-process.pid)
        return self._exit_codes

    def frozen(self) -> Task | None:
        """Returns a task that a signal stopped GRACE seconds ago, or None.

        Its own watchdog is stopped with it, and once the chief has ended no other task notices.
        """
        for task in self._processes.keys() - self._exit_codes.keys():
            if not _is_stopped(self._processes[task].pid):
                self._stopped_at.pop(task, None)
            elif time.monotonic() - self._stopped_at.setdefault(task, time.monotonic()) > GRACE:
                return task
        return None

    def _tell_guard(self, number: int) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%d\n" % number)
        self._guard.stdin.flush()


def _is_stopped(process_id: int) -> bool:
    if not hasattr(os, "waitid"):  # Windows
        return False
    with contextlib.suppress(ChildProcessError):  # ended, and waited for by another thread
        options = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process_id, options) is not None
    return False


def run(command: list[str], configs: dict[Task, dict[str, Any]]) -> int:
    """Runs a cluster until it ends.

    Args:
        command: the command line of every task.
        configs: from `plan`.

    Returns:
        the exit code: 0 if all computing tasks and the evaluator succeeded, else that of the first
        task that failed; 129, 130 or 143 after a signal.

    Raises:
        OSError: the output of a task cannot be written.
    """
    awaited = {task for task in configs if task[0] != cluster.PS}
    with programs.StopSignals() as stop, _Tasks() as tasks:
        for task, config in configs.items():
            tasks.start(task, command, config)
        while not (stop.requested or tasks.is_output_lost):
            codes = tasks.exit_codes()
            for (job, index), code in codes.items():
                if code:
                    print(f"{job} {index} failed with exit code {code}; ending the others.")
                    return code if code > 0 else 128 - code
            if awaited <= codes.keys():
                return 0
            if frozen := tasks.frozen():
                print(f"{frozen[0]} {frozen[1]} is stopped (SIGSTOP); ending all tasks.")
                return 1
            time.sleep(0.1)
    return stop.exit_code


def _restart_in_private_network(argv: list[str]) -> None:
    """Replaces this process by the same program in a network namespace with only loopback.

    Raises:
        UsageError: the system does not allow it.
    """
    isolated = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", "--"]
    if not shutil.which("unshare") or subprocess.run([*isolated, "true"], check=False).returncode:
        raise UsageError(
            "--private_network: this system does not let you create a network namespace; leave the "
            "flag out and protect the ports with a firewall"
        )
    os.environ[_IS_PRIVATE] = "1"
    os.execvp(
        isolated[0], [*isolated, sys.executable, "-m", "tutorial_support.local_cluster", *argv]
    )


def _switch_loopback_on() -> None:
    import fcntl  # not available on Windows

    set_flags, is_up_and_running = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP | IFF_RUNNING
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh", b"lo", is_up_and_running))


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and runs the cluster."""
    parser = programs.ArgumentParser(__doc__)
    workers_help = "Number of workers, including the chief."
    add = parser.add_argument_group("cluster").add_argument
    add("--ps", type=number(int, 0), default=1, help="Number of parameter servers.")
    add("--workers", type=number(int, 1), default=2, help=workers_help)
    add("--evaluator", action="store_true", help="Also start an evaluator.")
    add(
        "--private_network",
        action="store_true",
        help="Run the cluster in a private network that no one else can reach (Linux only).",
    )
    parser.add_argument(
        "command", nargs="+", metavar="COMMAND", help="The command line of the program, after --."
    )
    flags = parser.parse_args(argv)
    if not hasattr(os, "killpg"):
        raise UsageError(
            "this system lacks process groups, which are needed to end the tasks; use Linux, macOS "
            "or the Windows Subsystem for Linux"
        )
    if os.environ.pop(_IS_PRIVATE, None):
        _switch_loopback_on()
    elif flags.private_network:
        _restart_in_private_network(sys.argv[1:] if argv is None else argv)
    else:
        LOG.warning(
            "anyone who can reach the tasks' ports on this machine can run any op in them; keep "
            "others out with --private_network or a firewall"
        )
    return run(flags.command, plan(flags.ps, flags.workers, flags.evaluator))
