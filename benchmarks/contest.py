"""Times contestants against each other, in turns, each in its own process.

A contestant is a function without arguments that prepares everything and returns a function from
a number of steps to the losses of these steps. Its process sleeps between its turns. So contestants
do not disturb each other, and do not share threads or settings of their libraries.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# The settings of this package; other contestants get TensorFlow's defaults.
OURS = {"TF_ENABLE_ONEDNN_OPTS": "1"}
PLAIN = {}


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        name: its name in the table.
        prepare: the name of the function in the benchmark's module.
        environment: environment variables for its process.
        needs: a package; without it, the contestant is skipped.
    """

    name: str
    prepare: str
    environment: dict = dataclasses.field(default_factory=dict)
    needs: str = "tensorflow"


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a contestant.

    Attributes:
        name: the contestant's name.
        rates: list of float, steps (or other units) per second, one per round.
        peak: int, the peak memory of its process in MB; 0 if the system does not report it.
    """

    name: str
    rates: list
    peak: int = 0

    @property
    def median(self):
        """The median of the rates."""
        return statistics.median(self.rates)


def run(module, contestants, steps, rounds, threads=None, scale=1, shortest=0.0):
    """Runs contestants in turns.

    Args:
        module: the name of the module with their functions.
        contestants: list of Contestant; prints the names of those whose package is missing.
        steps: {contestant's name: its steps per turn}, with "" for all others. A turn repeats them
            until it lasts `shortest` seconds.
        rounds: int, the number of turns.
        threads: int, the number of processors that they may use; None for all.
        scale: the number of units per step.
        shortest: the least number of seconds per turn.

    Returns:
        list of Result.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
        workers = []
        for contestant in contestants:
            if importlib.util.find_spec(contestant.needs) is None:
                print(f"{contestant.name} is left out: {contestant.needs} is not installed")
                continue
            workers.append(
                (contestant, stack.enter_context(_Worker(module, contestant, threads, folder)))
            )
        rates = {contestant.name: [] for contestant, _ in workers}
        counts = {}
        for contestant, worker in workers:
            count = steps.get(contestant.name, steps[""])
            worker.work(count)  # warms up
            # Whole multiples, for a loop of another length would be compiled anew.
            counts[contestant.name] = count * math.ceil(max(1, shortest / worker.work(count)))
        for _ in range(rounds):
            for contestant, worker in workers:
                count = counts[contestant.name]
                rates[contestant.name].append(scale * count / worker.work(count))
        return [
            Result(contestant.name, rates[contestant.name], worker.peak)
            for contestant, worker in workers
        ]


class _Worker:
    """A contestant's process."""

    def __init__(self, module, contestant, threads, folder):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TF_", "OMP_", "XLA_"))
        }
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
        # So that Python finds this package, whatever the current folder is.
        project = str(pathlib.Path(__file__).parents[1])
        environment |= {"PYTHONPATH": os.pathsep.join([project, *filter(None, sys.path)])}
        environment |= {"TMPDIR": folder} | contestant.environment
        command = [sys.executable, "-m", "benchmarks.contest", module, contestant.prepare]
        if threads is not None:
            processors = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
            command = ["taskset", "-c", processors, *command]
        self._name = contestant.name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (told if it fails)
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._answer()  # it is ready

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()

    def work(self, count):
        """Returns how many seconds `count` steps took."""
        print(count, file=self._process.stdin, flush=True)
        seconds, peak = self._answer()
        self.peak = int(peak)
        return float(seconds)

    def _answer(self):
        for line in self._process.stdout:
            if line.startswith("answer "):
                return line.split()[1:]
        self._errors.seek(0)
        sys.stderr.write(self._errors.read().decode(errors="replace"))
        raise SystemExit(f"the contestant '{self._name}' ended")


def main(module, prepare):
    """Runs in a contestant's process: answers each number of steps with the seconds they took."""
    work = getattr(importlib.import_module(module), prepare)()
    print("answer ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        work(int(line))
        print("answer", time.perf_counter() - started, _peak(), flush=True)


def _peak():
    """Returns the peak memory of this process in MB, without that of its parent."""
    status = pathlib.Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
