"""The exercises of notebook 0, graphs and sessions."""

import numbers
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exercises import graph_view
from exercises.exercise import exercise, require


def arithmetic() -> tf.Graph:
    """Returns a graph of two placeholders, a product, a sum, a difference and a constant."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, (), "x")
        y = tf.placeholder(tf.float32, (), "y")
        one = tf.constant(1.0, name="one")
        product = tf.multiply(x, y, name="product")
        total = tf.add(product, one, name="sum")
        tf.subtract(total, y, name="difference")
        tf.square(x, name="square")
    return graph


@exercise(
    "A feed dictionary is not only for placeholders: it can replace any tensor.",
    "`sum` adds 1 to `product`. Which value of `product` makes it 42?",
    "The key is the tensor's name, 'product:0'.",
)
def feed_inside(feeds: dict[str, float]) -> str:
    """The answer is a feed dictionary that makes `sum` 42 with no placeholder fed."""
    require(isinstance(feeds, dict), "The answer is a dictionary from a tensor's name to a value.")
    require(
        not {"x", "x:0", "y", "y:0"} & set(feeds),
        "Leave both placeholders alone; replace a tensor between them and `sum`.",
        1,
    )
    require("sum:0" not in feeds, "That feeds the result itself, so nothing is computed at all.", 1)
    graph = arithmetic()
    missing = graph_view.plan(graph, "sum:0", feeds).missing
    require(not missing, f"The run still needs {' and '.join(missing)}.", 1)
    with tf.Session(graph=graph) as sess:
        value = sess.run("sum:0", feeds)
    require(value == 42, f"With that, `sum` is {value:g}.", 2)
    return "The run never needed the placeholders: the fed value cut them off."


@exercise(
    "Go backwards from `difference` and write down each op that you meet.",
    "A placeholder that is fed does not run: the fed value takes its place.",
    "`sum`, `product`, `one` and `difference` itself are left.",
)
def count_ops(count: int) -> str:
    """The answer is the number of ops that run for `difference` when x and y are fed."""
    require(isinstance(count, numbers.Integral), "The answer is a whole number.")
    graph = arithmetic()
    wanted = len(graph_view.plan(graph, "difference:0", ["x:0", "y:0"]).ops)
    everything = len(graph.get_operations())
    require(count != everything, f"{count} is the whole graph, but `square` is not needed.", 1)
    require(count != wanted + 2, "That counts the two placeholders, but both are fed.", 2)
    require(count == wanted, f"It is not {count}.", 1)
    return "Four ops: `one`, `product`, `sum` and `difference`."


def two_inputs() -> tf.Graph:
    """Returns a graph in which a training op, a prediction and a report need different inputs."""
    graph = tf.Graph()
    with graph.as_default():
        features = tf.placeholder(tf.float32, (None, 2), "features")
        target = tf.placeholder(tf.float32, (None, 1), "target")
        rate = tf.placeholder(tf.float32, (), "rate")
        title = tf.placeholder(tf.string, (), "title")
        weights = tf.Variable(tf.zeros([2, 1]), name="weights")
        prediction = tf.matmul(features, weights, name="prediction")
        loss = tf.reduce_mean(tf.square(prediction - target), name="loss")
        tf.train.GradientDescentOptimizer(rate).minimize(loss, name="train")
        tf.strings.join([title, tf.as_string(loss)], name="report")
    return graph


@exercise(
    "Which placeholders does `train` depend on, whether you think of them as data or not?",
    "The learning rate is a placeholder here.",
    "`title` is used by `report` only, and nobody fetches `report`.",
)
def what_is_missing(names: set[str]) -> str:
    """The answer is the set of placeholders that a run of `train` still needs."""
    require(
        isinstance(names, set | list | tuple) and all(isinstance(name, str) for name in names),
        'The answer is a set of names, such as {"features"}.',
    )
    plan = graph_view.plan(two_inputs(), "train", ["features:0"])
    given, wanted = {name.removesuffix(":0") for name in names}, set(plan.missing)
    require("features" not in given, "`features` is fed already.", 1)
    require("title" not in given, "`train` does not depend on `title`: the session prunes it.", 3)
    require(given >= wanted, "The run would still fail: something else lacks a value.", 2)
    require(given == wanted, "Not all of these are placeholders of this graph.", 1)
    return "`train` needs the target and the rate; only `report` needs the title."


@exercise(
    "Ops go to the graph that is the default while they are built. That is the caller's unless "
    "your function changes it.",
    "Make `graph = tf.Graph()`, and build inside `with graph.as_default():`.",
    'tf.constant(6, name="y") inside the block; then return graph.',
)
def own_graph(build: Callable[[], tf.Graph]) -> str:
    """The answer is a function that returns a new graph holding a tensor y:0 of value 6."""
    require(callable(build), "The answer is a function.")
    with tf.Graph().as_default() as default:
        graphs = [build(), build()]
        stray = default.get_operations()
    for graph in graphs:
        require(isinstance(graph, tf.Graph), "Return the graph, not a tensor of it.", 2)
    require(
        graphs[0] is not default and not stray,
        "The ops went into the default graph of whoever called your function.",
        1,
    )
    require(graphs[0] is not graphs[1], "Each call must make a new graph.", 2)
    names = [op.name for op in graphs[0].get_operations()]
    require("y" in names, f"The graph has no op named `y`, only {', '.join(names) or 'nothing'}.")
    with tf.Session(graph=graphs[1]) as sess:
        value = sess.run("y:0")
    require(value == 6, f"`y:0` is {value}.")
    return "Two calls gave two graphs, and the caller's default graph stayed empty."


@exercise(
    "tf.Variable makes a new variable at each call; tf.get_variable can find one again.",
    "A second call of get_variable with the same name needs a variable scope that permits reuse.",
    'with tf.variable_scope("layer", reuse=tf.AUTO_REUSE): w = tf.get_variable("w", [3, 3])',
)
def share_weights(layer: Callable[[tf.Tensor], tf.Tensor]) -> str:
    """The answer is a function of [n, 3] that multiplies by the one variable layer/w, [3, 3]."""
    require(callable(layer), "The answer is a function.")
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.constant([[1.0, 2.0, 3.0]])
        try:
            once = layer(x)
            twice = layer(once)
        except ValueError as error:
            require(
                "already exists" not in str(error),
                "The second call refuses to make `layer/w` again.",
                2,
            )
            raise
        names = [variable.op.name for variable in tf.global_variables()]
        require(len(names) == 1, f"Two calls made the variables {', '.join(names)}.", 1)
        require(names == ["layer/w"], f"The variable is called {names[0]}, not layer/w.", 3)
        sess.run(tf.global_variables_initializer())
        weights, first, second = sess.run([tf.global_variables()[0], once, twice])
        require(
            np.allclose(first, [[1, 2, 3]] @ weights, atol=1e-4)
            and np.allclose(second, first @ weights, atol=1e-4),
            "The result is not the input times the variable.",
        )
    return "Both calls read one variable, as the two towers of a net on two GPUs do."


@exercise(
    "A tensor that was read before the update keeps the old value.",
    "Open `with tf.control_dependencies([update]):` and make the op that reads inside it.",
    "Inside the block, `counter.read_value()` makes a new op that reads.",
)
def read_after_update(next_value: Callable[[tf.Variable], tf.Tensor]) -> str:
    """The answer is a function of a counter; fetching its result adds 1 and gives the new value."""
    require(callable(next_value), "The answer is a function.")
    with tf.Graph().as_default(), tf.Session() as sess:
        counter = tf.Variable(0, name="counter")
        fetched = next_value(counter)
        sess.run(tf.global_variables_initializer())
        values = [sess.run(fetched) for _ in range(3)]
        held = sess.run(counter)
    require(held != 0, f"Three runs gave {values}, and the counter is still 0: nothing runs it.", 2)
    require(
        [int(value) for value in values] != [0, 1, 2],
        "It counts, but it returns the value from before the update.",
        3,
    )
    require([int(v) for v in values] == [1, 2, 3], f"Three runs gave {values}, not 1, 2, 3.", 2)
    require(held == 3, f"Three runs took the counter to {held}.")
    return "The read waits for the update, so each run counts first and reads then."


@exercise(
    "tf.train.Saver() saves every variable with its value in the session that you pass to `save`.",
    "Do not initialize: that would throw the weights away before they are saved.",
    'tf.train.Saver().save(sess, folder + "/model.ckpt")',
)
def survive_a_restart(keep: Callable[[tf.Session, str], Any]) -> str:
    """The answer is a function that saves all variables of a session's graph in a folder."""
    require(callable(keep), "The answer is a function.")
    with tempfile.TemporaryDirectory() as folder:
        with tf.Graph().as_default(), tf.Session() as sess:
            weights, steps = _weights_and_steps()
            sess.run(tf.global_variables_initializer())
            sess.run([weights.assign([3.0, 1.0, 4.0]), steps.assign(7)])
            keep(sess, folder)
        newest = tf.train.latest_checkpoint(folder)
        files = sorted(path.name for path in pathlib.Path(folder).iterdir())
        require(newest, f"A restart finds no checkpoint; the folder holds {files or 'nothing'}.", 1)
        saved = {name for name, _ in tf.train.list_variables(newest)}
        lost = sorted({"weights", "steps"} - saved)
        require(not lost, f"The checkpoint holds {sorted(saved)}, so {lost[:1]} is lost.", 1)
        with tf.Graph().as_default(), tf.Session() as sess:  # as a new process would
            weights, steps = _weights_and_steps()
            tf.train.Saver().restore(sess, newest)
            restored = sess.run([weights, steps])
    require(
        np.array_equal(restored[0], [3, 1, 4]) and restored[1] == 7,
        "The checkpoint holds the initial values, not the trained ones.",
        2,
    )
    return "A new graph and a new session got all values back from the files."


