"""The exercises of notebook 2: a convolutional net on an input pipeline."""

import math
import numbers
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow.compat.v1 as tf

from exercises.exercise import exercise, require


@exercise(
    "The first byte is the label. The 3,072 bytes after it are the image.",
    "The file holds all red values, then all green ones, then all blue ones: three planes of "
    "32 x 32. What shape does numpy's reshape need to give each plane its own index?",
    "Reshape to [3, 32, 32]. Then move the first axis to the end: transpose(1, 2, 0).",
)
def split_record(answer: Callable) -> str:
    """Takes a function from the 3,073 bytes of a record to (label, uint8 [32, 32, 3])."""
    record = np.random.default_rng(0).integers(0, 256, 3073, dtype=np.uint8)
    record[0] = 7
    label, image = answer(record.tobytes())
    image = np.asarray(image)
    require(
        image.shape != (3, 32, 32),
        "The shape is [3, 32, 32]: the colours come first. A convolution of this net wants the "
        "three colours of a pixel side by side, in the last axis.",
        3,
    )
    require(
        image.shape == (32, 32, 3), f"The image must be [32, 32, 3], not {list(image.shape)}.", 1
    )
    planes = record[1:].reshape(3, 32, 32)
    require(
        not np.array_equal(image, record[1:].reshape(32, 32, 3)),
        "The shape is right, but the pixels are mixed up: you read three neighbouring bytes as the "
        "colours of one pixel. In the file they are three neighbouring red values.",
        2,
    )
    require(
        not np.array_equal(image, planes.transpose(2, 1, 0)),
        "Rows and columns are swapped: the picture is mirrored along its diagonal.",
        3,
    )
    require(
        not np.array_equal(image, record[:-1].reshape(3, 32, 32).transpose(1, 2, 0)),
        "All pixels are one place off: the label has become a pixel.",
        1,
    )
    require(
        int(label) == 7, f"The label is {int(label)}, but the first byte of the record is 7.", 1
    )
    require(np.array_equal(image, planes.transpose(1, 2, 0)), "The pixels are not the record's.", 2)
    return "This is what `cifar10_input.parse` does, there for a whole batch and with graph ops."


@exercise(
    "Each of the 64 filters looks at 5 x 5 pixels. How many numbers does it see there?",
    "A pixel of the image has 3 channels, so a filter of conv1 has 5 x 5 x 3 weights and one bias. "
    "For full1: what does the image look like after the second pooling?",
    "conv1: 64 x (5 x 5 x 3 + 1). full1: each of 384 units sees 6 x 6 x 64 numbers and has 1 bias.",
)
def count_weights(answer: dict) -> str:
    """Takes {"conv1": n, "full1": n}, the numbers in kernel and biases."""
    conv1, full1 = answer["conv1"], answer["full1"]
    require(
        (conv1, full1) != (4800, 884736),
        "You left out the biases: one for each channel or unit.",
        3,
    )
    require(
        conv1 not in (1600, 1664),
        "A filter sees all channels of its input at once: 5 x 5 x 3 numbers, not 5 x 5.",
        2,
    )
    require(conv1 != 4800, "conv1 lacks its 64 biases.", 3)
    require(conv1 == 4864, f"conv1 does not have {conv1} weights.", 1)
    require(
        full1 != (24 * 24 * 64 + 1) * 384,
        "full1 does not see 24 x 24 x 64 numbers: two poolings have halved height and width twice.",
        2,
    )
    require(full1 != 884736, "full1 lacks its 384 biases.", 3)
    require(full1 == 885120, f"full1 does not have {full1} weights.", 2)
    return (
        "The two convolutions do most of the work with a tenth of the weights: a filter is used at "
        "every place of the image, a dense layer's weight only once."
    )


@exercise(
    "Count the calls of `sess.run` in your function. What does each of them do to the iterator?",
    "Every run that needs `images` or `labels` takes the next batch. Two runs take two batches.",
    "One run can fetch both: sess.run([images, labels]).",
)
def fetch_pair(answer: Callable) -> str:
    """Takes a function (sess, images, labels) -> (images' value, labels' value) of one batch."""
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        numbers = tf.data.Dataset.range(100).map(lambda i: (i, i)).batch(5)
        iterator = tf.data.make_initializable_iterator(numbers)
        images, labels = iterator.get_next()
        sess.run(iterator.initializer)
        before = len(graph.get_operations())
        for batch in range(4):
            pair = answer(sess, images, labels)
            require(
                isinstance(pair, tuple | list) and len(pair) == 2,
                "Return the two values as a pair.",
            )
            require(
                all(isinstance(value, np.ndarray) for value in pair),
                "What you return are tensors. Only a run of the session gives their values.",
                3,
            )
            require(
                np.array_equal(*pair),
                f"Image {pair[0][0]} came with label {pair[1][0]}. You fetched the images in one "
                "run and the labels in another, and each run took a batch.",
                2,
            )
            require(
                pair[0][0] == 5 * batch,
                f"Batch {batch} should start with image {5 * batch}, but it starts with "
                f"{pair[0][0]}: your function takes more than one batch from the iterator.",
                2,
            )
        require(
            len(graph.get_operations()) == before,
            "Your function adds ops to the graph each time it is called. In a long training the "
            "graph grows until the memory is full. Build ops once, before the loop.",
            3,
        )
    return "One run, one batch: everything that must fit together is fetched together."


