"""The exercises of notebook 4: fine-tuning a pretrained net."""

import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow.compat.v1 as tf

from exercises.exercise import exercise, require


@exercise(
    "`tf.nn.sigmoid_cross_entropy_with_logits` wants labels of the type and shape of the logits.",
    "Logits are [batch, 1] and labels [batch]. What shape does TensorFlow make of the two?",
    "tf.cast(labels[:, None], tf.float32) has the shape [batch, 1]. Then take the mean.",
)
def one_logit_loss(answer: Callable) -> str:
    """Takes a function (logits [batch, 1], labels int32 [batch]) -> the mean cross entropy."""
    logits = np.float32([[2.0], [-1.0], [0.5], [-3.0]])
    labels = np.int32([1, 0, 0, 1])
    with tf.Graph().as_default(), tf.Session() as sess:
        found = sess.run(answer(tf.constant(logits), tf.constant(labels)))
    each = np.log1p(np.exp(logits[:, 0])) - logits[:, 0] * labels
    require(
        found.shape in ((), (4,), (4, 1)),
        f"The result has the shape {list(found.shape)}. Each logit was compared with each label.",
        2,
    )
    require(found.shape == (), "This is a loss for each image. Take the mean.", 3)
    require(
        not np.isclose(found, 0),
        "The loss is 0 whatever the logits are: softmax over a single logit always gives 1. One "
        "logit needs the sigmoid.",
        1,
    )
    crossed = np.mean([np.log1p(np.exp(z)) - z * t for z in logits[:, 0] for t in labels])
    require(
        not np.isclose(found, crossed, rtol=1e-4),
        "Each logit was compared with each label: [4, 1] and [4] broadcast to [4, 4]. There is no "
        "error message, and the net learns nothing.",
        2,
    )
    require(
        not np.isclose(found, each.sum(), rtol=1e-4),
        "This is the sum over the batch, not the mean.",
        3,
    )
    require(np.isclose(found, each.mean(), rtol=1e-4), f"It should be {each.mean():.4f}.", 1)
    return "A logit of 0 says 'undecided', and costs ln 2 = 0.693."


@exercise(
    "In inference mode, the mean and variance are those that came with the weights.",
    "(x - mean) / sqrt(variance + epsilon), then times gamma, plus beta.",
    "gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta",
)
def normalize(answer: Callable) -> str:
    """Takes a function (x [n, c], gamma, beta, mean, variance) -> batch normalization of x."""
    generator = np.random.default_rng(0)
    x = generator.normal(2, 3, (6, 4))
    gamma, beta, mean = generator.normal(size=(3, 4))
    variance = generator.uniform(0.001, 2, 4)

    def formula(m: np.ndarray, divisor: np.ndarray) -> np.ndarray:
        return gamma * (x - m) / divisor + beta

    found = np.asarray(answer(x, gamma, beta, mean, variance))
    require(found.shape == x.shape, f"The result must be {list(x.shape)}, as x.", 2)
    of_batch = formula(x.mean(axis=0), np.sqrt(x.var(axis=0) + 1e-3))
    require(
        not np.allclose(found, of_batch, rtol=1e-2),
        "This takes mean and variance of the batch: that is the training mode. In it, the result "
        "for a photo depends on the other photos in the batch.",
        1,
    )
    require(
        not np.allclose(found, formula(mean, variance + 1e-3)),
        "You divide by the variance. Divide by its root, the standard deviation.",
        2,
    )
    require(
        not np.allclose(found, formula(mean, np.sqrt(variance))),
        "Epsilon is missing. It does not matter for large variances, but a channel whose variance "
        "is 0 would become infinite.",
        3,
    )
    require(
        np.allclose(found, formula(mean, np.sqrt(variance + 1e-3)), rtol=1e-6),
        "That is not the formula.",
        2,
    )
    return "All four are constants here, so it is one factor and one offset per channel."


