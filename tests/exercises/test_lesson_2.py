"""Notebook 2: every solution passes, and typical mistakes get different messages."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exercises import lesson_2
from tests.exercises import lessons


def _values(record):
    return np.frombuffer(record, np.uint8)


def _colours_first(record):
    return record[0], _values(record)[1:].reshape(3, 32, 32)


def _mixed_pixels(record):
    return record[0], _values(record)[1:].reshape(32, 32, 3)


def _label_in_the_image(record):
    return record[0], _values(record)[:-1].reshape(3, 32, 32).transpose(1, 2, 0)


def _rows_and_columns_swapped(record):
    return record[0], _values(record)[1:].reshape(3, 32, 32).T


def _each(logits, targets):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def _naive(logits, targets):
    picked = tf.gather(tf.nn.softmax(logits), targets, axis=1, batch_dims=1)
    return -tf.reduce_mean(tf.math.log(picked))


def _clipped(logits, targets):
    picked = tf.gather(tf.nn.softmax(logits), targets, axis=1, batch_dims=1)
    return -tf.reduce_mean(tf.math.log(tf.maximum(picked, 1e-10)))


def _train(loss, count=True, staircase=True, use_rate=True):
    step = tf.train.get_or_create_global_step()
    rate = tf.train.exponential_decay(0.1, step, 2, 0.9, staircase=staircase)
    optimizer = tf.train.GradientDescentOptimizer(rate if use_rate else 0.1)
    return optimizer.minimize(loss, global_step=step if count else None), rate


def _two_scopes(net, images, test_images):
    with tf.variable_scope("net"):
        logits = net(images)
    with tf.variable_scope("test_net"):
        return logits, net(test_images)


def _no_reuse(net, images, test_images):
    with tf.variable_scope("net"):
        logits = net(images)
    with tf.variable_scope("net"):
        return logits, net(test_images)


def _built_once(net, images, test_images):
    logits = net(images)
    return logits, logits


def _apply_and_save(average):
    average.apply(tf.trainable_variables())
    return tf.train.Saver(average.variables_to_restore())


WRONG = [
    (lesson_2.split_record, _colours_first, "colours come first", 3),
    (lesson_2.split_record, _mixed_pixels, "neighbouring bytes", 2),
    (lesson_2.split_record, _label_in_the_image, "one place off", 1),
    (lesson_2.split_record, _rows_and_columns_swapped, "mirrored along its diagonal", 3),
    (lesson_2.count_weights, {"conv1": 4800, "full1": 884736}, "left out the biases", 3),
    (lesson_2.count_weights, {"conv1": 1664, "full1": 885120}, "all channels", 2),
    (lesson_2.count_weights, {"conv1": 4864, "full1": 36865 * 384}, "halved", 2),
    (lesson_2.fetch_pair, lambda sess, i, t: (sess.run(i), sess.run(t)), "each run took", 2),
    (lesson_2.fetch_pair, lambda sess, i, t: (i, t), "are tensors", 3),
    (
        lesson_2.fetch_pair,
        lambda sess, i, t: sess.run([tf.identity(i), tf.identity(t)]),
        "adds ops",
        3,
    ),
    (lesson_2.loss, _each, "loss for each image", 3),
    (lesson_2.loss, lambda z, t: tf.reduce_sum(_each(z, t)), "sum over the batch", 3),
    (lesson_2.loss, lambda z, t: tf.reduce_mean(_each(tf.nn.softmax(z), t)), "twice", 2),
    (lesson_2.loss, _naive, "not finite", 1),
    (lesson_2.loss, _clipped, "Do not clip", 1),
    (lesson_2.decaying, lambda loss: _train(loss, count=False), "bug of the original", 2),
    (lesson_2.decaying, lambda loss: _train(loss, staircase=False), "a little in every step", 1),
    (lesson_2.decaying, lambda loss: _train(loss, use_rate=False), "does not use it", 1),
    (lesson_2.decaying, lambda loss: (_train(loss)[0], 0.1), "must be a tensor", 1),
    (lesson_2.share, _two_scopes, "four variables", 2),
    (lesson_2.share, _no_reuse, "refused", 3),
    (lesson_2.share, _built_once, "build the net twice", 2),
    (lesson_2.half_life, 0.99, "1/e", 2),
    (lesson_2.half_life, 1 - 0.5**0.01, "weight of the newest", 1),
    (lesson_2.half_life, 100, "between 0 and 1", 1),
    (lesson_2.averages_saver, lambda average: tf.train.Saver(), "the last step", 2),
    (lesson_2.averages_saver, _apply_and_save, "adds variables", 2),
    (lesson_2.averages_saver, lambda average: average.variables_to_restore(), "Return a", 2),
]


def test_solutions():
    lessons.run_solutions("2_cifar10_cnn", lesson_2)


@pytest.mark.parametrize(("exercise", "answer", "piece", "hint"), WRONG)
def test_wrong_answer(exercise, answer, piece, hint):
    lessons.check_wrong(exercise, answer, piece, hint)


def test_mistakes_are_told_apart():
    lessons.check_enough(lesson_2, WRONG)
