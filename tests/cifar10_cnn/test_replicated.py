"""The replicated CIFAR-10 program, on a cluster of threads."""

import re

import numpy as np
import pytest

from cifar10_cnn import evaluate, train, train_replicated
from tests import in_cluster
from tests.cifar10_cnn import records as made
from tests.saved import assert_same, variables
from tutorial_support import programs
from tutorial_support.cluster import replicas

FEW = ["--batch_size", "8", "--save_every", "1000", "--eval_every", "1000"]


@pytest.fixture
def data(tmp_path):
    return ["--data_dir", str(made.write(tmp_path / "set"))]


def replicate(*arguments):
    def parse():
        parser = programs.ArgumentParser("")
        train.add_flags(parser)
        replicas.add_flags(parser)
        return parser.parse_args([*arguments])

    return in_cluster.train(train_replicated.run_worker, parse)


@pytest.mark.slow
def test_synchronous_workers_follow_one_process_also_when_resumed(data):
    common = [*data, *FEW, "--recipe", "cookbook", "--learning_rate", "0.01"]
    assert train.main([*common, "--generations", "24", "--train_dir", "single"]) == 0
    for generations in ("12", "24"):
        common_flags = [*common, "--generations", generations]
        assert replicate(*common_flags, "--train_dir", "replicated", "--sync") == [0, 0]
    assert assert_same("single", "replicated", atol=2e-6)["global_step"] == 24


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--sync"], []], ids=["synchronous", "asynchronous"])
def test_moving_averages_follow(data, capsys, options):
    flags = [*data, *FEW, "--recipe", "best", "--generations", "3", "--train_dir", "run", *options]
    assert replicate(*flags) == [0, 0]
    found = variables("run")
    averages = [name for name in found if name.endswith("/ExponentialMovingAverage")]
    assert len(averages) == 10
    for name in averages:
        value = found[name.removesuffix("/ExponentialMovingAverage")]
        assert 0 < np.abs(found[name] - value).max() < np.abs(value).max()
    capsys.readouterr()
    assert evaluate.main(["--checkpoint", "run"]) == 0
    assert re.search(r"Generation [34]: \d+ of 30 images correct", capsys.readouterr().out)
