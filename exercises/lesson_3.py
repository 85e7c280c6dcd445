"""The exercises of notebook 3: transfer learning from bottlenecks."""

import argparse
import builtins
import itertools
from collections.abc import Callable
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from exercises.exercise import exercise, require
from flowers_transfer import base_graph
from tutorial_support import files


def shipped_base() -> base_graph.FrozenGraph:
    """Returns the base that comes with the package: the net of the CIFAR-10 lesson."""
    flags = argparse.Namespace(base_graph=None, base=base_graph.CIFAR10_NAME)
    return base_graph.find(flags, {})


def a_jpeg() -> bytes:
    """Returns the bytes of one of the shipped drawings."""
    return (files.sample_folder("drawn_flowers") / "drawn_rose" / "01.jpg").read_bytes()


SITUATIONS = {
    "a": "A net has learned 1,000 kinds of things from photos. You train a new last layer for five "
    "kinds of flowers, with a label for each of 200 photos.",
    "b": "You have labelled photos of traffic signs by day. You want to recognize the same signs "
    "at night, and have many photos of the night, but nobody has labelled them.",
    "c": "You have photos from two museums and no labels at all. You want to use what you learn "
    "about brush strokes in one collection to sort the other one into groups.",
    "d": "One net is trained to find both the age and the mood in portraits, all labelled, at the "
    "same time. Both answers matter.",
}
_KINDS = {"a": "inductive", "b": "transductive", "c": "unsupervised", "d": "multi-task"}
_WHY = {
    "a": "The target has its own labels, for a different task.",
    "b": "Source and target have the same task, but only the source has labels; domains differ.",
    "c": "Neither source nor target has labels.",
    "d": "Here no task is learned for the sake of another: there is no source and no target.",
}


@exercise(
    "Two questions decide: does the target have labels? Does the source?",
    "Labels in the target: inductive. Only in the source: transductive. Nowhere: unsupervised.",
    "Transfer goes in one direction, from source to target. If all tasks are learned together "
    "and all matter, it is multi-task learning.",
)
def kinds(answer: dict) -> str:
    """Takes the kind of each of SITUATIONS: a dict from its letter to a word."""
    words = set(_KINDS.values())
    for letter, kind in _KINDS.items():
        given = answer.get(letter)
        require(given in words, f"Situation {letter}: choose one of {', '.join(sorted(words))}.", 1)
        require(
            given == kind,
            f"Situation {letter} is not {given}. {_WHY[letter]}",
            3 if kind == "multi-task" else 2,
        )
    return "All four. The flowers of this notebook are situation a."


@exercise(
    "The base has a placeholder for the bytes of a JPEG file: `tensors.contents`.",
    "Fetch `tensors.bottlenecks`, and feed `tensors.contents`.",
    "sess.run(tensors.bottlenecks, {tensors.contents: jpeg})",
)
def run_base(answer: Callable) -> str:
    """Takes a function (sess, tensors, jpeg bytes) -> the bottleneck of the picture."""
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        tensors = base_graph.attach(shipped_base())
        expected = sess.run(tensors.bottlenecks, {tensors.contents: a_jpeg()})
        before = len(graph.get_operations())
        try:
            found = answer(sess, tensors, a_jpeg())
        except (ValueError, TypeError) as error:
            require(
                "convert" not in str(error) and "Cannot feed" not in str(error),
                "You fed the bytes where pictures are expected. `tensors.images` takes a batch of "
                "decoded, resized pictures; the bytes of a file go in earlier.",
                1,
            )
            raise
        except tf.errors.InvalidArgumentError as error:
            require(
                "contents" not in error.message,
                "The run needs the bytes of the picture, and nothing was fed to "
                "DecodeJpeg/contents.",
                2,
            )
            raise
        after = len(graph.get_operations())
    require(
        not isinstance(found, tf.Tensor),
        "This is a tensor. A run of the session gives its value.",
        2,
    )
    found = np.asarray(found)
    require(
        found.size != np.prod(tensors.prepared.shape.as_list()[1:]),
        f"This has {found.size} numbers: it is the prepared picture, not yet the bottleneck.",
        2,
    )
    require(
        found.size == expected.size and np.allclose(found.ravel(), expected.ravel(), atol=1e-4),
        "This is not the picture's bottleneck.",
        3,
    )
    require(after == before, "Your function adds ops to the graph. None are needed.", 3)
    return f"{expected.size} numbers represent the picture from here on."