@exercise(
    "The normalization gives scale * convolution + shift, and a convolution is linear.",
    "scale = gamma / sqrt(variance + 0.001), one number for each output channel: the last axis of "
    "the kernel.",
    "The new kernel is kernel * scale, and the new bias is beta - mean * scale.",
)
def fold(answer: Callable) -> str:
    """Takes a function (kernel [h, w, in, out], gamma, beta, mean, variance) -> (kernel, bias)."""
    generator = np.random.default_rng(1)
    kernel = generator.normal(size=(1, 1, 3, 3))
    gamma, beta, mean = generator.normal(size=(3, 3))
    variance = generator.uniform(0.1, 2, 3)
    scale = gamma / np.sqrt(variance + 1e-3)
    new_kernel, bias = (np.asarray(part) for part in answer(kernel, gamma, beta, mean, variance))
    require(new_kernel.shape == kernel.shape, f"The kernel must stay {list(kernel.shape)}.", 2)
    require(
        not np.allclose(new_kernel, kernel * scale[:, None]),
        "The factor is on the input channels. Each *output* channel has its own: the last axis.",
        2,
    )
    require(np.allclose(new_kernel, kernel * scale), "The kernel is not right.", 2)
    require(
        not np.allclose(bias, beta),
        "The mean is missing in the bias. It is subtracted from what the convolution gives, so it "
        "is scaled as well.",
        3,
    )
    require(
        not np.allclose(bias, beta - mean),
        "The mean is subtracted before the division: it must be scaled too.",
        3,
    )
    require(np.allclose(bias, beta - mean * scale), "The bias is not right.", 3)
    return "This is what `mobilenet_v2._normalization` does, with the variables still in the graph."


@exercise(
    "An initializer is an op that assigns its input to the variable. Any tensor can be fed.",
    "variable.initializer.inputs[1] is the tensor whose value the variable gets.",
    "sess.run([v.initializer for v in variables.values()], {v.initializer.inputs[1]: values[name] "
    "for name, v in variables.items()})",
)
def start_from(answer: Callable) -> str:
    """Takes a function (sess, variables, values), both by name, that puts the values in."""
    values = {
        "kernel": np.arange(50_000, dtype=np.float32).reshape(100, 500),
        "bias": np.full(500, 3, np.float32),
    }
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        variables = {name: tf.get_variable(name, value.shape) for name, value in values.items()}
        before = len(graph.get_operations())
        answer(sess, variables, values)
        for name, variable in variables.items():
            try:
                value = sess.run(variable)
            except tf.errors.FailedPreconditionError:
                require(False, f"'{name}' has no value: nothing has run.", 3)
            require(
                np.array_equal(value, values[name]),
                f"'{name}' has other values. Did an initializer run after you had put them in?",
                1,
            )
        size = graph.as_graph_def().ByteSize()
        require(
            size < 100_000,
            f"The values are there, but the graph has {size:,} bytes now: it holds them as "
            "constants. Each event file and each .meta file would hold them again, and a graph "
            "cannot exceed 2 GB.",
            1,
        )
        require(
            len(graph.get_operations()) == before, "Your function adds ops. None are needed.", 2
        )
    return "No weight is a constant: the values go straight into the variables."


@exercise(
    "What does `minimize` train if you do not say which variables?",
    "It takes a list: `var_list`.",
    "var_list=[v for v in tf.trainable_variables() if v.op.name.startswith('prediction/')]",
)
def train_head(answer: Callable) -> str:
    """Takes a function loss -> train op that changes only the variables in prediction/."""
    with tf.Graph().as_default(), tf.Session() as sess:
        with tf.variable_scope("base"):
            base = tf.get_variable("kernel", initializer=np.float32([[1.0, 2.0], [0.5, 1.0]]))
        with tf.variable_scope("prediction"):
            head = tf.get_variable("kernel", initializer=np.float32([[1.0], [-1.0]]))
        outputs = tf.matmul(tf.matmul(np.float32([[1, 2]]), base), head)
        train_op = answer(tf.reduce_sum(tf.square(outputs - 1)))
        require(isinstance(train_op, tf.Operation), "Return the op that `minimize` returns.", 2)
        sess.run(tf.global_variables_initializer())
        before = sess.run([base, head])
        sess.run(train_op)
        after = sess.run([base, head])
    require(
        not np.array_equal(before[1], after[1]),
        "The head did not change. Is the right half of the variables in your list?",
        3,
    )
    require(
        np.array_equal(before[0], after[0]),
        "The base has changed. `minimize` trains everything in tf.trainable_variables() unless you "
        "give it a list. At the start, the head's gradients are random, and they spoil the base.",
        2,
    )
    return "The base is frozen in the second sense: its variables are not in the optimizer's list."


class Layer(dict):
    """A layer for the next exercise: {variable's name: its number of values}."""


LAYERS = (
    Layer(),
    Layer(kernel=864),
    Layer(gamma=32, beta=32, moving_mean=32, moving_variance=32),
    Layer(),
    Layer(kernel=512),
    Layer(gamma=16, beta=16, moving_mean=16, moving_variance=16),
)


