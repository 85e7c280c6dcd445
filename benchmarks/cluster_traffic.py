"""Measures the traffic between a worker and its ps per step, and computes how far that scales.

    python -m benchmarks.cluster_traffic

Runs each replicated program on loopback, with one ps and one worker, and the single-process
program, each for two numbers of steps. The difference between the two excludes starting and saving.
The kernel counts the bytes.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from tutorial_support import programs
from tutorial_support.programs import ArgumentParser, program

if __name__ == "__main__":
    programs.before_tensorflow()

from tutorial_support import checkpoints
from tutorial_support.cluster import launcher

# For each tutorial: the single-process program, the replicated one, their flags, the flag for the
# run folder, the flag for the number of steps, and two numbers of steps.
PROGRAMS = {
    "MNIST": (
        "mnist_mechanics.fully_connected_feed",
        "mnist_mechanics.fully_connected_replicated",
        ["--sample"],
        "--log_dir",
        "--max_steps",
        (500, 2500),
    ),
    "CIFAR-10": (
        "cifar10_cnn.train",
        "cifar10_cnn.train_replicated",
        ["--sample", "--recipe", "cookbook", "--eval_every", "1000000"],
        "--train_dir",
        "--generations",
        (20, 120),
    ),
    "flowers": (
        "flowers_transfer.retrain",
        "flowers_transfer.retrain_replicated",
        ["--sample", "--eval_step_interval", "1000000"],
        "--train_dir",
        "--how_many_training_steps",
        (500, 2500),
    ),
}
NETWORKS = (1, 10, 100)  # Gbit/s


def loopback_bytes():
    """Returns the number of bytes that this machine has sent on loopback."""
    for line in pathlib.Path("/proc/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    raise SystemExit("/proc/net/dev tells of no loopback device")


def alone(command):
    """Runs a command; returns its exit code."""
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        sys.stderr.buffer.write(done.stderr)
    return done.returncode


def on_cluster(command):
    """Runs a command as a ps and a worker; returns the exit code."""
    return launcher.run(command, launcher.plan(1, 1))


def step_cost(how, command, steps_flag, limits, folder_flag, folder):
    """Returns (bytes, seconds) per step.

    Args:
        how: `alone` or `on_cluster`.
        command: list of strings.
        steps_flag, limits: the flag for the number of steps, and two values.
        folder_flag, folder: the flag for run folders, and a folder for them.
    """
    found = []
    for steps in limits:
        run = [*command, folder_flag, str(folder / f"{steps}"), steps_flag, str(steps)]
        before, started = loopback_bytes(), time.monotonic()
        if how(run):
            raise SystemExit(f"{' '.join(run)} failed")
        found.append((loopback_bytes() - before, time.monotonic() - started))
    few, many = limits
    return [(more - less) / (many - few) for less, more in zip(*found, strict=True)]


def best_workers(seconds, overhead, size, gigabits, num_ps):
    """Returns (the best number of synchronous workers, its speed relative to one process).

    Each of n workers computes an n-th of the batch, reads all variables and sends all gradients.
    Each ps task does so for all workers and its part of the variables.

    Args:
        seconds: time of a step in one process.
        overhead: additional seconds of a step on a cluster, without traffic.
        size: bytes between a worker and all ps tasks in a step.
        gigabits: network speed of each machine in Gbit/s, in each direction.
        num_ps: int.
    """

    def step(workers):
        moving = size * max(1, workers / num_ps) / (gigabits * 1e9 / 8)
        return seconds / workers + overhead + moving

    best = min(range(1, 1001), key=step)
    return best, seconds / step(best)


@program
def main(argv=None):
    """Measures and prints."""
    ArgumentParser(__doc__).parse_args(argv)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (single, replicated, flags, folder_flag, steps_flag, limits) in PROGRAMS.items():
            costs = []
            for how, module in ((alone, single), (on_cluster, replicated)):
                folder = pathlib.Path(temporary, module)
                command = [sys.executable, "-m", module, *flags]
                costs.append(step_cost(how, command, steps_flag, limits, folder_flag, folder))
            values = checkpoints.values(checkpoints.find(folder / f"{limits[0]}")).values()
            variables = sum(value.nbytes for value in values if value.dtype.kind == "f")
            rows.append((name, variables, costs[1][0], costs[0][1], costs[1][1]))
    print("\n          variables, kB   traffic/step, kB   alone, ms   ps and worker, ms")
    for name, variables, size, seconds, replicated_seconds in rows:
        print(
            f"{name:10}{variables / 1e3:13.1f}{size / 1e3:19.1f}{1e3 * seconds:12.2f}"
            f"{1e3 * replicated_seconds:20.2f}"
        )
    overhead = min(replicated_seconds - seconds for *_, seconds, replicated_seconds in rows)
    print(f"\nSmallest overhead of a step on the cluster: {1e3 * overhead:.1f} ms.")
    print("Computed: the best number of synchronous workers, and its relative speed.")
    for name, _, size, seconds, _ in rows:
        for num_ps in (1, 4):
            found = [
                best_workers(seconds, overhead, size, gigabits, num_ps) for gigabits in NETWORKS
            ]
            cells = [
                f"{gigabits} Gbit/s: {workers} ({faster:.2f} times)"
                for gigabits, (workers, faster) in zip(NETWORKS, found, strict=True)
            ]
            print(f"{name:10}{num_ps} ps   " + "   ".join(cells))


if __name__ == "__main__":
    sys.exit(main())
