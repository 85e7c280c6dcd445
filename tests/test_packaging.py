"""The content of the wheel and the source distribution; the samples work from a wheel."""

import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest


def test_source_distribution_is_complete(distributions):
    with tarfile.open(distributions[1]) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"setup.py", "README.md", "LICENSE", "PORTING.md", "data/README.md"} <= names
    assert {"data/mnist/t10k-labels-idx1-ubyte.gz", "tests/conftest.py"} <= names
    assert {"data/scripts/make_mnist_sample.py", "mnist_mechanics/README.md"} <= names
    assert "porting/recipes/after_sessions.py" in names


PROGRAMS = [
    (
        ["mnist_mechanics.fully_connected_feed", "--sample", "--max_steps", "20"],
        "Test Data Eval:\nNum examples: 1000",
        "logs/mnist_feed/checkpoint",
    ),
    (
        ["flowers_transfer.retrain", "--sample", "--how_many_training_steps", "20"],
        "Final test accuracy = ",
        "logs/flowers/checkpoint",
    ),
    (
        ["catsdogs_finetune.train", "--sample", "--initial_epochs", "1", "--fine_tune_epochs", "0"],
        "Accuracy on the testing images: ",
        "logs/catsdogs/checkpoint",
    ),
]


@pytest.mark.slow
def test_wheel_runs_the_samples_in_an_empty_folder(distributions, installed, tmp_path):
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = wheel.namelist()
    assert not [name for name in names if name.startswith(("tests", "data"))]
    assert "tutorial_support/sample_data/cifar10/cifar-10-binary.tar.gz" in names
    assert not [name for name in names if re.search(r"sample_data/.*\.py$|images/.*\.png$", name)]
    empty = tmp_path / "empty"
    empty.mkdir()
    for program, printed, left in PROGRAMS:
        done = subprocess.run(
            [sys.executable, "-m", *program],
            cwd=empty,
            env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert printed in done.stdout
        assert pathlib.Path(empty / left).exists()
