"""A learner's first experiments: after a change to one file, the net trains and restores."""

import pathlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from mnist_mechanics import (
    fully_connected_dataset,
    fully_connected_feed,
    fully_connected_looped,
    mnist,
)
from mnist_mechanics.trained import TrainedNet
from tests.edited import edited
from tests.saved import variables
from tutorial_support import event_files

HIDDEN2 = """    with tf.name_scope("hidden2"):
        weights, biases = _variables(hidden1_units, hidden2_units)
        hidden2 = tf.nn.relu(tf.matmul(hidden1, weights) + biases)
"""
DETAILS = "hidden1=hidden1, hidden2=hidden2"
HIDDEN3 = """    with tf.name_scope("hidden3"):
        weights, biases = _variables(hidden2_units, hidden2_units)
        hidden2 = tf.nn.relu(tf.matmul(hidden2, weights) + biases)
"""
EXPERIMENTS = {
    "another activation": [("tf.nn.relu(", "tf.nn.tanh(")],
    "a layer less": [
        (HIDDEN2, ""),
        (DETAILS, "hidden1=hidden1"),
        ("_variables(hidden2_units, NUM_CLASSES)", "_variables(hidden1_units, NUM_CLASSES)"),
        ("tf.matmul(hidden2, weights)", "tf.matmul(hidden1, weights)"),
    ],
    "a layer more, of equal width": [(HIDDEN2, HIDDEN2 + HIDDEN3)],
    "two equal widths": [],
    "another summary": [
        (HIDDEN2, HIDDEN2 + '    tf.summary.scalar("mine", tf.reduce_mean(hidden2))\n')
    ],
    "another optimizer": [
        ("tf.train.GradientDescentOptimizer(learning_rate)", "tf.train.AdamOptimizer()"),
    ],
}
PROGRAMS = {
    "feed": fully_connected_feed,
    "dataset": fully_connected_dataset,
    "looped": fully_connected_looped,
}
# The looped program builds its step twice, and a second optimizer would create its own slots.
PAIRS = [
    (program, name)
    for name in EXPERIMENTS
    for program in PROGRAMS
    if program == "feed" or name in ("another summary", "a layer more, of equal width")
]


@pytest.mark.usefixtures("pictures_not_drawn")
@pytest.mark.parametrize(("program", "name"), PAIRS)
def test_experiments_touch_one_file(program, name):
    width = "16" if name == "two equal widths" else "8"
    flags = ["--sample", "--hidden1", "16", "--hidden2", width, "--log_dir", "run"]
    with edited(mnist, *EXPERIMENTS[name]):
        assert PROGRAMS[program].main([*flags, "--max_steps", "200", "--summaries", "full"]) == 0
        with TrainedNet.find("run").opened() as (sess, tensors):
            logits = sess.run(tensors.logits, {tensors.images: np.zeros((2, 784))})
    assert logits.shape == (2, 10)
    scalars = event_files.scalars("run")
    assert scalars["loss"][0] == [0, 100]
    assert scalars["loss"][1][1] < scalars["loss"][1][0]
    if name == "another summary":
        assert scalars["mine"][0] == [0, 100]
    names = {name.split("/")[0] for name in variables("run")}
    assert ("hidden2" in names) == (name != "a layer less")
    assert ("hidden3" in names) == name.startswith("a layer more")


@pytest.mark.parametrize("program", PROGRAMS)
def test_top_level_of_the_graph_can_be_read(program):
    flags = ["--sample", "--hidden1", "16", "--hidden2", "8", "--log_dir", "run"]
    assert PROGRAMS[program].main([*flags, "--max_steps", "1", "--summaries", "full"]) == 0
    (path,) = pathlib.Path("run").glob("*tfevents*")
    graphs = [event.graph_def for event in tf.train.summary_iterator(str(path)) if event.graph_def]
    boxes = {node.name.partition("/")[0] for node in tf.GraphDef.FromString(graphs[0]).node}
    assert len(boxes) <= 25, sorted(boxes)
    assert {"hidden1", "hidden2", "softmax_linear", "evaluation", "save"} <= boxes
    own = {"images_placeholder", "labels_placeholder"} if program == "feed" else {"input"}
    assert own <= boxes
