"""Builds the graph of the CIFAR-10 net, one function per stage.

    inference()   images -> logits (`cifar_cnn_model` in the original)
    loss()        logits, targets -> the loss to minimize (`cifar_loss`)
    training()    loss -> the op that takes one training step (`train_step`)
    evaluation()  logits, targets -> the number of correct predictions (`accuracy_of_batch`)

Every builder takes tensors, adds its ops to the default graph and returns tensors. Call
`inference` inside `tf.variable_scope(SCOPE)`. A second call with `reuse=True` builds a test net
that shares the variables. Scopes and variables have the original's names.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from tutorial_support import summaries

NUM_CLASSES = 10
CROP_SIZE = 24  # pixels, height and width of the net's input
SCOPE = "model_definition"
_STDDEV = 0.05  # of the initial weights


class Net(NamedTuple):
    """The tensors and variables that `inference` returns.

    Attributes:
        logits: float32 [batch, classes], unbounded.
        bottleneck: float32 [batch, 192], the input of the last layer.
        filters: float32 [5, 5, 3, 64], the kernel of the first convolution.
        last_weights: float32 [192, classes], the weights of the last layer.
    """

    logits: tf.Tensor
    bottleneck: tf.Tensor
    filters: tf.Variable
    last_weights: tf.Variable


def inference(
    images: tf.Tensor,
    num_classes: int = NUM_CLASSES,
    dropout: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Net:
    """Builds the net from the images to the logits.

    Args:
        images: float32 [batch, CROP_SIZE, CROP_SIZE, 3], standardized; any batch size.
        num_classes: number of logits per image.
        dropout: applied to the inputs of each hidden dense layer, float32 [batch, n] -> the same
            shape; the identity outside of training.
    """
    conv1, filters = _convolution(images, 64, "1")
    conv2, _ = _convolution(_pool_and_normalize(conv1, "1"), 64, "2")
    features = _pool_and_normalize(conv2, "2")
    # A dense layer takes one row per image. -1 lets TensorFlow work out the batch size.
    features = tf.reshape(features, [-1, int(np.prod(features.shape.as_list()[1:]))])
    full1, _ = _dense(dropout(features), 384, "1", tf.nn.relu)
    full2, _ = _dense(dropout(full1), 192, "2", tf.nn.relu)
    # No ReLU here: the loss takes logits, which may be negative.
    logits, last_weights = _dense(full2, num_classes, "3", tf.identity)
    # Ops that are never fetched cost nothing: these run only at evaluations.
    with tf.name_scope(None):  # keeps the current scope out of the summary tags
        summaries.add_details(images=images, conv1=conv1, conv2=conv2, full1=full1, full2=full2)
    return Net(logits, full2, filters, last_weights)


def _convolution(inputs: tf.Tensor, channels: int, number: str) -> tuple[tf.Tensor, tf.Variable]:
    """Adds conv 5x5 SAME, bias and ReLU; returns [batch, h, w, channels] and the kernel."""
    with tf.variable_scope(f"conv{number}"):
        kernel = _weights(f"conv_kernel{number}", [5, 5, inputs.shape.as_list()[-1], channels])
        biases = _biases(f"conv_bias{number}", channels)
        convolved = tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")
        return tf.nn.relu(tf.nn.bias_add(convolved, biases)), kernel


def _pool_and_normalize(activations: tf.Tensor, number: str) -> tf.Tensor:
    """Adds max pool 3x3/2 and local response normalization; halves height and width."""
    pooled = tf.nn.max_pool(
        activations, ksize=3, strides=2, padding="SAME", name=f"pool_layer{number}"
    )
    return lrn(pooled, depth_radius=5, bias=2.0, alpha=1e-3, beta=0.75, name=f"norm{number}")


def _dense(
    inputs: tf.Tensor, units: int, number: str, activation: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Variable]:
    """Adds a fully connected layer; returns its output, [batch, units], and its weights."""
    with tf.variable_scope(f"full{number}"):
        weights = _weights(f"full_mult{number}", [inputs.shape.as_list()[-1], units])
        biases = _biases(f"full_bias{number}", units)
        return activation(tf.matmul(inputs, weights) + biases), weights


def _weights(name: str, shape: list[int]) -> tf.Variable:
    return _variable(name, shape, tf.truncated_normal_initializer(stddev=_STDDEV))


def _biases(name: str, units: int) -> tf.Variable:
    return _variable(name, [units], tf.zeros_initializer())


def _variable(name: str, shape: list[int], initializer: Callable[..., tf.Tensor]) -> tf.Variable:
    # tf.get_variable creates a variable named after the current variable scope. If that scope was
    # opened with reuse=True, it returns the existing variable of that name instead.
    # use_resource selects resource variables, the default unless a program calls
    # disable_v2_behavior(). Moving averages of reference variables could not be initialized.
    return tf.get_variable(name, shape, initializer=initializer, use_resource=True)


def lrn(
    images: tf.Tensor, depth_radius: int, bias: float, alpha: float, beta: float, name: str
) -> tf.Tensor:
    """Adds local response normalization, like `tf.nn.lrn` but faster on a CPU.

    Each value x is divided by s ** beta, where s = bias + alpha * (sum of squares over the channels
    at most depth_radius away). TensorFlow's op loops over the channels. Here one product with a
    banded matrix of zeros and ones computes the sums over all neighbouring channels:

        y = x / s ** beta
        dx = dy / s ** beta - 2 alpha beta x * band_sum(dy * y / s)

    Args:
        images: float32 [batch, height, width, channels]; the number of channels must be static.
        depth_radius: number of neighbouring channels on each side.
        bias, alpha, beta: as in the formula.
        name: name of the output op.

    Returns:
        float32, the shape of `images`.
    """
    channels = images.shape.as_list()[-1]
    distance = np.abs(np.arange(channels)[:, None] - np.arange(channels)[None, :])
    neighbours = np.float32(distance <= depth_radius)

    # TensorFlow differentiates op by op. A custom gradient replaces the derived one.
    @tf.custom_gradient
    def normalize(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        with tf.name_scope(f"{name}_parts"):
            rows = tf.reshape(x, [-1, channels])
            # Put alpha into the matrix: scaling all values would cost as much as the product.
            sums = tf.matmul(tf.square(rows), tf.constant(alpha * neighbours))
            scale = tf.nn.bias_add(sums, tf.fill([channels], bias))
            # For beta 3/4, roots give scale ** -beta. They are far cheaper than a power.
            is_root = beta == 0.75
            factor = tf.rsqrt(tf.rsqrt(scale)) / scale if is_root else tf.pow(scale, -beta)
            normalized = rows * factor

        def gradient(dy: tf.Tensor) -> tf.Tensor:
            with tf.name_scope(f"{name}_gradient"):
                dy_rows = tf.reshape(dy, [-1, channels])
                factors = tf.constant(2 * alpha * beta * neighbours)
                spread = tf.matmul(dy_rows * normalized / scale, factors)
                return tf.reshape(dy_rows * factor - rows * spread, tf.shape(x))

        return tf.reshape(normalized, tf.shape(x)), gradient

    return tf.ensure_shape(normalize(images), images.shape, name=name)


def loss(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Adds the mean softmax cross entropy of the batch.

    Args:
        logits: float32 [batch, classes].
        targets: int32 or int64 [batch].

    Returns:
        float32 scalar in nats, at least 0.
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=targets, logits=logits, name="xentropy"
    )
    return tf.reduce_mean(cross_entropy, name="cross_entropy")


def training(
    loss: tf.Tensor,
    learning_rate: float | tf.Tensor,
    optimizer: tf.train.Optimizer | None = None,
    average: tf.train.ExponentialMovingAverage | None = None,
) -> tf.Operation:
    """Adds the op that takes one step.

    Args:
        loss: float32 scalar to minimize.
        learning_rate: float or float32 scalar, for gradient descent.
        optimizer: replaces gradient descent if given.
        average: moving averages of the variables to update after each step.

    Returns:
        train_op: running it updates every trainable variable once, then the moving averages, and
            adds 1 to `global_step`.
    """
    with tf.name_scope("training"):
        if optimizer is None:
            optimizer = tf.train.GradientDescentOptimizer(learning_rate)
        # The original did not pass global_step, so its learning rate never decayed.
        step = optimizer.minimize(
            loss,
            global_step=tf.train.get_or_create_global_step(),
            colocate_gradients_with_ops=True,  # on the device of the forward op
        )
        if average is None:
            return step
        # Without this dependency, the averages might read the variables before the update.
        with tf.control_dependencies([step]):
            return average.apply(tf.trainable_variables())


def evaluation(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Adds the count of correct predictions; the original divides it by the batch size.

    Args:
        logits: float32 [batch, classes].
        targets: int [batch].

    Returns:
        correct: int32 scalar.
    """
    with tf.name_scope("evaluation"):
        correct = tf.equal(tf.argmax(logits, axis=1), tf.cast(targets, tf.int64))
        return tf.reduce_sum(tf.cast(correct, tf.int32))


def mean_of_views(logits: tf.Tensor, views: int) -> tf.Tensor:
    """Adds the mean of the predicted probabilities over several views of each image.

    Args:
        logits: float32 [batch * views, classes]; the views of an image are consecutive.
        views: number of views per image.

    Returns:
        float32 [batch, classes], the log of the mean probabilities; usable as logits, because
        their softmax is that mean.
    """
    with tf.name_scope("mean_of_views"):
        each = tf.nn.log_softmax(tf.reshape(logits, [-1, views, logits.shape.as_list()[-1]]))
        return tf.reduce_logsumexp(each, axis=1) - np.log(views)


def averaged(average: tf.train.ExponentialMovingAverage) -> Callable[..., Any]:
    """Returns a custom_getter that makes `inference` read the moving averages of the variables."""

    def average_of(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        return average.average(getter(name, *args, **kwargs))

    return average_of
