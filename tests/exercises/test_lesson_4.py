"""Notebook 4: every solution passes, and typical mistakes get different messages."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exercises import lesson_4
from tests.exercises import lessons


def _cross_entropy(logits, labels):
    targets = tf.cast(labels, tf.float32)
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)


def _broadcast(logits, labels):
    ones = tf.zeros([4, 4])
    return tf.reduce_mean(_cross_entropy(logits + ones, labels + tf.zeros([4, 4], tf.int32)))


def _softmax(logits, labels):
    labels = tf.zeros_like(labels)
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def _batch_statistics(x, gamma, beta, mean, variance):
    return gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3) + beta


def _scale(gamma, variance):
    return gamma / np.sqrt(variance + 1e-3)


def _constants(sess, variables, values):
    for name, variable in variables.items():
        sess.run(tf.assign(variable, values[name]))


def _not_run(sess, variables, values):
    return [variable.initializer for variable in variables.values()]


def _initialized_last(sess, variables, values):
    for name, variable in variables.items():
        variable.load(values[name], sess)
    sess.run(tf.global_variables_initializer())


def _minimize(loss, prefix=""):
    chosen = [v for v in tf.trainable_variables() if v.op.name.startswith(prefix)]
    return tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=chosen)


def _counted(layers, moving=False):
    return sum(
        count
        for layer in layers
        for name, count in layer.items()
        if moving or not name.startswith("moving")
    )


def _count_until_end(sess, labels, least=1):
    count = 0
    while True:
        try:
            batch = sess.run(labels)
        except tf.errors.OutOfRangeError:
            return count
        count += len(batch) if len(batch) >= least else 0


def _full_batches(sess, iterator, labels):
    sess.run(iterator.initializer)
    return _count_until_end(sess, labels, least=5)


def _initialized_once():
    state = []

    def count(sess, iterator, labels):
        if not state:
            sess.run(iterator.initializer)
            state.append(True)
        return _count_until_end(sess, labels)

    return count


def _too_far(sess, iterator, labels):
    sess.run(iterator.initializer)
    return sum(len(sess.run(labels)) for _ in range(6))


def _restored_by_own_names(sess, variables, prefix):
    tf.train.Saver().restore(sess, prefix)


def _initialized_after(sess, variables, prefix):
    names = {variable.op.name.removeprefix("base/stem/"): variable for variable in variables}
    tf.train.Saver(names).restore(sess, prefix)
    sess.run(tf.global_variables_initializer())


def _only_one(sess, variables, prefix):
    tf.train.Saver({"Conv1/kernel": variables[0]}).restore(sess, prefix)


WRONG = [
    (lesson_4.one_logit_loss, _broadcast, "broadcast", 2),
    (lesson_4.one_logit_loss, _softmax, "whatever the logits", 1),
    (lesson_4.one_logit_loss, lambda z, t: _cross_entropy(z, t[:, None]), "for each image", 3),
    (lesson_4.normalize, _batch_statistics, "training mode", 1),
    (lesson_4.normalize, lambda x, g, b, m, v: g * (x - m) / (v + 1e-3) + b, "by its root", 2),
    (lesson_4.normalize, lambda x, g, b, m, v: g * (x - m) / np.sqrt(v) + b, "Epsilon", 3),
    (
        lesson_4.fold,
        lambda k, g, b, m, v: (k * _scale(g, v)[:, None], b - m * _scale(g, v)),
        "input channels",
        2,
    ),
    (lesson_4.fold, lambda k, g, b, m, v: (k * _scale(g, v), b), "mean is missing", 3),
    (lesson_4.fold, lambda k, g, b, m, v: (k * _scale(g, v), b - m), "scaled too", 3),
    (lesson_4.start_from, _constants, "as constants", 1),
    (lesson_4.start_from, _not_run, "nothing has run", 3),
    (lesson_4.start_from, _initialized_last, "other values", 1),
    (lesson_4.train_head, _minimize, "The base has changed", 2),
    (lesson_4.train_head, lambda loss: _minimize(loss, "base/"), "head did not change", 3),
    (lesson_4.count_trained, lambda layers, at: _counted(layers[at:], True), "not trainable", 3),
    (lesson_4.count_trained, lambda layers, at: _counted(layers[:at]), "frozen ones", 2),
    (lesson_4.count_trained, lambda layers, at: _counted(layers[at + 1 :]), "itself", 1),
    (lesson_4.count_images, _full_batches, "full batches only", 3),
    (lesson_4.count_images, _initialized_once(), "still at its end", 2),
    (lesson_4.count_images, lambda s, i, t: _count_until_end(s, t), "not been initialized", 2),
    (lesson_4.count_images, _too_far, "the pass is over", 2),
    (lesson_4.restore_renamed, _restored_by_own_names, "names in the graph", 2),
    (lesson_4.restore_renamed, _initialized_after, "undoes", 3),
    (lesson_4.restore_renamed, _only_one, "restore all", 3),
]


def test_solutions():
    lessons.run_solutions("4_catsdogs_finetune", lesson_4)


@pytest.mark.parametrize(("exercise", "answer", "piece", "hint"), WRONG)
def test_wrong_answer(exercise, answer, piece, hint):
    lessons.check_wrong(exercise, answer, piece, hint)


def test_mistakes_are_told_apart():
    lessons.check_enough(lesson_4, WRONG)
