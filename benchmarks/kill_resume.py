"""Kills each tutorial's training at random, resumes it, and compares it with an undisturbed run.

    python -m benchmarks.kill_resume
    python -m benchmarks.kill_resume --kills 50 --only cifar10_cnn

Every variable of the last checkpoint must be the same to the last bit, and so must every scalar in
the event files. All runs are on the shipped samples.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from tutorial_support import checkpoints, events
from tutorial_support.programs import ArgumentParser, number, program

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Of each training: the module, its flags, and the flag that names the run's folder.
TRAININGS = {
    "mnist_mechanics": (
        ["mnist_mechanics.fully_connected_feed", "--sample", "--max_steps", "6000"],
        "--log_dir",
    ),
    "cifar10_cnn": (
        [
            *["cifar10_cnn.train", "--sample", "--recipe", "best"],
            *["--generations", "120", "--save_every", "10"],
        ],
        "--train_dir",
    ),
    "flowers_transfer": (
        ["flowers_transfer.retrain", "--sample", "--how_many_training_steps", "6000"],
        "--train_dir",
    ),
    "catsdogs_finetune": (
        ["catsdogs_finetune.train", "--sample", "--initial_epochs", "8", "--fine_tune_epochs", "8"],
        "--train_dir",
    ),
}


def start(name, folder):
    """Starts a tutorial's training in a run folder."""
    command, flag = TRAININGS[name]
    return subprocess.Popen(
        [sys.executable, "-m", *command, flag, str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=folder.parent,
    )


def finish(process, name):
    """Waits for a training's own end."""
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}: {errors.decode()}")


def result(folder):
    """Returns what a run came to: its variables as bytes by name, and its scalars."""
    values = checkpoints.values(checkpoints.find(folder))
    return {name: value.tobytes() for name, value in values.items()}, events.scalars(folder)


def stress(name, kills, generator, folder):
    """Compares a training that is killed with one that is not.

    Args:
        name: one of TRAININGS.
        kills: int, how often at least to kill.
        generator: random.Random, draws the moments and the signals.
        folder: pathlib.Path, an empty folder.

    Returns:
        (how often a training was killed, how many of these runs differed from the undisturbed one).
    """
    started = time.monotonic()
    finish(start(name, folder / "whole"), name)
    length = time.monotonic() - started
    expected, done, different, rounds = result(folder / "whole"), 0, 0, 0
    while done < kills:
        run = folder / f"killed{rounds}"
        rounds += 1
        while True:
            process = start(name, run)
            try:
                process.wait(generator.uniform(0.3, 0.9) * length)
                break  # it ended by itself
            except subprocess.TimeoutExpired:
                process.send_signal(generator.choice(SIGNALS))
                process.communicate()
                done += 1
        finish(process, name)
        different += result(run) != expected
    return done, different


@program
def main(argv=None):
    """Parses the flags and prints a line a tutorial."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--kills", type=number(int, 1), default=5, help="of each tutorial")
    parser.add_argument("--only", choices=list(TRAININGS), help="one tutorial")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of moments and signals")
    flags = parser.parse_args(argv)
    failures = 0
    for name in [flags.only] if flags.only else TRAININGS:
        with tempfile.TemporaryDirectory() as folder:
            generator = random.Random(flags.seed)
            done, different = stress(name, flags.kills, generator, pathlib.Path(folder))
        print(f"{name}: killed {done} times, {different} runs ended differently")
        failures += different
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
