"""Notebook 1: every solution passes, and typical mistakes get different messages."""

import math

import pytest
import tensorflow.compat.v1 as tf

from exercises import lesson_1
from tests.exercises import lessons


def _cross_entropy(logits, labels):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _by_hand(logits, labels):
    chosen = tf.one_hot(labels, 3) * tf.log(
        tf.exp(logits) / tf.reduce_sum(tf.exp(logits), 1)[:, None]
    )
    return -tf.reduce_mean(tf.reduce_sum(chosen, 1))


def _uncounted(loss, rate):
    tf.train.get_or_create_global_step()
    return tf.train.GradientDescentOptimizer(rate).minimize(loss)


def _own_counter(loss, rate):
    step = tf.Variable(0, name="global_step", trainable=False)
    return tf.train.GradientDescentOptimizer(rate).minimize(loss, global_step=step)


def _trained_counter(loss, rate):
    step = tf.Variable(0, name="global_step")
    return tf.train.GradientDescentOptimizer(rate).minimize(loss, global_step=step)


def _as_the_original(sess, correct, images, labels, data_set):
    total = 0
    for _ in range(data_set.num_examples // 300):
        x, y = data_set.next_batch(300)
        total += sess.run(correct, {images: x, labels: y})
    return total


def _rounded_up(sess, correct, images, labels, data_set):
    total = 0
    for _ in range(4):
        x, y = data_set.next_batch(300)
        total += sess.run(correct, {images: x, labels: y})
    return total


def _mean(sess, correct, images, labels, data_set):
    counts = [sess.run(correct, {images: x, labels: y}) / len(y) for x, y in data_set.batches(300)]
    return sum(counts) / len(counts)


def _write(folder, values, tag="accuracy", step=None):
    writer = tf.summary.FileWriter(folder)
    for i, value in enumerate(values):
        summary = tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])
        writer.add_summary(summary, i if step is None else step)
    writer.close()


def _two_runs(sess, train_op, batch, report):
    sess.run(train_op)
    return sess.run(report)


def _report_first(sess, train_op, batch, report):
    value, taken = sess.run([report, batch])
    sess.run(train_op, {batch: taken})
    return value


WRONG = [
    (lesson_1.count_parameters, 104768, "biases are missing", 2),
    (lesson_1.count_parameters, 104939, "global_step", 2),
    (lesson_1.first_loss, 0.1, "probability itself", 2),
    (lesson_1.first_loss, math.log2(10), "in bits", 2),
    (lesson_1.first_loss, 1.0, "not base 10", 3),
    (lesson_1.first_loss, -math.log(10), "above 0", 2),
    (lesson_1.write_loss, _cross_entropy, "one number", 3),
    (lesson_1.write_loss, lambda x, y: tf.reduce_sum(_cross_entropy(x, y)), "the sum", 3),
    (
        lesson_1.write_loss,
        lambda x, y: tf.reduce_mean(_cross_entropy(tf.nn.softmax(x), y)),
        "given probabilities",
        2,
    ),
    (lesson_1.write_loss, _by_hand, "overflow", 1),
    (lesson_1.write_training, _uncounted, "the counter says 0", 1),
    (lesson_1.write_training, _own_counter, "finds no counter", 2),
    (lesson_1.write_training, _trained_counter, "must not be trainable", 3),
    (
        lesson_1.write_training,
        lambda loss, rate: tf.train.GradientDescentOptimizer(rate),
        "Return the op",
        1,
    ),
    (lesson_1.count_correct, _as_the_original, "Only 900", 1),
    (lesson_1.count_correct, _rounded_up, "1200 images", 2),
    (lesson_1.count_correct, _mean, "not the number", 3),
    (lesson_1.write_scalars, lambda folder, values: None, "no event file", 1),
    (lesson_1.write_scalars, lambda folder, values: _write(folder, values, step=0), "steps", 2),
    (lesson_1.write_scalars, lambda folder, values: _write(folder, values, "loss"), "'loss'", 1),
    (lesson_1.report_after_step, _two_runs, "next batch", 1),
    (lesson_1.report_after_step, _report_first, "before the step", 3),
    (lesson_1.report_after_step, lambda sess, t, b, report: sess.run(report), "did not run", 2),
]


def test_solutions():
    lessons.run_solutions("1_mnist_mechanics", lesson_1)


@pytest.mark.parametrize(("exercise", "answer", "piece", "hint"), WRONG)
def test_wrong_answer(exercise, answer, piece, hint):
    lessons.check_wrong(exercise, answer, piece, hint)


def test_mistakes_are_told_apart():
    lessons.check_enough(lesson_1, WRONG)
