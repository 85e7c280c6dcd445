"""Tests the builders against numpy and against plain TensorFlow 1 code with original names."""

import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from mnist_mechanics import evaluate, fully_connected_feed, input_data, mnist
from mnist_mechanics.trained import TrainedNet
from tutorial_support import checkpoints

HIDDEN = (128, 32)
VARIABLES = {
    "hidden1/weights": ([784, 128], tf.float32),
    "hidden1/biases": ([128], tf.float32),
    "hidden2/weights": ([128, 32], tf.float32),
    "hidden2/biases": ([32], tf.float32),
    "softmax_linear/weights": ([32, 10], tf.float32),
    "softmax_linear/biases": ([10], tf.float32),
    "global_step": ([], tf.int32),
}


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(5)
        yield graph


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    images = rng.random((50, mnist.IMAGE_PIXELS), np.float32)
    return images, rng.integers(0, mnist.NUM_CLASSES, 50, dtype=np.int32)


def build(images, labels, learning_rate=0.1):
    logits = mnist.inference(tf.constant(images), *HIDDEN)
    loss = mnist.loss(logits, tf.constant(labels))
    train_op = mnist.training(loss, learning_rate)
    return logits, loss, train_op


def test_graph_has_the_originals_variables_and_ops(graph, batch):
    build(*batch)
    found = {v.op.name: (v.shape.as_list(), v.dtype.base_dtype) for v in tf.global_variables()}
    assert found == VARIABLES
    assert [v.op.name for v in tf.trainable_variables()] == list(VARIABLES)[:-1]
    ops = {op.name: op.type for op in graph.get_operations()}
    for name, kind in {
        "hidden1/MatMul": "MatMul",
        "hidden1/Relu": "Relu",
        "hidden2/Relu": "Relu",
        "softmax_linear/add": "AddV2",
        "xentropy_mean": "Mean",
        "loss": "ScalarSummary",
    }.items():
        assert ops[name] == kind
    assert any(name.startswith("xentropy/") for name in ops)


def test_initial_weights_are_truncated_normals_of_the_fan_in(graph, batch):
    build(*batch)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for variable in tf.trainable_variables():
            value = sess.run(variable)
            if variable.op.name.endswith("biases"):
                assert not value.any()
                continue
            stddev = 1 / math.sqrt(len(value))
            assert np.abs(value).max() <= 2 * stddev
            assert value.std() == pytest.approx(0.8796 * stddev, rel=0.1)  # truncated at 2 stddev


