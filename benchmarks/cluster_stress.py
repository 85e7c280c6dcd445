"""Kills and freezes tasks of a cluster at random, as part of `python -m benchmarks.stress`.

A ps, a chief and a worker train MNIST's net on the shipped sample, half of the rounds with
`--sync`. A random task gets SIGKILL, SIGTERM, SIGINT, SIGHUP or SIGSTOP at a random moment. Like a
supervisor on Kubernetes, this program restarts a task whose exit code is not 0, and a frozen one
after a while, as if its machine were lost, until the chief has succeeded. Then the workers must
end, too. The chief must have reached the last step with finite variables; with `--sync`, with those
of an undisturbed cluster.
"""

import pathlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np

from tutorial_support import checkpoints
from tutorial_support.cluster import CHIEF, PS, launcher

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP)
MODES = {"asynchronous": ["--max_steps", "4000"], "synchronous": ["--max_steps", "1200", "--sync"]}
_WAIT_SECS = 30
_ROUND_SECS = 400.0  # no round may take longer
_KILLS_IN_A_ROUND = 3


class Supervised:
    """The tasks of one training; restarts failed ones."""

    def __init__(self, folder: pathlib.Path, options: list[str]) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._command = [
            *[sys.executable, "-m", "mnist_mechanics.fully_connected_replicated", "--sample"],
            *["--log_dir", str(folder / "run")],
            *["--wait_secs", str(_WAIT_SECS), *options],
        ]
        self._plan = launcher.plan(1, 2)
        self._tasks: dict[launcher.Task, subprocess.Popen] = {}
        self._frozen: dict[launcher.Task, float] = {}
        for task in self._plan:
            self._start(task)

    def _start(self, task: launcher.Task) -> None:
        log = str(self._folder / f"{task[0]}{task[1]}.log")
        redirected = ["sh", "-c", 'exec "$@" >>"$0" 2>&1', log, *self._command]
        process = launcher.start(redirected, self._plan[task])
        self._tasks[task] = process

    def tend(self) -> bool:
        """Restarts failed tasks; returns whether the chief has succeeded and no worker runs."""
        for task, since in list(self._frozen.items()):
            if time.monotonic() - since > _WAIT_SECS + 10:
                self._tasks[task].kill()
                self._tasks[task].wait()
                del self._frozen[task]
        codes = {task: process.poll() for task, process in self._tasks.items()}
        is_trained = any(code == 0 for task, code in codes.items() if task[0] == CHIEF)
        for task, code in codes.items():
            if code and not is_trained:
                self._start(task)
        return is_trained and all(c is not None for task, c in codes.items() if task[0] != PS)

    def disturb(self, generator: random.Random) -> int | None:
        """Sends a random signal to a random task; returns the signal, or None if no task got it."""
        running = [t for t, p in self._tasks.items() if p.poll() is None and t not in self._frozen]
        if not running:
            return None
        task, number = generator.choice(running), generator.choice(SIGNALS)
        self._tasks[task].send_signal(number)
        if number == signal.SIGSTOP:
            self._frozen[task] = time.monotonic()
        return number

    def end(self) -> None:
        """Ends the remaining tasks."""
        for process in self._tasks.values():
            process.kill()
            process.wait()

    def output(self) -> str:
        """Returns the output of all tasks."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


def _train(folder: pathlib.Path, options: list[str], delays: list[float], generator: random.Random):
    """Returns (seconds, signals sent, variables, output) of one training to its end."""
    started, kills = time.monotonic(), Counter[int]()
    tasks = Supervised(folder, options)
    due = started
    try:
        while not tasks.tend():
            if delays and time.monotonic() > due + delays[0]:
                due, sent = time.monotonic(), tasks.disturb(generator)
                delays = delays[1:]
                kills[sent or 0] += sent is not None
            if time.monotonic() - started > _ROUND_SECS:
                return _ROUND_SECS, kills, None, tasks.output()
            time.sleep(0.1)
    finally:
        tasks.end()
    values = checkpoints.values(checkpoints.find(folder / "run"))
    return time.monotonic() - started, kills, values, tasks.output()


def stress(kills: int, seed: int, folder: pathlib.Path, modes: dict[str, list[str]] = MODES) -> int:
    """Prints a table of trainings with at least `kills` disturbed tasks; returns the failures."""
    names = " | ".join(number.name for number in SIGNALS)
    print(f"\n| cluster | kills | {names} | runs | unfinished | different | tracebacks |")
    print("|---" * (6 + len(SIGNALS)) + "|")
    failures = 0
    for name, options in modes.items():
        generator = random.Random(f"{seed} {name}")
        length, _, expected, output = _train(folder / name / "whole", options, [], generator)
        if expected is None:
            raise RuntimeError(output)
        total, runs, unfinished, different = Counter[int](), 0, 0, 0
        tracebacks: list[str] = []
        while sum(total.values()) < kills / len(modes):
            delays = [generator.uniform(0.1, 0.8) * length for _ in range(_KILLS_IN_A_ROUND)]
            run = folder / name / f"killed{runs}"
            _, sent, values, output = _train(run, options, delays, generator)
            total += sent
            runs += 1
            is_right = values is not None and _is_right(values, expected, options)
            unfinished += values is None
            different += values is not None and not is_right
            if "Traceback" in output:
                tracebacks.append(output)
            if not is_right:
                print(output)
        by_signal = " | ".join(str(total[number]) for number in SIGNALS)
        print(
            f"| {name} | {sum(total.values())} | {by_signal} | {runs} | {unfinished} "
            f"| {different} | {len(tracebacks)} |",
            *tracebacks,
            sep="\n",
            flush=True,
        )
        failures += unfinished + different + len(tracebacks)
    return failures


def _is_right(
    values: dict[str, np.ndarray], expected: dict[str, np.ndarray], options: list[str]
) -> bool:
    last_step = int(options[options.index("--max_steps") + 1])
    if values["global_step"] < last_step or not all(np.isfinite(v).all() for v in values.values()):
        return False
    if "--sync" not in options:
        return True
    return all(value.tobytes() == expected[name].tobytes() for name, value in values.items())
