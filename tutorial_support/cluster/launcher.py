"""Runs a cluster on this machine: several processes of one program, each told its place.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m mnist_mechanics.fully_connected_replicated --sync

One of the workers is the chief. Each line of output begins with the task that printed it. When the
workers have ended, the others are stopped. When a task fails, or on Ctrl-C, all of them are.

TensorFlow's servers listen on every network interface, and whoever reaches their ports can run ops,
which read and write files. With --private_network (Linux), nobody outside the cluster reaches them;
but the tasks cannot download either.
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

GRACE = 30.0  # seconds between SIGTERM and SIGKILL, as Kubernetes gives
Task = tuple[str, int]  # job and index
_IS_PRIVATE = (
    "GRAPH_TUTORIALS_PRIVATE_NETWORK"  # set for the launcher that runs in a network of its own
)


def free_addresses(count: int) -> list[str]:
    """Returns `count` different addresses on loopback whose ports are free."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


def plan(num_ps: int, num_workers: int, evaluator: bool = False) -> dict[Task, dict[str, Any]]:
    """Returns what TF_CONFIG holds as JSON, for each task.

    Args:
        num_ps: number of parameter servers.
        num_workers: at least 1, the chief included.
        evaluator: whether there is one.
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
    """Starts one task, with `config` in TF_CONFIG; its output is a pipe."""
    return subprocess.Popen(
        command,
        env=os.environ | {cluster.VARIABLE: json.dumps(config), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C comes to the launcher alone, which then ends the tasks
    )


class _Tasks:
    """The running tasks; `guard.py` ends them when the block is left or this process is killed."""

    def __init__(self) -> None:
        self._processes: dict[Task, subprocess.Popen] = {}
        self._threads: list[threading.Thread] = []
        self._exit_codes: dict[Task, int] = {}

    def __enter__(self) -> "_Tasks":
        command = [sys.executable, "-S", "-E", guard.__file__, str(GRACE)]
        self._guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        if self._guard.wait():  # it was killed itself
            for process in self._processes.values():
                process.kill()
        for thread in self._threads:
            thread.join()

    def start(self, task: Task, command: list[str], config: dict[str, Any]) -> None:
        """Starts a task and labels its output."""
        process = self._processes[task] = start(command, config)
        self._tell_guard(process.pid)
        thread = threading.Thread(target=_follow, args=(*task, process))
        thread.start()
        self._threads.append(thread)

    def exit_codes(self) -> dict[Task, int]:
        """Returns the exit codes of the tasks that have ended, in the order of their ends."""
        for task, process in self._processes.items():
            if task not in self._exit_codes and (code := process.poll()) is not None:
                self._exit_codes[task] = code
                self._tell_guard(-process.pid)
        return self._exit_codes

    def _tell_guard(self, number: int) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%d\n" % number)
        self._guard.stdin.flush()


def _follow(job: str, index: int, process: subprocess.Popen) -> None:
    """Prints a task's output, each line with the task's name before it, and awaits its end."""
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(f"[{job} {index}] {line.decode(errors='replace')}")
        sys.stdout.flush()
    process.wait()


def run(command: list[str], configs: dict[Task, dict[str, Any]]) -> int:
    """Runs a cluster to its end.

    Args:
        command: the same for every task.
        configs: from `plan`.

    Returns:
        the exit code: 0 when all computing tasks and the evaluator ended well, else that of the
        first one that failed; 129, 130 or 143 after a signal.
    """
    awaited = {task for task in configs if task[0] != cluster.PS}
    with programs.StopSignals() as stop, _Tasks() as tasks:
        for task, config in configs.items():
            tasks.start(task, command, config)
        while not stop.requested:
            codes = tasks.exit_codes()
            for (job, index), code in codes.items():
                if code:
                    print(f"{job} {index} failed with exit code {code}; ending the others.")
                    return code if code > 0 else 128 - code
            if awaited <= codes.keys():
                return 0
            time.sleep(0.1)
    return stop.exit_code


def _restart_in_private_network(argv: list[str]) -> None:
    """Runs this program in place of this process, in a network that has nothing but loopback.

    Raises:
        UsageError: the system does not allow it.
    """
    isolated = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", "--"]
    if not shutil.which("unshare") or subprocess.run([*isolated, "true"], check=False).returncode:
        raise UsageError(
            "--private_network: this system does not let you make a network namespace; leave the "
            "flag out and keep others from the ports with a firewall"
        )
    os.environ[_IS_PRIVATE] = "1"
    os.execvp(
        isolated[0], [*isolated, sys.executable, "-m", "tutorial_support.local_cluster", *argv]
    )


def _switch_loopback_on() -> None:
    import fcntl  # which Windows lacks

    set_flags, is_up_and_running = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP | IFF_RUNNING
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh", b"lo", is_up_and_running))


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and runs the cluster."""
    parser = programs.ArgumentParser(__doc__)
    parser.add_argument("--ps", type=number(int, 0), default=1, help="Parameter servers.")
    parser.add_argument("--workers", type=number(int, 1), default=2, help="The chief included.")
    parser.add_argument("--evaluator", action="store_true", help="Start an evaluator, too.")
    parser.add_argument(
        "--private_network",
        action="store_true",
        help="Give the cluster a network of its own, without a way in or out.",
    )
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="The program and its flags.")
    flags = parser.parse_args(argv)
    if not hasattr(os, "killpg"):
        raise UsageError(
            "this system has no process groups, by which the tasks are ended; use Linux or macOS, "
            "on Windows its Subsystem for Linux"
        )
    if os.environ.pop(_IS_PRIVATE, None):
        _switch_loopback_on()
    elif flags.private_network:
        _restart_in_private_network(sys.argv[1:] if argv is None else argv)
    else:
        LOG.warning(
            "whoever reaches this machine can use the tasks' ports, which run any op; keep others "
            "out with --private_network or a firewall"
        )
    return run(flags.command, plan(flags.ps, flags.workers, flags.evaluator))
