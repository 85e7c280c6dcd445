"""Every command and all Python on every page runs as printed, shortened and on the samples."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from docs import build
from mnist_mechanics import input_data
from tests.conftest import REPOSITORY

PAGES = [
    "README.md",
    *(
        f"{name}/README.md"
        for name in ("mnist_mechanics", "cifar10_cnn", "flowers_transfer", "catsdogs_finetune")
    ),
    "PORTING.md",
    "docs/how_to/1_your_own_images.md",
    "docs/how_to/2_your_own_idx_or_cifar_files.md",
    "docs/how_to/3_clusters.md",
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
    "tutorial_support.local_cluster": ["--max_steps", "20"],  # for the program that it starts
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
    "data/fashion-mnist": "mnist",
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
    # The page on clusters is the one whose cluster is started.
    wanted = [line for line in lines if "clusters" in page or not LEFT_OUT.search(line)]
    return [re.sub(r"\s+# .*$", "", line) for line in wanted]


def code_of(page):
    """The page's Python, one block after the other, without what needs another package."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    blocks = re.findall(r"(?<!<!-- opencv -->\n)^```python\n(.*?)^```", text, re.M | re.S)
    return "\n".join(block for block in blocks if "onnxruntime" not in block)


def test_links_lead_to_files():
    """The site's links are checked where it is built; these are those that GitHub shows."""
    folders = [REPOSITORY / name for name in (*build._FOLDERS, "docs/how_to")]
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
    pages += [page for folder in folders for page in folder.rglob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 100
    assert not [(page, link) for page, link in links if not (page.parent / link).exists()]


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
    write_cifar_folders(tmp_path / "data")
    variables = {
        "GRAPH_TUTORIALS_DATA": str(tmp_path / "cache"),
        "https_proxy": "http://127.0.0.1:9",  # not a proxy, so the samples are used
        "HOME": str(tmp_path),
        "PYTHONPATH": str(REPOSITORY),
        # The launcher starts `python`, which is this one in an active virtual environment.
        "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
    }
    environment = os.environ | variables

    def succeed(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    for command in [*BEFORE.get(page, []), *commands(page)]:
        _, _, module, *arguments = shlex.split(command.replace(" /data/", f" {tmp_path}/data/"))
        short = SHORT.get(module, [])
        flags = [] if set(short[::2]) & set(arguments) else short
        succeed("-m", module, *arguments, *flags)
    if page.startswith("docs/"):
        code = code_of(page).replace('"/data/', f'"{tmp_path}/data/')
        for path in tmp_path.glob("logs/mnist_feed/events*"):
            code = re.sub(r"logs/mnist_feed/events\.[\w.]+", str(path), code)
        succeed("-c", code)


def write_cifar_folders(folder):
    """Writes the sample as CIFAR-10's folder, and its records with two labels as CIFAR-100's."""
    (folder / "cifar-10-batches-bin").parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(REPOSITORY / "data" / "cifar10" / "cifar-10-binary.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    records = {"train.bin": "data_batch_1.bin", "test.bin": "test_batch.bin"}
    (folder / "cifar-100-binary").mkdir()
    for name, source in records.items():
        data = (folder / "cifar-10-batches-bin" / source).read_bytes()
        rows = np.frombuffer(data, np.uint8).reshape(-1, 3073)
        rows = np.concatenate([rows[:, :1] // 2, rows], axis=1)
        (folder / "cifar-100-binary" / name).write_bytes(rows.tobytes())
    for name, count in [("coarse", 20), ("fine", 100)]:
        path = folder / "cifar-100-binary" / f"{name}_label_names.txt"
        path.write_text("\n".join(f"{name}{number}" for number in range(count)))


def test_the_written_files_are_read_back(tmp_path):
    """The functions of the page on idx files, against the package's reader."""
    space = {}
    code = code_of("docs/how_to/2_your_own_idx_or_cifar_files.md")
    exec(code.partition("from mnist_mechanics")[0], space)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    labels = np.array([3, 9, 0], np.uint8)
    space["write_images"](tmp_path / "images", pixels)
    space["write_labels"](tmp_path / "labels", labels)
    assert (input_data.extract_images((tmp_path / "images").open("rb"))[..., 0] == pixels).all()
    assert (input_data.extract_labels((tmp_path / "labels").open("rb")) == labels).all()
