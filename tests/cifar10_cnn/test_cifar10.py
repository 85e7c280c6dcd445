"""The builders, against Keras, numpy and TensorFlow's own LRN gradient."""

import argparse
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, recipes
from cifar10_cnn.cifar10 import lrn
from cifar10_cnn.recipes import RECIPES

VARIABLES = {
    "conv1/conv_kernel1": [5, 5, 3, 64],
    "conv1/conv_bias1": [64],
    "conv2/conv_kernel2": [5, 5, 64, 64],
    "conv2/conv_bias2": [64],
    "full1/full_mult1": [2304, 384],
    "full1/full_bias1": [384],
    "full2/full_mult2": [384, 192],
    "full2/full_bias2": [192],
    "full3/full_mult3": [192, 10],
    "full3/full_bias3": [10],
}
LRN = {"depth_radius": 5, "bias": 2.0, "alpha": 1e-3, "beta": 0.75}


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(4)
        yield graph


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    images = rng.standard_normal((8, 24, 24, 3), np.float32)
    return images, rng.integers(0, 10, 8).astype(np.int32)


def build(images):
    with tf.variable_scope(cifar10.SCOPE):
        return cifar10.inference(images)


def test_graph_has_the_originals_variables_and_ops(graph, batch):
    build(tf.constant(batch[0]))
    found = {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}
    assert found == {f"model_definition/{name}": shape for name, shape in VARIABLES.items()}
    assert sum(int(np.prod(shape)) for shape in found.values()) == 1_068_298
    ops = {op.name: op.type for op in graph.get_operations()}
    for name, kind in (("pool_layer1", "MaxPool"), ("pool_layer2", "MaxPool")):
        assert ops[f"model_definition/{name}"] == kind
    for name, side in (("norm1", 6), ("norm2", 3)):  # not LRN ops, see cifar10.lrn
        normalized = graph.get_tensor_by_name(f"model_definition/{name}:0")
        assert normalized.shape.as_list()[1:] == [2 * side, 2 * side, 64]


def test_initial_weights(graph, batch):
    build(tf.constant(batch[0]))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for variable in tf.trainable_variables():
            value = sess.run(variable)
            if "bias" in variable.op.name:
                assert not value.any()
            else:
                assert np.abs(value).max() <= 0.1
                assert value.std() == pytest.approx(0.8796 * 0.05, rel=0.03)


def numpy_lrn(x, depth_radius, bias, alpha, beta):
    squares = np.square(x)
    scale = np.full_like(x, bias)
    for channel in range(x.shape[-1]):
        near = slice(max(0, channel - depth_radius), channel + depth_radius + 1)
        scale[..., channel] += alpha * squares[..., near].sum(axis=-1)
    return x / scale**beta


@pytest.mark.parametrize("alpha", [1e-3, 0.3])
def test_lrn_and_its_gradient(graph, alpha):
    settings = LRN | {"alpha": alpha}
    rng = np.random.default_rng(2)
    x = tf.constant(3 * rng.standard_normal((4, 6, 5, 64)).astype(np.float32))
    dy = tf.constant(rng.standard_normal((4, 6, 5, 64)).astype(np.float32))
    ours, theirs = lrn(x, **settings, name="norm"), tf.nn.lrn(x, **settings)
    our_gradient, their_gradient = tf.gradients(ours, x, dy)[0], tf.gradients(theirs, x, dy)[0]
    with tf.Session() as sess:
        values = sess.run([x, ours, theirs, our_gradient, their_gradient])
    np.testing.assert_allclose(values[1], numpy_lrn(values[0].astype(float), **settings), atol=1e-5)
    np.testing.assert_allclose(values[1], values[2], atol=1e-6)
    np.testing.assert_allclose(values[3], values[4], atol=1e-5)
    assert np.abs(values[3] - values[3].mean()).max() > 0.1