def _weights_and_steps() -> tuple[tf.Variable, tf.Variable]:
    return tf.Variable([0.0, 0.0, 0.0], name="weights"), tf.Variable(0, name="steps")


@exercise(
    "How many batches does the iterator hand out if you call sess.run twice?",
    "Fetch both tensors in one run: sess.run takes a list.",
    "return sess.run([images, labels]), with the names of your two tensors.",
)
def same_batch(both: Callable[[tf.Session, tf.Tensor, tf.Tensor], Any]) -> str:
    """The answer is a function that returns the sum and the largest value of the same batch."""
    require(callable(both), "The answer is a function.")
    with tf.Graph().as_default(), tf.Session() as sess:
        dataset = tf.data.Dataset.range(1, 100).batch(3)
        batch = tf.data.make_one_shot_iterator(dataset).get_next()
        total, largest = tf.reduce_sum(batch), tf.reduce_max(batch)
        pairs = [both(sess, total, largest) for _ in range(2)]
    require(
        all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs),
        "Return two numbers: the sum and the largest value.",
        2,
    )
    numbers = [tuple(int(number) for number in pair) for pair in pairs]
    require(
        numbers[0] != (6, 6),
        "The sum is that of the batch 1, 2, 3, but the largest value is that of 4, 5, 6.",
        1,
    )
    require(numbers == [(6, 3), (15, 6)], f"The first two batches gave {numbers}.", 2)
    return "One run takes one batch, and everything fetched in it is about that batch."