# Tensors of the shipped base, in the order in which they are computed.
CANDIDATES = (
    "DecodeJpeg/contents:0",
    "DecodeJpeg:0",
    "ResizeBilinear/size:0",
    "prepared:0",
)


def _suffices(name: str) -> bool:
    values = {
        "DecodeJpeg/contents:0": a_jpeg(),
        "DecodeJpeg:0": np.zeros((50, 40, 3), np.uint8),
        "ResizeBilinear/size:0": np.int32([32, 32]),
        "prepared:0": np.zeros((1, 32, 32, 3), np.float32),
    }
    with tf.Graph().as_default(), tf.Session() as sess:
        tensors = base_graph.attach(shipped_base())
        try:
            sess.run(tensors.bottlenecks, {name: values[name]})
        except tf.errors.InvalidArgumentError:
            return False
    return True


@exercise(
    "Go backwards from the bottleneck. Where does each path end?",
    "A fed tensor cuts the path: nothing before it is needed. What is left if you feed the size?",
    "Three of the four suffice. The size of the resized picture does not: the picture itself is "
    "still missing.",
)
def enough_to_feed(answer: set) -> str:
    """Takes the names of those CANDIDATES each of which alone makes the fetch succeed."""
    answer = {answer} if isinstance(answer, str) else set(answer)
    unknown = answer - set(CANDIDATES)
    require(not unknown, f"{sorted(unknown)} is not among the candidates.", 1)
    for name in sorted(answer):
        require(
            _suffices(name),
            f"With {name} fed alone, the run still fails: 'You must feed a value for placeholder "
            "tensor DecodeJpeg/contents'.",
            2,
        )
    for name in CANDIDATES:
        if name in answer or not _suffices(name):
            continue
        why = "it has a default, but a feed replaces it" if name == "prepared:0" else ""
        require(
            False,
            f"All of yours suffice, but so does {name}{': ' + why if why else ''}.",
            1,
        )
    return "Any tensor can be fed, and nothing before it is computed."


@exercise(
    "The GraphDef has no variables any more. In which ops are the weights now?",
    "Each `Const` node holds a tensor in its attribute `value`: tf.make_ndarray(node.attr['value']"
    ".tensor).",
    "Add up `array.size` for the arrays of type float32.",
)
def count_frozen(answer: Callable) -> str:
    """Takes a function from a GraphDef to the number of float32 values in its constants."""
    frozen = shipped_base().graph_def
    arrays = [
        tf.make_ndarray(node.attr["value"].tensor) for node in frozen.node if node.op == "Const"
    ]
    expected = sum(array.size for array in arrays if array.dtype == np.float32)
    found = answer(frozen)
    require(
        found != 0,
        "A frozen graph has no variables, so there are none to count. Its weights are constants.",
        1,
    )
    require(found != len(arrays), f"There are {found} constants, but how many numbers?", 2)
    require(
        found != sum(array.size for array in arrays),
        "This counts integers too: shapes and axes, which are not trained.",
        3,
    )
    require(found != sum(a.nbytes for a in arrays), "These are bytes. A float32 has four.", 3)
    require(found == expected, f"The constants hold {expected} numbers of type float32.", 2)
    return (
        "The 1,068,298 weights of the CIFAR-10 net are among them, up to a few constants of the "
        "preparation."
    )


@exercise(
    "What must the answer depend on? On the path and the seed, and on nothing else.",
    "Python's `hash` of a string differs from process to process. `hashlib.sha1` does not.",
    "Take sha1(f'{seed}/{group}'.encode()).digest(), make a number in [0, 1) of its first bytes, "
    "and compare it with 0.1 and 0.2. The group is the path up to '_nohash_'.",
)
def split_of(answer: Callable) -> str:
    """Takes a function (path, seed) -> "train", "validation" or "test", of 80, 10 and 10%."""
    paths = [f"roses/{number}.jpg" for number in range(1000)]
    first = [answer(path, 0) for path in paths]
    require(
        set(first) == {"train", "validation", "test"},
        f"The answers are {sorted(set(map(str, first)))}; they should be train, validation and "
        "test.",
        1,
    )
    require(
        first == [answer(path, 0) for path in paths],
        "On a second call, some images move to another split. A test image of one run would be a "
        "training image of the next.",
        1,
    )
    numbers = itertools.count(12345, 7919)
    with mock.patch.object(builtins, "hash", lambda value: next(numbers)):
        again = [answer(path, 0) for path in paths]
    require(
        first == again,
        "Your answer uses Python's hash(), which gives other numbers in each new process.",
        2,
    )
    counts = {split: first.count(split) for split in ("train", "validation", "test")}
    require(
        650 < counts["train"] < 900 and counts["validation"] > 50 and counts["test"] > 50,
        f"Of 1,000 images, {counts} went to the splits. It should be near 800, 100 and 100.",
        3,
    )
    require(
        first != [answer(path, 1) for path in paths], "Another seed should give other splits.", 3
    )
    plants = [
        {answer(f"tulips/plant{plant}_nohash_{shot}.jpg", 0) for shot in range(8)}
        for plant in range(40)
    ]
    require(
        all(len(splits) == 1 for splits in plants),
        "Photos of one plant, with names that agree up to `_nohash_`, land in different splits. "
        "The net would be tested on nearly the same images that it was trained on.",
        3,
    )
    return "An image stays in its split when others are added, and when the folder moves."