@exercise(
    "Layers count from 0. `fine_tune_at` is the first layer that is trained.",
    "layers[at:] are the layers to train.",
    "Moving means and variances are never trained by an optimizer: leave them out.",
)
def count_trained(answer: Callable) -> str:
    """Takes a function (layers, at) -> the number of values trained from layer `at` on."""

    def total(layers: tuple, with_moving: bool = False) -> int:
        return sum(
            count
            for layer in layers
            for name, count in layer.items()
            if with_moving or not name.startswith("moving")
        )

    found = [answer(LAYERS, at) for at in range(len(LAYERS) + 1)]
    every = [total(LAYERS[at:]) for at in range(len(LAYERS) + 1)]
    require(
        found != [total(LAYERS[at:], with_moving=True) for at in range(len(LAYERS) + 1)],
        "Moving means and variances are counted, too. No gradient goes to them; they are not "
        "trainable.",
        3,
    )
    require(
        found != [total(LAYERS[:at]) for at in range(len(LAYERS) + 1)],
        "These are the frozen ones: the layers before `at`.",
        2,
    )
    require(
        found != [total(LAYERS[at + 1 :]) for at in range(len(LAYERS) + 1)],
        "Layer `at` itself is trained as well.",
        1,
    )
    require(found == every, f"From layer 4 on, {every[4]} numbers are trained, not {found[4]}.", 2)
    return "If `at` is the number of layers, no layer of the base is trained: that is phase 1."


@exercise(
    "Where is the iterator after a pass? What happens when your function is called again?",
    "Run `iterator.initializer` first. Stop when tf.errors.OutOfRangeError comes.",
    "Add up len(sess.run(labels)) in a `while True` loop inside try / except.",
)
def count_images(answer: Callable) -> str:
    """Takes a function (sess, iterator, labels) -> number of images in one whole pass."""
    with tf.Graph().as_default(), tf.Session() as sess:
        iterator = tf.data.make_initializable_iterator(tf.data.Dataset.range(23).batch(5))
        labels = iterator.get_next()
        try:
            counts = [answer(sess, iterator, labels) for _ in range(2)]
        except tf.errors.FailedPreconditionError:
            require(False, "The iterator has not been initialized in this session.", 2)
        except tf.errors.OutOfRangeError:
            require(
                False,
                "OutOfRangeError came out of your function. It only says that the pass is over.",
                2,
            )
    require(counts[0] != 20, "You counted the full batches only. The last one has 3 images.", 3)
    require(counts[0] != 25, "You counted batches times 5, but the last batch has 3 images.", 3)
    require(counts[0] != 5, "You counted the batches, or only one of them.", 3)
    require(counts[0] == 23, f"There are 23 images, not {counts[0]}.", 1)
    require(
        counts[1] == 23,
        f"The second call found {counts[1]}: the iterator was still at its end.",
        2,
    )
    return "Each image counts once, including the last partial batch, as often as you ask."


@exercise(
    "In the checkpoint the variable is `Conv1/kernel`, in the graph `base/stem/Conv1/kernel`.",
    "tf.train.Saver takes a dict from a name in the checkpoint to the variable in the graph.",
    "tf.train.Saver({v.op.name.removeprefix('base/stem/'): v for v in variables}).restore(sess, "
    "prefix)",
)
def restore_renamed(answer: Callable) -> str:
    """Takes a function (sess, variables, prefix) that restores them without `base/stem/`."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(pathlib.Path(folder, "model.ckpt"))
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.get_variable("Conv1/kernel", initializer=7.0)
            tf.get_variable("bn_Conv1/gamma", initializer=5.0)
            sess.run(tf.global_variables_initializer())
            tf.train.Saver().save(sess, prefix)
        with tf.Graph().as_default(), tf.Session() as sess:
            with tf.variable_scope("base/stem"):
                variables = [
                    tf.get_variable("Conv1/kernel", initializer=0.0),
                    tf.get_variable("bn_Conv1/gamma", initializer=1.0),
                ]
            try:
                answer(sess, variables, prefix)
                values = sess.run(variables)
            except tf.errors.NotFoundError:
                require(
                    False,
                    "NotFoundError: the Saver looked for 'base/stem/Conv1/kernel' in the "
                    "checkpoint. A Saver without a dict takes the names in the graph.",
                    2,
                )
            except tf.errors.FailedPreconditionError:
                require(False, "A variable has no value: restore all of them.", 3)
    require(
        values != [0.0, 1.0],
        "The variables have their initial values. An initializer that runs after `restore` undoes "
        "it.",
        3,
    )
    require(values == [7.0, 5.0], f"The values are {values}, not [7.0, 5.0].", 2)
    return "So scopes may change while checkpoints stay readable."
