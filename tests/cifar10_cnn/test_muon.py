"""Tests Muon against numpy and singular value decompositions."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from cifar10_cnn import recipes

SHAPES = [(5, 5, 3, 16), (40, 24), (24, 40), (12, 12)]


def reference(matrix):
    """The published iteration: five times on the matrix itself."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def evaluated(matrix):
    with tf.Graph().as_default(), tf.Session() as sess:
        return sess.run(recipes.orthogonalized(tf.constant(matrix.astype(np.float32))))


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_it_is_the_published_iteration_and_nearly_orthogonal(shape):
    matrix = np.random.default_rng(0).normal(size=shape) * 1e-3
    found = evaluated(matrix)
    np.testing.assert_allclose(found, reference(matrix), atol=2e-3)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ found @ right.T  # diagonal if the singular vectors are unchanged
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 0.01
    singular = np.diag(inner)[values > 0.1 * values.max()]
    assert singular.min() > 0.65 and singular.max() < 1.25


def test_a_gradient_of_nothing_moves_nothing():
    assert not evaluated(np.zeros((6, 4))).any()


def numpy_steps(start, gradients, rates):
    """Takes three steps: orthogonal steps for matrices, Nesterov momentum for the vector."""
    values = [value.astype(float) for value in start]
    means = [np.zeros(value.shape) for value in start]
    for rate in rates:
        for i, gradient in enumerate(gradients):
            if values[i].ndim == 1:
                means[i] = 0.9 * means[i] + gradient
                values[i] = values[i] - rate * (gradient + 0.9 * means[i])
                continue
            means[i] = 0.95 * means[i] + 0.05 * gradient
            ahead = (0.95 * means[i] + 0.05 * gradient).reshape(-1, gradient.shape[-1])
            step = max(1, ahead.shape[0] / ahead.shape[1]) ** 0.5 * reference(ahead)
            values[i] = values[i] - 0.1 * rate * (step.reshape(gradient.shape) + 0.3 * values[i])
    return values


@pytest.mark.parametrize("use_resource", [True, False])
def test_steps_against_numpy(use_resource):
    random = np.random.default_rng(1)
    shapes = [*SHAPES, (7,)]
    start = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    gradients = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    rates = [0.5, 0.4, 0.3]
    with tf.Graph().as_default(), tf.Session() as sess:
        rate = tf.placeholder(tf.float32, ())
        variables = [
            tf.get_variable(f"v{i}", initializer=tf.constant(value), use_resource=use_resource)
            for i, value in enumerate(start)
        ]
        step = tf.train.get_or_create_global_step()
        optimizer = recipes.MuonOptimizer(0.1 * rate, rate, lambda v: v.shape.rank > 1, decay=0.3)
        loss = tf.add_n([tf.reduce_sum(v * g) for v, g in zip(variables, gradients, strict=True)])
        train_op = optimizer.minimize(loss, step)
        sess.run(tf.global_variables_initializer())
        for number in rates:
            sess.run(train_op, {rate: number})
        assert sess.run(step) == 3
        found = sess.run(variables)
        assert len(optimizer.variables()) == len(shapes)
        # The checkpoint contains the slots, which are the optimizer's whole state.
        slots = {v.op.name for v in tf.global_variables()} - {v.op.name for v in variables}
        assert len(slots) == len(shapes) + 1
    for value, expected in zip(found, numpy_steps(start, gradients, rates), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-3)
