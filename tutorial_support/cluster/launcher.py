"""Runs a cluster on this machine: several processes of one program, each told its place.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m mnist_mechanics.fully_connected_replicated --sync

One of the workers is the chief. Each line of output begins with the task that printed it. When the
workers have ended, the others are stopped. When a task fails, or on Ctrl-C, all of them are.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from tutorial_support import programs, runs
from tutorial_support.cluster import clusters
from tutorial_support.programs import ArgumentParser, number, program

GRACE = 30.0  # seconds between SIGTERM and SIGKILL, as Kubernetes gives


def free_addresses(count):
    """Returns `count` different addresses on loopback whose ports are free."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


def plan(num_ps, num_workers, evaluator=False):
    """Returns the value of TF_CONFIG for each task.

    Args:
        num_ps: int.
        num_workers: int, at least 1, the chief included.
        evaluator: whether there is one.

    Returns:
        dict from (job, index) to the dict that TF_CONFIG holds as JSON.
    """
    addresses = free_addresses(num_ps + num_workers)
    cluster = {
        clusters.PS: addresses[:num_ps],
        clusters.CHIEF: addresses[num_ps : num_ps + 1],
        clusters.WORKER: addresses[num_ps + 1 :],
    }
    cluster = {job: tasks for job, tasks in cluster.items() if tasks}
    tasks = [(job, index) for job, tasks in cluster.items() for index in range(len(tasks))]
    tasks += [(clusters.EVALUATOR, 0)] * evaluator
    return {
        (job, index): {"cluster": cluster, "task": {"type": job, "index": index}}
        for job, index in tasks
    }


def start(command, config):
    """Starts one task, which ends when this process does.

    Args:
        command: list of strings.
        config: dict for TF_CONFIG.

    Returns:
        subprocess.Popen, its output a pipe.
    """
    # What this process set by itself, a task shall not take for the user's choice.
    chosen = {name: v for name, v in os.environ.items() if programs.ENVIRONMENT.get(name) != v}
    return subprocess.Popen(
        command,
        env=chosen | {clusters.VARIABLE: json.dumps(config), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C comes here alone, which then tells them in order
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


_SET_PARENT_DEATH_SIGNAL = 1  # of Linux' prctl


def _end_with_parent():
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def label(name, stream, output):
    """Copies a task's output to `output`, each line with the task's name before it."""
    for line in stream:
        output.write(f"[{name}] {line.decode(errors='replace')}")
        output.flush()


def end(processes):
    """Ends processes: SIGTERM to all, SIGKILL to those that are still there after GRACE."""
    for process in processes:
        process.terminate()
    due = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, due - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command, configs):
    """Runs a cluster to its end.

    Args:
        command: list of strings, the same for every task.
        configs: from `plan`.

    Returns:
        the exit code: 0 when all computing tasks and the evaluator ended well, else that of the
        first one that failed; 130 or 143 after a signal.
    """
    tasks, threads = {}, []
    with runs.StopSignals() as stop:
        try:
            for (job, index), config in configs.items():
                process = tasks[(job, index)] = start(command, config)
                arguments = (f"{job} {index}", process.stdout, sys.stdout)
                threads.append(threading.Thread(target=label, args=arguments))
                threads[-1].start()
            while not stop.requested:
                codes = {task: process.poll() for task, process in tasks.items()}
                failed = {task: code for task, code in codes.items() if code}
                if failed:
                    (job, index), code = next(iter(failed.items()))
                    print(f"{job} {index} failed with exit code {code}; ending the others.")
                    return code if code > 0 else 128 - code
                if all(code == 0 for (job, _), code in codes.items() if job != clusters.PS):
                    return 0
                time.sleep(0.1)
            return stop.exit_code
        finally:
            end(tasks.values())
            for thread in threads:
                thread.join()


@program
def main(argv=None):
    """Parses the flags and runs the cluster."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--ps", type=number(int, 0), default=1, help="parameter servers")
    parser.add_argument("--workers", type=number(int, 1), default=2, help="the chief included")
    parser.add_argument("--evaluator", action="store_true", help="start an evaluator, too")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="the program and its flags")
    flags = parser.parse_args(argv)
    return run(flags.command, plan(flags.ps, flags.workers, flags.evaluator))
