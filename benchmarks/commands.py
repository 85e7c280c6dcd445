"""Measures whole commands from start to exit: seconds and peak memory.

    python -m benchmarks.commands

It compares MNIST's default training with the original way, on as many images as MNIST has. On the
samples, it measures the time from importing TensorFlow to the first training step, and the time of
evaluate and predict beyond that import.
"""

import gzip
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

from tutorial_support import files
from tutorial_support.programs import ArgumentParser, number, program

IMPORT = [sys.executable, "-c", "import os, tensorflow; os._exit(0)"]
# Starts a training program and exits after its first step.
FIRST_STEP = """
import sys, os, importlib, tutorial_support
from tutorial_support import files
make_bar = files.progress_bar
def bar(total, description, *unit, **options):
    made = make_bar(total, description, *unit, **options)
    if description == "training" or description.startswith("Epoch"):
        def update(n=1):
            if n:
                os._exit(0)
        made.update = update
    return made
files.progress_bar = bar
importlib.import_module(sys.argv[1]).main(sys.argv[2:])
os._exit(1)
"""


def write_idx(folder):
    """Writes 60,000 + 10,000 images of noise in MNIST's format."""
    random = np.random.default_rng(0)
    for prefix, count in (("train", 60000), ("t10k", 10000)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        images[:, :, 8:] = 0  # as much of MNIST's images
        labels = random.integers(0, 10, count, dtype=np.uint8)
        header = struct.pack(">IIII", 2051, count, 28, 28)
        for name, content in (
            ("images-idx3-ubyte.gz", header + images.tobytes()),
            ("labels-idx1-ubyte.gz", struct.pack(">II", 2049, count) + labels.tobytes()),
        ):
            (folder / f"{prefix}-{name}").write_bytes(gzip.compress(content, 1))


def cost(command, plain=False):
    """Runs a command; returns (seconds, peak memory in MB).

    Args:
        command: list of strings.
        plain: whether TensorFlow has its default settings.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TF_", "OMP_"))
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if plain:
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # A small process in between: otherwise the command's peak would include our own memory.
    between = [sys.executable, "-S", "-c", _MEASURE, *command]
    done = subprocess.run(between, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    seconds, kilobytes = map(float, done.stdout.split())
    return seconds, kilobytes / 1024


_MEASURE = """
import os, sys, time
started = time.perf_counter()
nowhere = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
                       file_actions=[(os.POSIX_SPAWN_DUP2, nowhere, 1)])
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - started, usage.ru_maxrss)
sys.exit(status != 0)
"""


def module(name, *flags):
    """Returns the command that runs a module."""
    return [sys.executable, "-m", name, *map(str, flags)]


def first_step(name, *flags):
    """Returns the command that ends at a program's first step."""
    return [sys.executable, "-c", FIRST_STEP, name, *map(str, flags)]


def commands(folder):
    """Returns {name: (command, whether TensorFlow has its default settings)}."""
    write_idx(folder)
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[10:30, 18:22] = 255
    Image.fromarray(picture).save(folder / "picture.png")
    data = ("--input_data_dir", folder)
    runs = {
        "mnist_mechanics": ("fully_connected_feed", "--log_dir", ["--max_steps", 100], "predict"),
        "cifar10_cnn": ("train", "--train_dir", ["--generations", 2], "predict"),
        "flowers_transfer": (
            "retrain",
            "--train_dir",
            ["--how_many_training_steps", 10],
            "label_image",
        ),
        "catsdogs_finetune": (
            "train",
            "--train_dir",
            ["--initial_epochs", 1, "--fine_tune_epochs", 0],
            "predict",
        ),
    }
    found = {
        "import tensorflow": (IMPORT, False),
        "MNIST: original way": (module("benchmarks.original_mnist", folder), True),
        "MNIST: here, feed": (
            module(
                "mnist_mechanics.fully_connected_feed", *data, "--log_dir", folder / "1", "--fresh"
            ),
            False,
        ),
        "MNIST: here, --steps_per_run 100": (
            module(
                "mnist_mechanics.fully_connected_looped",
                *(*data, "--log_dir", folder / "2", "--fresh", "--steps_per_run", 100),
            ),
            False,
        ),
    }
    for package, (training, flag, short, predict) in runs.items():
        run = folder / package
        cost(module(f"{package}.{training}", "--sample", flag, run, *short))
        name = f"{package}: first step"
        again = (flag, folder / f"{package}-again", "--fresh")
        found[name] = first_step(f"{package}.{training}", "--sample", *again), False
        found[f"{package}: evaluate"] = module(f"{package}.evaluate", "--checkpoint", run), False
        predicted = module(f"{package}.{predict}", "--checkpoint", run, folder / "picture.png")
        found[f"{package}: {predict}"] = predicted, False
    return found


@program
def main(argv=None):
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--rounds", type=number(int, 1), default=5, help="Runs of each command.")
    folder = "The folder for the JSON file."
    parser.add_argument("--output_dir", default="benchmark_results", help=folder)
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        todo = commands(pathlib.Path(temporary))
        costs = {name: [] for name in todo}
        for _ in range(flags.rounds):
            for name, command in todo.items():
                costs[name].append(cost(*command))
    seconds = {name: statistics.median(s for s, _ in values) for name, values in costs.items()}
    memory = {name: statistics.median(m for _, m in values) for name, values in costs.items()}
    importing, original = seconds["import tensorflow"], seconds["MNIST: original way"]
    print(f"{'':38}{'s':>7}  lowest..highest  beyond import   peak MB")
    for name, values in costs.items():
        low, high = min(s for s, _ in values), max(s for s, _ in values)
        print(
            f"{name:38}{seconds[name]:7.2f}  {f'{low:.2f}..{high:.2f}':>15}"
            f"{seconds[name] - importing:15.2f}{memory[name]:10.0f}"
        )
    print(f"MNIST, feed / original way: {seconds['MNIST: here, feed'] / original:.2f}")
    folder = pathlib.Path(flags.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "commands.json", json.dumps(costs, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
