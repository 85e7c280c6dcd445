"""Checks the README's claims on the real MNIST, and Fashion-MNIST from its folder."""

import pathlib
import re

import pytest

from mnist_mechanics import evaluate, fully_connected_dataset, fully_connected_feed, input_data

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")  # Debian's package


def final_precision(printed):
    found = re.findall(r"Test Data Eval:\nNum examples: 10000 .* Precision @ 1: (\S+)", printed)
    return float(found[-1])


@pytest.mark.parametrize("program", [fully_connected_feed, fully_connected_dataset])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_precision_after_2000_steps(real_data, program, seed, capsys):
    flags = ["--input_data_dir", str(real_data / "mnist"), "--seed", str(seed)]
    assert program.main([*flags, "--log_dir", "run"]) == 0
    trained = final_precision(capsys.readouterr().out)
    assert trained >= 0.895
    assert evaluate.main(["--checkpoint", "run"]) == 0
    assert final_precision(capsys.readouterr().out) == trained


def test_published_files_have_the_expected_checksums(real_data, monkeypatch):
    """The cache accepts byte-exact files without a download."""
    monkeypatch.setenv("GRAPH_TUTORIALS_DATA", str(real_data))
    monkeypatch.setattr("tutorial_support.files._download", None)
    assert input_data.find_folder() == real_data / "mnist"


def test_sample_is_part_of_the_training_set(real_data):
    whole = input_data.read_data_sets(real_data / "mnist", validation_size=0).train
    known = {
        pixels.tobytes(): label for pixels, label in zip(whole.pixels, whole.labels, strict=True)
    }
    for part in input_data.read_data_sets(input_data.SAMPLE):
        for pixels, label in zip(part.pixels, part.labels, strict=True):
            assert known[pixels.tobytes()] == label


def test_fashion_mnist_trains_by_its_folder_alone(capsys):
    if not FASHION_MNIST.is_dir():
        pytest.skip(f"{FASHION_MNIST} is not there: install Debian's dataset-fashion-mnist")
    flags = ["--input_data_dir", str(FASHION_MNIST), "--log_dir", "run"]
    assert fully_connected_feed.main(flags) == 0
    assert final_precision(capsys.readouterr().out) > 0.7