def keras_step(weights, images, labels, rate):
    """The loss and the weights after one step of SGD in Keras, from the same initial weights."""

    def normalize(x):
        return tf2.nn.lrn(x, 5, 2.0, 1e-3, 0.75)

    layers = [keras.Input((24, 24, 3))]
    for _ in range(2):
        layers += [
            keras.layers.Conv2D(64, 5, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(3, 2, padding="same"),
            keras.layers.Lambda(normalize, output_shape=lambda shape: shape),
        ]
    layers += [
        keras.layers.Flatten(),
        keras.layers.Dense(384, activation="relu"),
        keras.layers.Dense(192, activation="relu"),
        keras.layers.Dense(10),
    ]
    model = keras.Sequential(layers)
    model.set_weights(weights)
    objective = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf2.GradientTape() as tape:
        logits = model(images)
        loss = objective(labels, logits)
    gradients = tape.gradient(loss, model.trainable_variables)
    keras.optimizers.SGD(rate).apply_gradients(
        zip(gradients, model.trainable_variables, strict=True)
    )
    return logits.numpy(), loss.numpy(), model.get_weights()


def test_one_step_equals_keras(batch):
    images, labels = batch
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(4)
        logits = build(tf.constant(images)).logits
        loss = cifar10.loss(logits, tf.constant(labels))
        train_op = cifar10.training(loss, 0.1)
        trainable = tf.trainable_variables()
        sess.run(tf.global_variables_initializer())
        before = sess.run(trainable)
        logits_value, loss_value = sess.run([logits, loss])
        sess.run(train_op)
        after = sess.run(trainable)
        assert sess.run(tf.train.get_global_step()) == 1
    expected_logits, expected_loss, expected = keras_step(before, images, labels, 0.1)
    np.testing.assert_allclose(logits_value, expected_logits, atol=1e-4)
    assert loss_value == pytest.approx(expected_loss, abs=1e-5)
    for value, wanted, start in zip(after, expected, before, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-5)
        assert np.abs(value - start).max() > 1e-5


def test_test_net_shares_the_variables_and_takes_any_batch(graph, batch):
    images = tf.placeholder(tf.float32, (None, 24, 24, 3))
    first = build(tf.constant(batch[0])).logits
    with tf.variable_scope(cifar10.SCOPE, reuse=True):
        second = cifar10.inference(images).logits
    assert len(tf.trainable_variables()) == len(VARIABLES)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        expected = sess.run(first)
        for size in (8, 3, 1):
            np.testing.assert_allclose(
                sess.run(second, {images: batch[0][:size]}), expected[:size], atol=1e-5
            )


def test_averages_are_what_the_test_net_reads(graph, batch):
    average = tf.train.ExponentialMovingAverage(0.5)
    loss = cifar10.loss(build(tf.constant(batch[0])).logits, tf.constant(batch[1]))
    train_op = cifar10.training(loss, 0.1, average=average)
    with tf.variable_scope(cifar10.SCOPE, reuse=True, custom_getter=cifar10.averaged(average)):
        biases = tf.get_variable("full3/full_bias3")
    (variable,) = [v for v in tf.trainable_variables() if v.op.name.endswith("full_bias3")]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        expected = sess.run(variable)
        for _ in range(3):
            sess.run(train_op)
            expected = 0.5 * expected + 0.5 * sess.run(variable)
            np.testing.assert_allclose(sess.run(biases), expected, atol=1e-7)
        assert np.abs(expected).max() > 1e-3


def test_the_net_hands_back_what_others_need(graph, batch):
    net = build(tf.constant(batch[0]))
    assert net.filters.op.name == "model_definition/conv1/conv_kernel1"
    assert net.last_weights.op.name == "model_definition/full3/full_mult3"
    (biases,) = [v for v in tf.trainable_variables() if v.op.name.endswith("full_bias3")]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(biases.assign(np.arange(10, dtype=np.float32)))
        logits, bottleneck, weights = sess.run([net.logits, net.bottleneck, net.last_weights])
    assert bottleneck.shape == (8, 192) and bottleneck.min() == 0 < bottleneck.max()
    np.testing.assert_allclose(bottleneck @ weights + np.arange(10), logits, atol=1e-5)


def test_losses_and_penalty(graph, batch):
    net = build(tf.constant(batch[0]))
    recipe = recipes.Recipe(0.1, "staircase", penalty=0.3, label_smoothing=0.2)
    fetches = [net.logits, *recipe.loss(net, tf.constant(batch[1])), net.last_weights]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        z, loss, objective, last = sess.run(fetches)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    right = log_p[np.arange(8), batch[1]]
    assert loss == pytest.approx(-right.mean(), rel=1e-5)
    smoothed = -(0.8 * right + 0.2 * log_p.mean(axis=1)).mean()
    assert objective == pytest.approx(smoothed + 0.3 * np.square(last).sum() / 2, rel=1e-5)


def test_hidden_matrices_take_orthogonal_steps(graph, batch):
    net = build(tf.constant(batch[0]))
    cifar10.training(
        cifar10.loss(net.logits, tf.constant(batch[1])),
        0.1,
        RECIPES["best"].optimizer(tf.constant(0.1), net.last_weights),
    )
    slots = [v.op.name for v in tf.global_variables() if v.op.name.endswith("/Muon")]
    names = ("conv1/conv_kernel1", "conv2/conv_kernel2", "full1/full_mult1", "full2/full_mult2")
    assert slots == [f"model_definition/{name}/Muon" for name in names]


def test_the_moving_average_begins_with_a_smaller_decay(graph):
    step = tf.placeholder(tf.int64, ())
    value = tf.get_variable("value", initializer=0.0)
    average = RECIPES["best"].average(step)
    update = average.apply([value])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(value.assign(1.0))
        expected = 0.0
        for number in (0, 1, 5, 100_000):
            sess.run(update, {step: number})
            decay = min(0.999, (1 + number) / (10 + number))
            expected = decay * expected + (1 - decay)
            assert sess.run(average.average(value)) == pytest.approx(expected, rel=1e-5)


def dropped(step, features, seed=3):
    recipe = dataclasses.replace(RECIPES["best"], dropout=0.5)
    with tf.Graph().as_default(), tf.Session() as sess:
        drop = recipe.drop(tf.constant(step, tf.int32), 1000, seed)
        return sess.run(drop(tf.constant(features)))


def test_dropout_grows_evenly_and_depends_on_seed_and_step_alone():
    features = np.ones((100, 300), np.float32)
    np.testing.assert_array_equal(dropped(0, features), features)
    for step, share in ((500, 0.25), (1000, 0.5)):
        values = dropped(step, features)
        assert (values == 0).mean() == pytest.approx(share, abs=0.01)
        np.testing.assert_allclose(values[values != 0], 1 / (1 - share), rtol=1e-5)
    first = dropped(700, features)
    np.testing.assert_array_equal(first, dropped(700, features))
    for other in (dropped(701, features), dropped(700, features, seed=4)):
        assert ((first == 0) != (other == 0)).mean() > 0.3
    narrow = dropped(700, features[:, :150])
    assert ((first[:, :150] == 0) != (narrow == 0)).mean() > 0.3


def masks(widths, part=0):
    with tf.Graph().as_default(), tf.Session() as sess:
        drop = RECIPES["best"].drop(tf.constant(900, tf.int64), 1000, 0, part)
        return [value == 0 for value in sess.run([drop(tf.ones([200, n])) for n in widths])]


def test_layers_of_equal_width_drop_other_features():
    first, second, third = masks([384, 384, 384])
    for one, other in ((first, second), (second, third), (first, third)):
        assert 0.3 < (one != other).mean() < 0.5
    # The masks of the net's two layers, 2304 and 384 wide, must not change.
    np.testing.assert_array_equal(masks([2304, 384])[1], first)
    with tf.Graph().as_default(), tf.Session() as sess:
        key = tf.constant([384, 900], tf.int64)
        rate = RECIPES["best"].dropout * 0.9
        value = tf2.nn.experimental.stateless_dropout(tf.ones([200, 384]), rate, seed=key)
        np.testing.assert_array_equal(sess.run(value) == 0, first)


def test_the_parts_of_a_batch_drop_other_features_in_towers_and_in_processes():
    towers = masks([2304, 384] * 3)  # one function for three nets
    processes = [masks([2304, 384], part) for part in (0, 1, 511)]
    for one, other in (
        (towers[0], towers[2]),
        (towers[1], towers[3]),
        (towers[3], towers[5]),
        (processes[0][1], processes[1][1]),
        (processes[1][1], processes[2][1]),
    ):
        assert 0.3 < (one != other).mean() < 0.5


def test_evaluation_counts(graph):
    logits = tf.constant(np.eye(10, dtype=np.float32)[[3, 1, 4]])
    with tf.Session() as sess:
        assert sess.run(cifar10.evaluation(logits, tf.constant([3, 2, 4]))) == 2


def rates(recipe, steps, learning_rate=None):
    flags = argparse.Namespace(
        generations=20000, lr_decay=0.9, num_gens_to_wait=250, learning_rate=learning_rate
    )
    with tf.Graph().as_default(), tf.Session() as sess:
        step = tf.placeholder(tf.int64, ())
        rate = recipe.rate(step, flags)
        return [sess.run(rate, {step: value}) for value in steps]


def test_the_cookbooks_rate_decays_in_stairs():
    steps = [0, 249, 250, 499, 500, 5000, 19999]
    expected = [0.1 * 0.9 ** (step // 250) for step in steps]
    np.testing.assert_allclose(rates(RECIPES["cookbook"], steps), expected, rtol=1e-5)


def test_the_best_rate_rises_and_falls_along_a_cosine():
    steps = [0, 249, 499, 10000, 15000, 20000]
    expected = [
        0.05 * min(1, (step + 1) / 500) * (1 + np.cos(np.pi * step / 20000)) / 2 for step in steps
    ]
    np.testing.assert_allclose(rates(RECIPES["best"], steps), expected, rtol=1e-4, atol=1e-9)
    assert rates(RECIPES["best"], [10000], learning_rate=1.0)[0] == pytest.approx(0.5, rel=1e-4)
