"""Notebook 0: every solution passes, and typical mistakes get different messages."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exercises import graph_view, lesson_0
from tests.exercises import lessons


def _in_default_graph():
    tf.constant(6.0, name="y")
    return tf.get_default_graph()


def _a_tensor():
    with tf.Graph().as_default():
        return tf.constant(6.0, name="y")


def _get_variable_only(x):
    with tf.variable_scope("layer"):
        return tf.matmul(x, tf.get_variable("w", [3, 3]))


def _new_variable(x):
    with tf.name_scope("layer"):
        return tf.matmul(x, tf.Variable(tf.ones([3, 3]), name="w"))


def _name_scope(x):
    with tf.name_scope("layer"), tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        return tf.matmul(x, tf.get_variable("w", [3, 3]))


def _read_before(counter):
    value = counter.read_value()
    with tf.control_dependencies([value]), tf.control_dependencies([counter.assign_add(1)]):
        return tf.identity(value)


def _initialize_first(sess, folder):
    sess.run(tf.global_variables_initializer())
    tf.train.Saver().save(sess, folder + "/model.ckpt")


def _only_weights(sess, folder):
    tf.train.Saver(tf.global_variables()[:1]).save(sess, folder + "/model.ckpt")


def _numpy_file(sess, folder):
    np.save(folder + "/weights.npy", sess.run("weights:0"))


WRONG = [
    (lesson_0.feed_inside, {"x:0": 41.0, "y:0": 1.0}, "Leave both placeholders", 1),
    (lesson_0.feed_inside, {"product:0": 42.0}, "`sum` is 43", 2),
    (lesson_0.feed_inside, {"sum:0": 42.0}, "the result itself", 1),
    (lesson_0.feed_inside, {"one:0": 41.0}, "still needs x and y", 1),
    (lesson_0.count_ops, 7, "whole graph", 1),
    (lesson_0.count_ops, 6, "both are fed", 2),
    (lesson_0.what_is_missing, {"target"}, "still fail", 2),
    (lesson_0.what_is_missing, {"target", "rate", "title"}, "prunes", 3),
    (lesson_0.what_is_missing, {"features", "target"}, "fed already", 1),
    (lesson_0.own_graph, _in_default_graph, "default graph", 1),
    (lesson_0.own_graph, _a_tensor, "not a tensor", 2),
    (lesson_0.share_weights, _get_variable_only, "refuses", 2),
    (lesson_0.share_weights, _new_variable, "layer/w, layer_1/w", 1),
    (lesson_0.share_weights, _name_scope, "is called w", 3),
    (lesson_0.read_after_update, lambda counter: counter + 1, "still 0", 2),
    (lesson_0.read_after_update, _read_before, "from before the update", 3),
    (lesson_0.survive_a_restart, _initialize_first, "initial values", 2),
    (lesson_0.survive_a_restart, _only_weights, "'steps'", 1),
    (lesson_0.survive_a_restart, _numpy_file, "no checkpoint", 1),
    (lesson_0.same_batch, lambda sess, s, m: (sess.run(s), sess.run(m)), "4, 5, 6", 1),
    (lesson_0.same_batch, lambda sess, s, m: sess.run(s), "two numbers", 2),
]


def test_solutions():
    lessons.run_solutions("0_graphs_and_sessions", lesson_0)


@pytest.mark.parametrize(("exercise", "answer", "piece", "hint"), WRONG)
def test_wrong_answer(exercise, answer, piece, hint):
    lessons.check_wrong(exercise, answer, piece, hint)


def test_mistakes_are_told_apart():
    lessons.check_enough(lesson_0, WRONG)


def test_the_counted_graph_is_counted_as_a_session_counts():
    graph = lesson_0.arithmetic()
    with graph_view.plain_session(graph) as sess:
        ran = graph_view.recorded(sess, "difference:0", {"x:0": 2, "y:0": 3})
    assert ran == {"one", "product", "sum", "difference"}
