"""Notebook 3: every solution passes, and typical mistakes get different messages."""

import hashlib
import random

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exercises import lesson_3
from tests.exercises import lessons

RIGHT = {"a": "inductive", "b": "transductive", "c": "unsupervised", "d": "multi-task"}
ENOUGH = {"DecodeJpeg/contents:0", "DecodeJpeg:0", "prepared:0"}


def _arrays(graph_def):
    return [
        tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.op == "Const"
    ]


def _variables(graph_def):
    with tf.Graph().as_default():
        tf.import_graph_def(graph_def)
        return len(tf.global_variables())


def _split(share):
    return "test" if share < 0.1 else "validation" if share < 0.2 else "train"


def _by_sha1(path, seed):
    return _split(hashlib.sha1(f"{seed}/{path}".encode()).digest()[0] / 256)


def _without_seed(path, seed):
    return _by_sha1(path.partition("_nohash_")[0], 0)


def _correct(logits, labels, axis=1):
    return tf.cast(tf.equal(tf.argmax(logits, axis=axis), labels), tf.float32)


def _frozen(sess, names):
    return tf.graph_util.convert_variables_to_constants(sess, sess.graph.as_graph_def(), names)


def _initialize_and_freeze(sess, output):
    sess.run(tf.global_variables_initializer())
    return _frozen(sess, [output.op.name])


WRONG = [
    (lesson_3.kinds, RIGHT | {"b": "inductive"}, "Situation b is not inductive", 2),
    (lesson_3.kinds, RIGHT | {"d": "transductive"}, "no source and no target", 3),
    (lesson_3.kinds, {"a": "supervised"}, "choose one of", 1),
    (
        lesson_3.run_base,
        lambda sess, tensors, jpeg: sess.run(tensors.bottlenecks, {tensors.images: jpeg}),
        "where pictures are expected",
        1,
    ),
    (
        lesson_3.run_base,
        lambda sess, tensors, jpeg: sess.run(tensors.bottlenecks),
        "nothing was fed",
        2,
    ),
    (lesson_3.run_base, lambda sess, tensors, jpeg: tensors.bottlenecks, "This is a tensor", 2),
    (
        lesson_3.run_base,
        lambda sess, tensors, jpeg: sess.run(tensors.prepared, {tensors.contents: jpeg}),
        "prepared picture",
        2,
    ),
    (lesson_3.enough_to_feed, "DecodeJpeg/contents:0", "so does DecodeJpeg:0", 1),
    (lesson_3.enough_to_feed, ENOUGH - {"prepared:0"}, "it has a default", 1),
    (lesson_3.enough_to_feed, set(lesson_3.CANDIDATES), "ResizeBilinear/size:0 fed alone", 2),
    (lesson_3.count_frozen, _variables, "no variables", 1),
    (lesson_3.count_frozen, lambda graph_def: len(_arrays(graph_def)), "how many numbers", 2),
    (
        lesson_3.count_frozen,
        lambda graph_def: sum(array.size for array in _arrays(graph_def)),
        "counts integers",
        3,
    ),
    (lesson_3.split_of, lambda path, seed: _split(random.random()), "move to another split", 1),
    (
        lesson_3.split_of,
        lambda path, seed: _split(hash(f"{seed}{path}") % 1000 / 1000),
        "Python's hash()",
        2,
    ),
    (lesson_3.split_of, _by_sha1, "photos of one plant".capitalize(), 3),
    (lesson_3.split_of, _without_seed, "Another seed", 3),
    (lesson_3.evaluation, _correct, "whether each image", 3),
    (lesson_3.evaluation, lambda z, t: tf.reduce_mean(_correct(z, t)), "share of correct", 3),
    (
        lesson_3.evaluation,
        lambda z, t: tf.reduce_sum(tf.cast(tf.math.in_top_k(z, t, 2), tf.int32)),
        "3 of the 5",
        1,
    ),
    (lesson_3.freeze, lambda sess, output: sess.graph.as_graph_def(), "still variables", 2),
    (lesson_3.freeze, lambda sess, output: _frozen(sess, [output.name]), "name of a tensor", 3),
    (lesson_3.freeze, _initialize_and_freeze, "initial values", 1),
]


def test_solutions():
    lessons.run_solutions("3_flowers_transfer", lesson_3)


@pytest.mark.parametrize(("exercise", "answer", "piece", "hint"), WRONG)
def test_wrong_answer(exercise, answer, piece, hint):
    lessons.check_wrong(exercise, answer, piece, hint)


def test_mistakes_are_told_apart():
    lessons.check_enough(lesson_3, WRONG)


def test_the_jpeg_is_a_picture():
    with tf.Graph().as_default(), tf.Session() as sess:
        picture = sess.run(tf.io.decode_jpeg(lesson_3.a_jpeg()))
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