def test_one_step_equals_numpy(graph, batch):
    images, labels = batch
    logits, loss, train_op = build(images, labels)
    trainable = tf.trainable_variables()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = [value.astype(np.float64) for value in sess.run(trainable)]
        logits_value, loss_value = sess.run([logits, loss])
        sess.run(train_op)
        after = sess.run(trainable)
        assert sess.run(tf.global_variables()[-1]) == 1

    w1, b1, w2, b2, w3, b3 = before
    h1 = np.maximum(images @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    z = h2 @ w3 + b3
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    assert loss_value == pytest.approx(-np.log(p[rows, labels]).mean(), abs=1e-5)
    np.testing.assert_allclose(logits_value, z, atol=1e-5)

    dz = p.copy()
    dz[rows, labels] -= 1
    dz /= len(labels)
    dh2 = dz @ w3.T * (h2 > 0)
    dh1 = dh2 @ w2.T * (h1 > 0)
    gradients = [images.T @ dh1, dh1.sum(0), h1.T @ dh2, dh2.sum(0), h2.T @ dz, dz.sum(0)]
    for value, start, gradient in zip(after, before, gradients, strict=True):
        assert np.abs(gradient).max() > 1e-4
        np.testing.assert_allclose(value, start - 0.1 * gradient, atol=1e-5)


def test_evaluation_counts_correct_predictions(graph):
    logits = np.eye(10, dtype=np.float32)[[3, 1, 4, 1, 5]]
    correct = mnist.evaluation(tf.constant(logits), tf.constant([3, 1, 4, 0, 9], tf.int32))
    with tf.Session() as sess:
        assert sess.run(correct) == 3


def plain_tensorflow_1(hidden1=128, hidden2=32):
    """Builds the net with the original's names, without this package; returns images and logits."""
    images = tf.placeholder(tf.float32, [None, 784])
    layer = images
    for scope, rows, columns in (
        ("hidden1", 784, hidden1),
        ("hidden2", hidden1, hidden2),
        ("softmax_linear", hidden2, 10),
    ):
        with tf.name_scope(scope):
            start = tf.truncated_normal([rows, columns], stddev=1 / math.sqrt(rows))
            weights = tf.Variable(start, name="weights")
            biases = tf.Variable(tf.zeros([columns]), name="biases")
            layer = tf.matmul(layer, weights) + biases
        if scope != "softmax_linear":
            layer = tf.nn.relu(layer)
    tf.Variable(7, name="global_step", trainable=False)
    return images, layer


@pytest.mark.parametrize("version", [tf.train.SaverDef.V1, tf.train.SaverDef.V2])
def test_golden_checkpoint_of_the_original_restores_and_evaluates(tmp_path, batch, version, capsys):
    with tf.Graph().as_default():
        tf.set_random_seed(6)
        images, logits = plain_tensorflow_1(hidden1=20, hidden2=12)
        saver = tf.train.Saver(write_version=version)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            prefix = saver.save(sess, str(tmp_path / "model.ckpt"), global_step=6)

    sample = input_data.read_data_sets(input_data.SAMPLE).test
    with tf.Graph().as_default():
        images, logits = plain_tensorflow_1(hidden1=20, hidden2=12)
        with tf.Session() as sess:
            tf.train.Saver().restore(sess, prefix)
            expected = sess.run(logits, {images: sample.images})
    with TrainedNet.find(prefix).opened() as (sess, tensors):
        found = sess.run(tensors.logits, {tensors.images: sample.images})
    np.testing.assert_allclose(found, expected, atol=1e-5)

    assert evaluate.main(["--checkpoint", str(tmp_path), "--sample"]) == 0
    printed = capsys.readouterr().out
    of_label = expected[np.arange(1000), sample.labels]
    num_correct = int((expected.max(axis=1) == of_label).sum())  # a tie counts as correct
    assert "step 7" in printed
    assert f"Num examples: 1000  Num correct: {num_correct}  Precision @ 1:" in printed


def test_our_checkpoint_restores_in_plain_tensorflow_1(tmp_path, batch):
    with tf.Graph().as_default():
        logits, _, _ = build(*batch)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            expected = sess.run(logits)
            prefix = tf.train.Saver().save(sess, str(tmp_path / "model.ckpt"))
    with tf.Graph().as_default():
        images, logits = plain_tensorflow_1()
        with tf.Session() as sess:
            tf.train.Saver().restore(sess, prefix)
            np.testing.assert_allclose(sess.run(logits, {images: batch[0]}), expected, atol=1e-6)


def test_checkpoint_that_does_not_fit_is_explained(tmp_path, capsys):
    with tf.Graph().as_default():
        with tf.name_scope("hidden1"):
            tf.Variable(tf.zeros([784, 5]), name="weights")
        with tf.name_scope("hidden2"):
            tf.Variable(tf.zeros([3, 32]), name="weights")
        tf.Variable(tf.zeros([2]), name="something_else")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            prefix = tf.train.Saver().save(sess, str(tmp_path / "other.ckpt"))
    assert evaluate.main(["--checkpoint", prefix, "--sample"]) == 2
    message = capsys.readouterr().err
    assert "missing in the checkpoint: hidden1/biases [5]" in message
    assert "surplus in the checkpoint: something_else [2]" in message
    assert (
        "misshapen: hidden2/weights is [3, 32] in the checkpoint, [5, 32] in the graph" in message
    )
    assert "Traceback" not in message
    assert checkpoints.shapes(prefix)["something_else"] == [2]


@pytest.mark.parametrize("batch_size", [None, 4, 7, 100])
def test_evaluation_counts_every_example_once_with_any_batch_size(graph, capsys, batch_size):
    """With a fixed batch size, the last batch is padded with examples that never count."""
    images = np.zeros((10, 28, 28), np.uint8)
    images[:, 0, 0] = 255
    labels = np.uint8([3, 3, 3, 1, 2, 3, 3, 0, 3, 3])  # the last is among the right ones
    data_set = input_data.DataSet(images, labels)
    images_pl, labels_pl = fully_connected_feed.placeholder_inputs(batch_size)
    always_3 = tf.one_hot(tf.fill([tf.shape(images_pl)[0]], 3), 10)
    eval_correct = mnist.evaluation(always_3, labels_pl)
    with tf.Session() as sess:
        found = fully_connected_feed.do_eval(sess, eval_correct, images_pl, labels_pl, data_set)
    assert found == 0.7
    assert "Num examples: 10  Num correct: 7  Precision @ 1: 0.7000" in capsys.readouterr().out
