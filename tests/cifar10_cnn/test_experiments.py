"""A learner's first experiments: after a change to one file, the net trains and restores."""

import numpy as np
import pytest

from cifar10_cnn import cifar10, recipes, train
from cifar10_cnn.trained import TrainedNet
from tests.cifar10_cnn import records as made
from tests.edited import edited
from tutorial_support import event_files

FULL2 = '    full2, _ = _dense(dropout(full1), 192, "2", tf.nn.relu)\n'
DETAILS = "full1=full1, full2=full2"
EXPERIMENTS = {
    "another activation": (cifar10, ("tf.nn.relu)", "tf.nn.elu)"), ("tf.nn.relu(", "tf.nn.tanh(")),
    "a layer less": (cifar10, (FULL2, ""), (DETAILS, "full1=full1"), ("full2,", "full1,")),
    "a layer more, of equal width": (
        cifar10,
        (FULL2, FULL2 + FULL2.replace("full1", "full2").replace('"2"', '"2b"')),
    ),
    "other widths": (cifar10, ("384", "32"), ("192", "32"), ("images, 64,", "images, 16,")),
    "another summary": (
        cifar10,
        (FULL2, FULL2 + '    tf.summary.scalar("mine", tf.reduce_mean(full2))\n'),
    ),
    "another optimizer": (
        recipes,
        ("tf.train.GradientDescentOptimizer(rate)", "tf.train.AdamOptimizer(rate)"),
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made.write(tmp_path_factory.mktemp("data") / "set")


@pytest.mark.usefixtures("pictures_not_drawn")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_touch_one_file(name, data):
    module, *changes = EXPERIMENTS[name]
    # The best recipe depends more on the net: dropout masks, penalty, Muon, averages.
    recipe = "cookbook" if name == "another optimizer" else "best"
    flags = ["--recipe", recipe, "--data_dir", str(data), "--train_dir", "run", "--batch_size", "8"]
    flags += ["--output_every", "1", "--eval_every", "2"]
    with edited(module, *changes):
        assert train.main([*flags, "--generations", "2"]) == 0
        with TrainedNet.find("run").opened() as (sess, tensors):
            bottleneck = sess.run(tensors.bottleneck, {tensors.images: np.zeros((2, 32, 32, 3))})
    assert len(bottleneck) == 2
    tags = event_files.scalars("run")
    assert tags["loss"][0] == [1, 2]
    if name == "another summary":
        assert tags["model_definition/mine"][0] == [1, 2]
