"""The exercises of notebook 1, MNIST mechanics."""

import math
import numbers
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exercises.exercise import exercise, require
from mnist_mechanics import input_data, mnist
from tutorial_support import event_files


@exercise(
    "A dense layer has one weight for each pair of an input and a unit. Add up the layers.",
    "Each unit has a bias as well: 128, 32 and 10 of them.",
    "784*128 + 128 + 128*32 + 32 + 32*10 + 10",
)
def count_parameters(count: int) -> str:
    """The answer is the number of parameters that training changes in the net 784, 128, 32, 10."""
    require(isinstance(count, numbers.Integral), "The answer is a whole number.")
    sizes = [mnist.IMAGE_PIXELS, 128, 32, mnist.NUM_CLASSES]
    weights = sum(before * after for before, after in zip(sizes, sizes[1:], strict=False))
    wanted = weights + sum(sizes[1:])
    require(count != weights, "Those are the weights; the biases are missing.", 2)
    require(count != wanted + 1, "`global_step` counts steps; it is not trained.", 2)
    require(count == wanted, f"It is not {count}.", 1)
    return "104,938 numbers, of which all but 4,586 are in the first layer."


@exercise(
    "What probability does a net that knows nothing give to the right one of ten digits?",
    "The cross entropy of one image is minus the natural logarithm of that probability.",
    "-math.log(1 / 10)",
)
def first_loss(value: float) -> str:
    """The answer is the loss, in nats, of a net that gives all ten digits the same probability."""
    require(isinstance(value, numbers.Real), "The answer is a number.")
    require(not math.isclose(value, 0.1, abs_tol=0.01), "That is the probability itself.", 2)
    require(
        not math.isclose(value, math.log2(10), abs_tol=0.01),
        "That is in bits; TensorFlow takes the natural logarithm.",
        2,
    )
    require(
        not math.isclose(value, 1.0, abs_tol=0.001), "Take the natural logarithm, not base 10.", 3
    )
    require(value > 0, "The loss is minus the logarithm, so it is above 0.", 2)
    require(math.isclose(value, math.log(10), abs_tol=0.01), f"It is not {value}.", 1)
    return "ln 10 = 2.30, which is what step 0 prints: a loss far above it means a bug."


_LOGITS = np.float32([[2, 0, 1], [0, 3, -1], [1000, 0, 0], [0, 5, 0]])
_LABELS = np.int32([0, 1, 0, 2])


def _cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = np.float64(logits) - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return np.log(np.exp(shifted).sum(axis=1)) - chosen


@exercise(
    "tf.nn.sparse_softmax_cross_entropy_with_logits does the softmax and the logarithm in one op.",
    "It wants logits, not probabilities, and returns one number for each image.",
    "tf.reduce_mean of it is the loss.",
)
def write_loss(loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> str:
    """The answer is a function of logits and labels, as `mnist.loss`."""
    require(callable(loss), "The answer is a function.")
    with tf.Graph().as_default(), tf.Session() as sess:
        logits, labels = tf.constant(_LOGITS), tf.constant(_LABELS)
        value = sess.run(loss(logits, labels))
        calm = sess.run(loss(logits[:2], labels[:2]))
    each = _cross_entropies(_LOGITS, _LABELS)
    softmax = np.exp(_LOGITS[:2]) / np.exp(_LOGITS[:2]).sum(axis=1, keepdims=True)
    require(np.shape(calm) == (), f"The loss is one number, but this has shape {calm.shape}.", 3)
    require(
        not np.isclose(calm, _cross_entropies(softmax, _LABELS[:2]).mean(), atol=1e-4),
        "The op was given probabilities: it takes logits and does the softmax itself.",
        2,
    )
    require(
        not np.isclose(calm, each[:2].sum(), atol=1e-4),
        "That is the sum. The mean keeps the step's size the same for every batch size.",
        3,
    )
    require(np.isclose(calm, each[:2].mean(), atol=1e-4), f"It gives {calm:.4f} for two images.", 1)
    require(
        np.isfinite(value) and np.isclose(value, each.mean(), rtol=1e-4),
        f"With a logit of 1000 it gives {value}: the logarithm of a softmax can overflow.",
        1,
    )
    return "It agrees with numpy, and a logit of 1000 does not turn it into NaN."


@exercise(
    "`minimize` takes the variable that counts the steps.",
    "tf.train.get_global_step() looks into the collection GLOBAL_STEP.",
    "tf.train.get_or_create_global_step() makes it: not trainable, and in both collections.",
)
def write_training(training: Callable[[tf.Tensor, float], tf.Operation]) -> str:
    """The answer is a function of loss and rate, as `mnist.training`: it trains and counts."""
    require(callable(training), "The answer is a function.")
    with tf.Graph().as_default(), tf.Session() as sess:
        weight = tf.Variable(3.0, name="weight")
        train_op = training(tf.square(weight), 0.25)
        require(
            isinstance(train_op, tf.Operation | tf.Tensor),
            "Return the op that takes a step: what `minimize` returns.",
            1,
        )
        trained = [variable.op.name for variable in tf.trainable_variables()]
        require(trained == ["weight"], f"{trained[-1]} must not be trainable.", 3)
        try:
            step = tf.train.get_global_step()
        except TypeError:  # of a variable that has the name but is not in the collection
            step = None
        require(step is not None, "tf.train.get_global_step() finds no counter.", 2)
        sess.run(tf.global_variables_initializer())
        sess.run(train_op)
        sess.run(train_op)
        value, count = sess.run([weight, step])
    require(value != 3, "Two steps did not change the weight.", 1)
    require(np.isclose(value, 0.75), f"Two steps of gradient descent end at 0.75, not {value}.", 1)
    require(count == 2, f"Two steps were taken, but the counter says {count}.", 1)
    return "Each run moves the weight once and counts once."


@exercise(
    "1,000 images in batches of 300 make three whole batches and 100 images more.",
    "`data_set.batches(300)` yields every image once, the last batch being smaller.",
    "Add up the counts; do not average the batches.",
)
def count_correct(count: Callable[..., Any]) -> str:
    """The answer is a function (sess, eval_correct, images_pl, labels_pl, data_set) -> int."""
    require(callable(count), "The answer is a function.")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1000, 2, 2), np.uint8)
    data_set = input_data.DataSet(pixels, rng.integers(0, 10, 1000, np.uint8), seed=1)
    seen: list[np.ndarray] = []
    with tf.Graph().as_default(), tf.Session() as sess:
        images = tf.placeholder(tf.float32, (None, 4), "images_placeholder")
        labels = tf.placeholder(tf.int32, (None,), "labels_placeholder")

        def note(batch: np.ndarray) -> np.int32:
            seen.append(batch)
            return np.int32(np.sum(batch % 2))

        counted = tf.numpy_function(note, [labels], tf.int32)
        correct = counted + 0 * tf.shape(images)[0]  # so that both must be fed
        result = count(sess, correct, images, labels, data_set)
    shown = np.concatenate(seen) if seen else np.zeros(0)
    require(
        len(shown) >= 1000,
        f"Only {len(shown)} of the 1,000 images were counted: the last, smaller batch is missing.",
        1,
    )
    require(len(shown) == 1000, f"{len(shown)} images were counted, but there are 1,000.", 2)
    require(np.array_equal(np.sort(shown), np.sort(data_set.labels)), "Some images come twice.", 2)
    require(
        result == int(np.sum(data_set.labels % 2)),
        f"{result} is not the number of correct ones.",
        3,
    )
    return "Every image counts once, the last 100 as well."