@exercise(
    "`tf.argmax(logits, axis=1)` is the predicted class of each image.",
    "tf.equal gives booleans. tf.cast makes them 0 and 1.",
    "Sum them up with tf.reduce_sum: the mean could not be added up over batches of different "
    "sizes.",
)
def evaluation(answer: Callable) -> str:
    """Takes a function (logits, labels int64 [batch]) -> the number of correct predictions."""
    logits = np.float32([[3, 0, 1], [0, 2, 1], [1, 5, 0], [0, 1, 2], [2, 1, 0]])
    labels = np.int64([0, 1, 0, 2, 1])
    with tf.Graph().as_default(), tf.Session() as sess:
        built = answer(tf.constant(logits), tf.constant(labels))
        require(isinstance(built, tf.Tensor), "Return a tensor.", 1)
        value = sess.run(built)
    require(value.shape != (5,), "This says whether each image is right. How many are?", 3)
    require(
        not (value.dtype.kind == "f" and np.isclose(value, 0.6)),
        "This is the share of correct predictions. Count them: counts of batches can be added, "
        "shares cannot, because the last batch is smaller.",
        3,
    )
    require(value.shape == (), "The number must be a scalar.", 3)
    require(int(value) == 3, f"3 of the 5 predictions are right, not {value}.", 1)
    return "Divide the sum over all batches by the number of images: then each image counts once."


@exercise(
    "`sess.graph.as_graph_def()` has the ops, but variables have no values in it.",
    "tf.graph_util.convert_variables_to_constants reads the values from the session.",
    "It takes the session, the GraphDef, and a list of names of *ops*: without ':0'.",
)
def freeze(answer: Callable) -> str:
    """Takes a function (sess, output tensor) -> GraphDef that needs no variables."""
    inputs = np.float32([[1, 2, 3]])
    with tf.Graph().as_default(), tf.Session() as sess:
        placeholder = tf.placeholder(tf.float32, [None, 3], "inputs")
        weights = tf.get_variable("weights", initializer=np.float32([[1], [0], [2]]))
        output = tf.matmul(placeholder, weights, name="output")
        sess.run(tf.global_variables_initializer())
        sess.run(weights.assign(3 * weights))  # what training would do
        expected = sess.run(output, {placeholder: inputs})
        try:
            frozen = answer(sess, output)
        except (AssertionError, KeyError, ValueError) as error:
            require(
                "output:0" not in str(error),
                "'output:0' is the name of a tensor. Here the name of its op is wanted: 'output'.",
                3,
            )
            raise
    require(isinstance(frozen, tf.GraphDef), "Return a GraphDef.", 2)
    kinds_of_ops = {node.op for node in frozen.node}
    require(
        not kinds_of_ops & {"VarHandleOp", "VariableV2"},
        "There are still variables in it. In another process they would have no values.",
        2,
    )
    with tf.Graph().as_default(), tf.Session() as sess:
        names = {node.name for node in frozen.node}
        require({"inputs", "output"} <= names, f"'inputs' or 'output' is missing: {names}.", 3)
        (found,) = tf.import_graph_def(frozen, return_elements=["output:0"], name="")
        value = sess.run(found, {"inputs:0": inputs})
    require(
        np.allclose(value, expected),
        f"The frozen graph gives {value[0, 0]}, and the session gave {expected[0, 0]}: you froze "
        "the initial values, not the trained ones.",
        1,
    )
    return "Another process can import this, feed it and run it, without your code."