def _run(build: Callable, *inputs: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default(), tf.Session() as sess:
        return sess.run(tf.convert_to_tensor(build(*map(tf.constant, inputs))))


@exercise(
    "`tf.nn.sparse_softmax_cross_entropy_with_logits` takes integer labels and logits.",
    "That op applies the softmax itself, and gives one number for each image.",
    "Take the mean of these numbers with tf.reduce_mean.",
)
def loss(answer: Callable) -> str:
    """Takes a function (logits [batch, classes], targets int [batch]) -> scalar."""
    logits = np.float32([[2, -1, 0.5], [0, 3, 1], [-2, 0, 1]])
    targets = np.int32([0, 1, 1])
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    each = -log_softmax[np.arange(3), targets]
    found = _run(answer, logits, targets)
    require(
        found.shape != (3,),
        "This is a loss for each image. Training lowers one number, so take the mean over the "
        "batch.",
        3,
    )
    require(found.shape == (), f"The loss must be a scalar, not of shape {list(found.shape)}.", 3)
    require(
        not np.isclose(found, each.sum(), rtol=1e-4),
        "This is the sum over the batch. A sum grows with the batch, and so would the size of a "
        "step. Take the mean.",
        3,
    )
    softmax = np.exp(log_softmax)
    twice = -np.log(np.exp(softmax) / np.exp(softmax).sum(axis=1, keepdims=True))
    require(
        not np.isclose(found, twice[np.arange(3), targets].mean(), rtol=1e-4),
        "The softmax is applied twice: once by you and once by the op. The net would still learn, "
        "but slowly, and the loss could never get near 0.",
        2,
    )
    require(np.isclose(found, each.mean(), rtol=1e-4), f"The loss should be {each.mean():.4f}.", 1)
    large = _run(answer, np.float32([[200.0, 0.0], [0.0, 200.0]]), np.int32([1, 0]))
    require(
        np.isfinite(large),
        "With logits of 0 and 200 the loss is not finite: a probability was rounded to 0, and its "
        "logarithm is minus infinity. The op that does softmax and logarithm in one is safe.",
        1,
    )
    require(
        np.isclose(large, 200.0, rtol=1e-4),
        f"With logits of 0 and 200 the loss should be 200, not {large:.1f}: a wrong answer given "
        "with full certainty must stay expensive. Do not clip the probabilities.",
        1,
    )
    return "An untrained net with 10 classes starts near ln 10 = 2.303 with it."


@exercise(
    "`tf.train.exponential_decay` computes the rate from a step. Who counts the steps?",
    "`minimize` adds 1 to the variable that it is given as `global_step`.",
    "Make `step = tf.train.get_or_create_global_step()`. Give it to both `exponential_decay` and "
    "`minimize`.",
)
def decaying(answer: Callable) -> str:
    """Takes a function from a loss to (train_op, rate): 0.1, times 0.9 after every 2 steps."""
    with tf.Graph().as_default(), tf.Session() as sess:
        weight = tf.get_variable("weight", initializer=5.0)
        train_op, rate = answer(tf.square(weight))
        require(
            isinstance(rate, tf.Tensor | tf.Variable),
            "The rate must be a tensor. A Python number keeps the value that it had when the graph "
            "was built.",
            1,
        )
        sess.run(tf.global_variables_initializer())
        rates, weights = [], []
        for _ in range(6):
            rates.append(float(sess.run(rate)))
            weights.append(float(sess.run(weight)))
            sess.run(train_op)
        require(
            weights[1] != weights[0],
            "Running the train op did not change the variable of the loss.",
        )
        require(
            rates[-1] != rates[0],
            "After 6 steps the rate is still what it was. Nothing has counted the steps. This is "
            "the bug of the original: it gives `minimize` no step.",
            2,
        )
        smooth = 0.1 * 0.9 ** (np.arange(6) / 2)
        require(
            not np.allclose(rates, smooth, rtol=1e-4),
            "Your rate falls a little in every step. With staircase=True it stays the same for two "
            "steps, then falls.",
            1,
        )
        expected = 0.1 * 0.9 ** (np.arange(6) // 2)
        listed = ", ".join(f"{value:.4f}" for value in rates)
        require(
            np.allclose(rates, expected, rtol=1e-4),
            f"The rates were {listed}. They should be 0.1, 0.1, 0.09, 0.09, 0.081, 0.081.",
            1,
        )
        steps = -np.diff(weights) / (2 * np.array(weights[:-1]))
        require(
            np.allclose(steps, rates[:-1], rtol=1e-3),
            "The rate falls, but the optimizer does not use it: the steps keep their length.",
            1,
        )
    return "The optimizer reads the rate again in each run, because the rate is part of the graph."


def small_net(images: tf.Tensor) -> tf.Tensor:
    """Adds a net to share: one dense layer, float32 [batch, 4] to [batch, 3]."""
    weights = tf.get_variable("weights", [4, 3])
    biases = tf.get_variable("biases", [3])
    return tf.matmul(images, weights) + biases


@exercise(
    "`tf.get_variable` looks for the variable's name in the open variable scope.",
    "Open the same scope twice. The second time, say that its variables are there already.",
    "with tf.variable_scope('net'): ... and then with tf.variable_scope('net', reuse=True): ...",
)
def share(answer: Callable) -> str:
    """Takes a function (net, images, test_images) -> (logits, test_logits), variables shared."""
    with tf.Graph().as_default(), tf.Session() as sess:
        images = tf.constant(np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32))
        try:
            logits, test_logits = answer(small_net, images, images)
        except ValueError as error:
            require(
                "already exists" not in str(error),
                "get_variable found a variable of this name and refused to make a second one. That "
                "is a safeguard: say with `reuse` that you want the same one.",
                3,
            )
            raise
        found = [variable.name for variable in tf.trainable_variables()]
        require(
            len(found) != 4,
            f"There are four variables: {', '.join(found)}. The test net has its own weights, "
            "which nothing trains. You opened two scopes with different names.",
            2,
        )
        require(len(found) == 2, f"There should be two variables, not {len(found)}: {found}.", 1)
        require(
            logits is not test_logits, "Both results are the same tensor: build the net twice.", 2
        )
        sess.run(tf.global_variables_initializer())
        values = sess.run([logits, test_logits])
        require(np.array_equal(*values), "The same images give different logits.", 1)
    return "They share two variables: the test net sees every change that the train op makes."


@exercise(
    "A value that came k steps ago has the weight (1 - d) * d ** k. The newest one has (1 - d).",
    "So d ** 100 must be one half.",
    "d = 0.5 ** (1 / 100)",
)
def half_life(answer: float) -> str:
    """Takes the decay with which a value of 100 steps ago counts half as much as the newest."""
    require(isinstance(answer, numbers.Real), "The answer is one number.")
    require(
        not math.isclose(answer, 0.99, abs_tol=2e-5),
        "With 0.99, a value of 100 steps ago has 0.37 of the newest one's weight: 1/e, not 1/2. It "
        "is a good rule of thumb that d averages over about 1 / (1 - d) steps.",
        2,
    )
    require(
        not math.isclose(answer, 1 - 0.5**0.01, rel_tol=1e-3),
        "This is 1 - d, the weight of the newest value.",
        1,
    )
    require(0 < answer < 1, "A decay lies between 0 and 1.", 1)
    require(
        abs(answer - 0.5**0.01) < 1e-5,
        f"With {answer}, a value of 100 steps ago has {answer**100:.3f} times the newest's weight.",
        2,
    )
    return "About 0.9931. In the same way, 0.999 halves a weight every 693 steps."


@exercise(
    "Look at the names in the checkpoint: `weight` and `weight/ExponentialMovingAverage`.",
    "A Saver takes a dict: from a name in the checkpoint to the variable that gets the value.",
    "`average.variables_to_restore()` returns just this dict.",
)
def averages_saver(answer: Callable) -> str:
    """Takes a function from a moving average to the Saver that restores averages for evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(pathlib.Path(folder, "model.ckpt"))
        with tf.Graph().as_default(), tf.Session() as sess:
            weight = tf.get_variable("weight", initializer=1.0)
            apply = tf.train.ExponentialMovingAverage(0.9).apply([weight])
            sess.run(tf.global_variables_initializer())
            sess.run(weight.assign(11.0))
            sess.run(apply)  # 0.9 * 1 + 0.1 * 11 = 2
            tf.train.Saver().save(sess, prefix)
        with tf.Graph().as_default(), tf.Session() as sess:
            weight = tf.get_variable("weight", initializer=0.0)
            saver = answer(tf.train.ExponentialMovingAverage(0.9))
            require(isinstance(saver, tf.train.Saver), "Return a tf.train.Saver.", 2)
            require(
                len(tf.global_variables()) == 1,
                "Your function adds variables to the evaluation graph. It only needs a Saver that "
                "puts the saved averages into the variables that are there.",
                2,
            )
            saver.restore(sess, prefix)
            value = float(sess.run(weight))
    require(
        value != 11.0,
        "The variable has the value 11, that of the last step. A Saver without arguments restores "
        "each variable under its own name.",
        2,
    )
    require(math.isclose(value, 2.0, rel_tol=1e-5), f"The variable is {value}, not the average 2.")
    return "The net reads its variables as always, and finds the averages in them."