@exercise(
    "tf.Summary(value=[tf.Summary.Value(tag=..., simple_value=...)]) needs no op.",
    "`add_summary` takes the step as its second argument.",
    "The file does not hold what was not flushed: close the writer.",
)
def write_scalars(write: Callable[[str, list[float]], Any]) -> str:
    """The answer is a function (folder, values): value i goes to tag "accuracy" at step i."""
    require(callable(write), "The answer is a function.")
    with tempfile.TemporaryDirectory() as folder:
        with tf.Graph().as_default():  # where tf.summary.FileWriter works
            write(folder, [0.5, 0.75, 0.875])
        require(list(pathlib.Path(folder).glob("*tfevents*")), "There is no event file.", 1)
        found = event_files.scalars(folder)
    require(
        found,
        "The event file holds no scalar: nothing was added, or it was not flushed.",
        3,
    )
    require("accuracy" in found, f"The tag is {sorted(found)[0]!r}, not 'accuracy'.", 1)
    steps, values = found["accuracy"]
    require(steps == [0, 1, 2], f"The steps in the file are {steps}, not [0, 1, 2].", 2)
    require(values == [0.5, 0.75, 0.875], f"The values in the file are {values}.", 1)
    return "TensorBoard would draw these three points."


@exercise(
    "The report must be about the batch that was trained on, so the iterator may move only once.",
    "Fetch the batch along with train_op: [train_op, batch].",
    "Any tensor can be fed: sess.run(report, {batch: value}).",
)
def report_after_step(step: Callable[..., Any]) -> str:
    """The answer is a function (sess, train_op, batch, report) -> the report after the step."""
    require(callable(step), "The answer is a function.")
    with tf.Graph().as_default(), tf.Session() as sess:
        dataset = tf.data.Dataset.from_tensor_slices([1.0, 10.0, 100.0, 1000.0])
        batch = tf.data.make_one_shot_iterator(dataset).get_next()
        weight = tf.Variable(0.0, name="weight")
        train_op = weight.assign_add(1.0, read_value=False)
        with tf.control_dependencies([tf.identity(batch)]):
            train_op = tf.group(train_op)
        with tf.control_dependencies(None):
            report = weight.read_value() * batch
        sess.run(tf.global_variables_initializer())
        reports = [float(step(sess, train_op, batch, report)) for _ in range(2)]
        taken = sess.run(weight)
    require(taken != 0, "The training op did not run.", 2)
    require(taken == 2, f"Two calls took {taken:g} training steps, not 2.", 2)
    require(
        reports[0] != 10,
        "The report is about the next batch: each run that touches the iterator moves it.",
        1,
    )
    require(reports == [1, 20], f"The reports are {reports}: some come from before the step.", 3)
    return "The fed batch took the iterator's place, so the second run did not move it."
