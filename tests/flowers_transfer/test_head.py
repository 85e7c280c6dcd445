"""The head against Keras, and the sampling of its batches."""

import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from flowers_transfer import bottlenecks, head
from tutorial_support import TRAIN, VALIDATION, image_lists

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(30, 7)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, 30)


def test_names_shapes_and_initial_values():
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        vectors, labels = head.placeholder_inputs(2048)
        head.training(head.loss(head.inference(vectors, 5), labels), 0.01)
        assert vectors.name == "BottleneckInputPlaceholder:0"
        assert labels.name == "GroundTruthInput:0"
        names = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
        assert names == {
            "final_training_ops/weights": [2048, 5],
            "final_training_ops/biases": [5],
            "global_step": [],
        }
        with tf.Session(graph=graph) as sess:
            sess.run(tf.global_variables_initializer())
            weights, biases = sess.run(tf.trainable_variables())
    assert not biases.any()
    assert weights.std() == pytest.approx(0.00088, rel=0.05)  # 0.001, cut off at two deviations
    assert np.abs(weights).max() <= 0.002


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_against_keras(momentum):
    weights, biases = RANDOM.normal(size=(7, 4)), RANDOM.normal(size=4)
    model = tf2.keras.Sequential(
        [tf2.keras.Input((7,)), tf2.keras.layers.Dense(4, kernel_regularizer=None)]
    )
    model.set_weights([weights, biases])
    optimizer = tf2.keras.optimizers.SGD(0.1, momentum=momentum)
    cross_entropy = tf2.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = []
    for _ in range(3):
        with tf2.GradientTape() as tape:
            value = cross_entropy(LABELS, model(VECTORS))
            objective = value + 0.3 * tf2.nn.l2_loss(model.trainable_variables[0])
        losses.append(float(value))
        gradients = tape.gradient(objective, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    trained, predictions = model.get_weights(), model(VECTORS).numpy().argmax(axis=1)

    with tf.Graph().as_default() as graph:
        bottleneck_input, ground_truth = head.placeholder_inputs(7)
        logits = head.inference(bottleneck_input, 4)
        loss = head.loss(logits, ground_truth)
        train_op = head.training(loss + head.weight_decay(0.3), 0.1, momentum)
        correct = head.evaluation(logits, ground_truth)
        feed = {bottleneck_input: VECTORS, ground_truth: LABELS}
        with tf.Session(graph=graph) as sess:
            sess.run(tf.global_variables_initializer())
            for variable, value in zip(tf.trainable_variables(), (weights, biases), strict=True):
                variable.load(value, sess)
            found = [sess.run([loss, train_op], feed)[0] for _ in range(3)]
            np.testing.assert_allclose(found, losses, rtol=1e-5)
            for value, expected in zip(sess.run(tf.trainable_variables()), trained, strict=True):
                np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
            assert sess.run(tf.train.get_global_step()) == 3
            assert sess.run(correct, feed) == (predictions == LABELS).sum()


def sampler(sampling, seed=0, labels=None, split=TRAIN, splits=None):
    labels = uneven() if labels is None else labels
    splits = np.zeros(len(labels), int) if splits is None else splits
    paths = tuple(f"{label}/{i}.jpg" for i, label in enumerate(labels))
    images = image_lists.ImageList(pathlib.Path("photos"), ("0", "1", "2"), paths, labels, splits)
    return bottlenecks.Sampler(types.SimpleNamespace(images=images), split, sampling, seed)


def uneven():
    return np.repeat([0, 1, 2], [5, 50, 500])


def test_sampling_by_class_gives_each_class_the_same_weight():
    by_class = sampler("class")
    drawn = np.concatenate([by_class.batch(step, 100) for step in range(60)])
    shares = np.bincount(uneven()[drawn]) / len(drawn)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    assert len(np.unique(drawn)) > 530


def test_sampling_by_image_gives_each_image_the_same_weight():
    by_image = sampler("image")
    drawn = np.concatenate([by_image.batch(step, 37) for step in range(555 * 3 // 37)])
    assert np.array_equal(np.bincount(drawn), np.full(555, 3))


@pytest.mark.parametrize("sampling", ["class", "image"])
def test_a_batch_is_a_function_of_seed_and_step(sampling):
    first = sampler(sampling, seed=1)
    batches = [first.batch(step, 100) for step in range(20)]
    assert np.array_equal(sampler(sampling, seed=1).batch(13, 100), batches[13])
    assert not np.array_equal(sampler(sampling, seed=2).batch(13, 100), batches[13])
    assert not np.array_equal(batches[12], batches[13])


@pytest.mark.parametrize("sampling", ["class", "image"])
def test_a_batch_is_of_one_split(sampling):
    labels, splits = np.arange(90) % 3, np.arange(90) // 3 % 3
    drawn = sampler(sampling, labels=labels, split=VALIDATION, splits=splits).batch(0, 600)
    assert set(drawn) == set(np.flatnonzero(splits == 1))
