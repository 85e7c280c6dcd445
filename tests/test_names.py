"""Unusual class names in whole programs: no run fails because of them, and no file is damaged."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

import cifar10_cnn.evaluate
import cifar10_cnn.export
import cifar10_cnn.train
from flowers_transfer import evaluate, export, label_image, retrain
from tests import painted
from tests.cifar10_cnn import records
from tests.flowers_transfer import tiny

NAMES = ["$5_off_$10", "caf\udce9", "a" * 200, "日本", "a\nb", "\x1b[31mred\x07", "sea lion"]
ESCAPED = {"caf\udce9": r"caf\xe9", "a\nb": r"a\nb", "\x1b[31mred\x07": r"\x1b[31mred\x07"}
WRITTEN = sorted(ESCAPED.get(name, name) for name in NAMES)


FLAGS = ["--image_dir", "photos", "--base_graph", "base.pb", "--bottleneck_dir", "kept"]
FLAGS += ["--how_many_training_steps", "2", "--train_dir", "run"]


def is_printable(text):
    return all(line.isprintable() for line in text.splitlines())


def write_photos():
    painted.write_pictures(
        pathlib.Path("photos"),
        6,
        {name: (30 * i, 200 - 30 * i, 90) for i, name in enumerate(NAMES)},
    )
    tiny.write_graph("base.pb")


def check_run(output):
    """The output of a run on photos with these names."""
    assert is_printable(output)
    labels = pathlib.Path("run/export/labels.txt").read_text(encoding="utf-8")
    assert sorted(labels.splitlines()) == WRITTEN
    table = pathlib.Path("run/bottlenecks_labels.tsv").read_text(encoding="utf-8")
    assert sorted({line.split("\t")[0] for line in table.splitlines()[1:]}) == WRITTEN
    kept = json.loads(pathlib.Path("run/flags.json").read_text())
    origin = json.loads(pathlib.Path("run/export/origin.json").read_text())
    assert kept["class_names"] == origin["class_names"] == sorted(NAMES)
    pictures = [*pathlib.Path("run").rglob("*.png")]
    assert len(pictures) == 7 and all(Image.open(picture).size for picture in pictures)


def test_flowers(capsys):
    write_photos()
    assert retrain.main([*FLAGS, "--print_misclassified_test_images"]) == 0
    for main in (evaluate.main, export.main):
        assert main(["--checkpoint", "run"]) == 0
    assert label_image.main(["--checkpoint", "run", "photos"]) == 0
    check_run("".join(capsys.readouterr()))
    for folder in pathlib.Path("photos").iterdir():
        if folder.name.startswith("\x1b"):
            for picture in folder.iterdir():
                picture.write_text("nothing")
    assert retrain.main([*FLAGS, "--train_dir", "other"]) == 2
    message = capsys.readouterr().err
    assert r"no training image of class '\x1b[31mred\x07'" in message and is_printable(message)


@pytest.mark.slow
def test_flowers_on_an_ascii_terminal(program_environment):
    write_photos()
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment = {k: v for k, v in program_environment.items() if k != "PYTHONIOENCODING"}
    output = ""
    for module, arguments in [
        ("retrain", FLAGS),
        ("evaluate", ["--checkpoint", "run"]),
        (
            "label_image",
            ["--checkpoint", "run", *map(os.fsencode, pathlib.Path("photos").iterdir())],
        ),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", f"flowers_transfer.{module}", *arguments],
            env=environment | ascii_only,
            capture_output=True,
            text=True,
            encoding="ascii",
        )
        assert done.returncode == 0, done.stderr
        output += done.stdout
    assert is_printable(output) and "$5_off_$10" in output


def test_cifar10(capsys):
    """The file is split into names only at its line breaks."""
    folder = records.write(pathlib.Path("set"))
    text = "\ufeff$5_off_$10 \r\nsea lion\n\n\x1b[31mred\n".encode() + b"caf\xe9\n"
    (folder / "batches.meta.txt").write_bytes(text)
    few = ["--generations", "2", "--batch_size", "8", "--train_dir", "run"]
    assert cifar10_cnn.train.main(["--data_dir", "set", *few]) == 0
    assert cifar10_cnn.evaluate.main(["--checkpoint", "run"]) == 0
    assert cifar10_cnn.export.main(["--checkpoint", "run"]) == 0
    assert is_printable("".join(capsys.readouterr()))
    labels = pathlib.Path("run/export/labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == ["$5_off_$10", "sea lion", r"\x1b[31mred", r"caf\xe9"]
