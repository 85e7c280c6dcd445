"""Compares the ops that graph_view predicts with those that a session records."""

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exercises import graph_view


@pytest.fixture(scope="module")
def small():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, (), "x")
        two = tf.constant(2.0, name="two")
        tf.add(tf.multiply(x, two, name="product"), two, name="sum")
        variable = tf.Variable(1.0, name="v")
        total = graph.get_tensor_by_name("sum:0")
        tf.subtract(total, variable, name="difference")
        update = variable.assign_add(total, name="update")
        with tf.control_dependencies([update]):
            tf.identity(two, name="after")
        tf.split(tf.stack([x, two], name="stack"), 2, name="halves")
        tf.global_variables_initializer()
    with graph_view.plain_session(graph) as sess:
        sess.run("init")
        yield sess


CHOICES = [
    ("two:0", {}, 1),
    ("product:0", {"x:0": 1}, 2),
    ("sum:0", {"x:0": 1}, 3),
    ("sum:0", {"product:0": 1}, 2),
    ("sum:0", {"sum:0": 1}, 0),
    (["sum:0", "product:0"], {"x:0": 1}, 3),
    ("difference:0", {"sum:0": 1}, 3),
    ("update", {"x:0": 1}, 5),
    ("after:0", {"x:0": 1}, 6),
    ("init", {}, 4),
    (["halves:0", "halves:1"], {"x:0": 1, "halves:0": [0.0]}, 4),
]


@pytest.mark.parametrize(("fetches", "feed_dict", "count"), CHOICES)
def test_plan_is_what_a_session_runs(small, fetches, feed_dict, count):
    plan = graph_view.plan(small.graph, fetches, feed_dict)
    assert not plan.missing
    ran = graph_view.recorded(small, fetches, feed_dict)
    assert set(plan.ops) == ran
    assert len(ran) == count


def test_names_what_the_session_misses(small):
    plan = graph_view.plan(small.graph, "difference:0")
    assert plan.missing == ("x",)
    with pytest.raises(tf.errors.InvalidArgumentError, match="placeholder tensor 'x'"):
        small.run("difference:0")
    assert "must be fed a value for x" in graph_view.caption(plan)


def test_draws_every_op_once_and_lights_what_runs(small):
    drawing = graph_view.draw(small.graph, "sum:0", ["x:0"])
    states = dict(
        re.findall(r'<g class="op \w+" data-op="([^"]+)"><title>[^<]*: (\w+)<', drawing.svg)
    )
    assert list(states) == [op.name for op in small.graph.get_operations()]
    assert {name for name, state in states.items() if state == "runs"} == set(drawing.run.ops)
    assert states["x"] == "fed"
    assert repr(drawing) == "3 ops run; fed: x:0."


def test_boxes_do_not_overlap(small):
    corners = list(graph_view.layout(small.graph.get_operations()).values())
    for number, one in enumerate(corners):
        for other in corners[:number]:
            apart = np.abs(np.subtract(one, other))
            assert apart[0] >= graph_view._WIDTH or apart[1] >= graph_view._HEIGHT
