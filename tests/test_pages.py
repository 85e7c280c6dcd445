"""Every command on every page runs exactly as printed, shortened and on the samples."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PAGES = [
    "README.md",
    *(
        f"{name}/README.md"
        for name in ("mnist_mechanics", "cifar10_cnn", "flowers_transfer", "catsdogs_finetune")
    ),
    "PORTING.md",
    "docs/how_to/1_your_own_images.md",
    "docs/how_to/4_tflite_and_onnx.md",
    "docs/how_to/5_reading_event_files.md",
]
# Commands of earlier pages that a page builds on.
BEFORE = {
    "docs/how_to/1_your_own_images.md": [
        "python -m mnist_mechanics.fully_connected_feed",
        "python -m cifar10_cnn.train",
        "python -m flowers_transfer.retrain",
        "python -m catsdogs_finetune.train",
    ],
    "docs/how_to/4_tflite_and_onnx.md": ["python -m mnist_mechanics.fully_connected_feed"],
    "docs/how_to/5_reading_event_files.md": ["python -m mnist_mechanics.fully_connected_feed"],
}

# Flags that shorten a training, unless the command sets its length.
SHORT = {
    "mnist_mechanics.fully_connected_feed": ["--max_steps", "20"],
    "mnist_mechanics.fully_connected_dataset": ["--max_steps", "20"],
    "mnist_mechanics.fully_connected_looped": ["--max_steps", "20"],
    "cifar10_cnn.train": ["--generations", "4", "--eval_every", "4"],
    "cifar10_cnn.train_towers": ["--generations", "4", "--eval_every", "4"],
    "flowers_transfer.retrain": ["--how_many_training_steps", "20"],
    "catsdogs_finetune.train": ["--initial_epochs", "1", "--fine_tune_epochs", "1"],
}
# Files that the reader provides: their names in the commands, and what replaces them here.
BROUGHT = {
    "my_digit.png": "pictures/digit.png",
    "ship.png": "pictures/ship.png",
    "cat.jpg": "pictures/cat.jpg",
    "my_cat.jpg": "pictures/cat.jpg",
    "rose.jpg": "pictures/flower.jpg",
    "holiday_photos": "drawn_flowers/drawn_rose",
    "photo.jpg": "pictures/flower.jpg",
    "somewhere/new.jpg": "pictures/flower.jpg",
    "my_photos": "drawn_flowers",
    "my_project": "../mnist_mechanics",
    "model.pb": "cifar10_cnn/frozen_graph.pb",
    "drawn_flowers": "drawn_flowers",
    "flower_photos": "drawn_flowers",
    "cats_and_dogs_filtered": "drawn_cats_and_dogs",
    "data": ".",
    "cifar10_cnn/results": "../cifar10_cnn/results",
}
# Commands that no test runs: they need a cluster, a network, another package or a reader's own
# file, or never end.
LEFT_OUT = re.compile(
    r"local_cluster|_replicated|benchmarks|pytest|--eval_interval_secs|mine\.pb|weights\.h5"
    r"|mobilenet_v2\.h5|make_base|--base_graph|tensorboard |tf2onnx|_retrain_checkpoint"
    r"|convert_checkpoint old new"
)


def commands(page):
    """The commands in a page's code blocks; a trailing `\\` joins lines."""
    text = (REPOSITORY / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?:    |\$ |    \$ )?(python -m [a-z_0-9]+\.\S.*)$", text, re.M)
    return [re.sub(r"\s{2,}\(.*\)$", "", line) for line in lines if not LEFT_OUT.search(line)]


def test_the_pages_have_commands():
    for page in PAGES:
        assert commands(page), page


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(page, tmp_path):
    for name, place in BROUGHT.items():
        source = (REPOSITORY / "data" / place).resolve()
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("scripts"))
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / name)
    variables = {
        "GRAPH_TUTORIALS_DATA": str(tmp_path / "cache"),
        "https_proxy": "http://127.0.0.1:9",  # not a proxy, so the samples are used
        "HOME": str(tmp_path),
        "PYTHONPATH": str(REPOSITORY),
    }
    for command in [*BEFORE.get(page, []), *commands(page)]:
        _, _, module, *arguments = shlex.split(command)
        short = SHORT.get(module, [])
        flags = [] if set(short[::2]) & set(arguments) else short
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments, *flags],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
