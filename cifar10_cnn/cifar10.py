"""Builds the graph of the CIFAR-10 net, one function for each stage.

    inference()   from images to logits (`cifar_cnn_model` in the original)
    loss()        from logits and targets to the number that training lowers (`cifar_loss`)
    training()    from the loss to the op that takes one step (`train_step`)
    evaluation()  from logits and targets to the number of correct predictions (`accuracy_of_batch`)

Every builder takes tensors, adds its ops to the default graph and returns tensors. Call
`inference` in `tf.variable_scope(SCOPE)`, and a second time with `reuse=True` for a test net that
shares the variables. Scopes and variables have the names of the original.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from tutorial_support import events

NUM_CLASSES = 10
CROP_SIZE = 24  # pixels, both ways, of the images that the net sees
SCOPE = "model_definition"
_STDDEV = 0.05  # of the initial weights


class Net(NamedTuple):
    """What `inference` hands back.

    Attributes:
        logits: float32 [batch, classes], unbounded.
        bottleneck: float32 [batch, 192], what the last layer sees.
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
    """Builds the net as far as it is needed to classify.

    Args:
        images: float32 [batch, CROP_SIZE, CROP_SIZE, 3], standardized; the batch may have any size.
        num_classes: number of logits for each image.
        dropout: function from the inputs of a hidden dense layer, float32 [batch, n], to what that
            layer gets of them in training.
    """
    conv1, filters = _convolution(images, 64, "1")
    conv2, _ = _convolution(_pool_and_normalize(conv1, "1"), 64, "2")
    features = _pool_and_normalize(conv2, "2")
    # A dense layer takes one row for each image. -1 leaves the batch size open.
    features = tf.reshape(features, [-1, int(np.prod(features.shape.as_list()[1:]))])
    full1, _ = _dense(dropout(features), 384, "1", tf.nn.relu)
    full2, _ = _dense(dropout(full1), 192, "2", tf.nn.relu)
    # No ReLU here: the loss takes logits, which may be negative.
    logits, last_weights = _dense(full2, num_classes, "3", tf.identity)
    # Ops that nobody fetches cost nothing: these run at evaluations only. They stand at the end,
    # because the seed of an initializer depends on how many ops were made before it.
    with tf.name_scope(None):  # the tags do not start with the scope that is open here
        events.add_details(images=images, conv1=conv1, conv2=conv2, full1=full1, full2=full2)
    return Net(logits, full2, filters, last_weights)


def _convolution(inputs: tf.Tensor, channels: int, number: str) -> tuple[tf.Tensor, tf.Variable]:
    """Adds conv 5x5, bias and ReLU; returns the activations, of the same size, and the kernel."""
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
    # tf.get_variable makes a variable, named in the open variable scope. Where that scope was
    # opened with reuse=True, it returns the one that was made under this name before.
    # use_resource asks for today's kind of variable, which is the default unless a program has
    # disabled it. Of the older kind, no moving average could be initialized.
    return tf.get_variable(name, shape, initializer=initializer, use_resource=True)


def lrn(
    images: tf.Tensor, depth_radius: int, bias: float, alpha: float, beta: float, name: str
) -> tf.Tensor:
    """Adds local response normalization: what `tf.nn.lrn` does, but faster on a processor.

    Each value x is divided by s ** beta, where s = bias + alpha * (sum of the squares over the
    channels that are at most depth_radius away). TensorFlow's op visits the channels one by one.
    Here all sums over neighbouring channels are one product with a banded matrix of zeros and ones:

        y = x / s ** beta
        dx = dy / s ** beta - 2 alpha beta x * band_sum(dy * y / s)

    Args:
        images: float32 [batch, height, width, channels]; the number of channels must be known.
        depth_radius: channels to either side.
        bias, alpha, beta: as in the formula.
        name: of the op whose output this is.

    Returns:
        float32 of the shape of `images`.
    """
    channels = images.shape.as_list()[-1]
    distance = np.abs(np.arange(channels)[:, None] - np.arange(channels)[None, :])
    neighbours = np.float32(distance <= depth_radius)

    # TensorFlow differentiates op by op. Here `gradient` takes the place of what it would derive.
    @tf.custom_gradient
    def normalize(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        with tf.name_scope(f"{name}_parts"):
            rows = tf.reshape(x, [-1, channels])
            # The factor alpha is in the matrix: a pass over all values costs as much as a product.
            sums = tf.matmul(tf.square(rows), tf.constant(alpha * neighbours))
            scale = tf.nn.bias_add(sums, tf.fill([channels], bias))
            factor = _inverse_power(scale, beta)
            normalized = rows * factor

        def gradient(dy: tf.Tensor) -> tf.Tensor:
            with tf.name_scope(f"{name}_gradient"):
                dy_rows = tf.reshape(dy, [-1, channels])
                factors = tf.constant(2 * alpha * beta * neighbours)
                spread = tf.matmul(dy_rows * normalized / scale, factors)
                return tf.reshape(dy_rows * factor - rows * spread, tf.shape(x))

        return tf.reshape(normalized, tf.shape(x)), gradient

    return tf.ensure_shape(normalize(images), images.shape, name=name)


def _inverse_power(values: tf.Tensor, beta: float) -> tf.Tensor:
    """Returns `values ** -beta`; for 3/4 from roots, which are far cheaper than powers."""
    if beta == 0.75:
        return tf.math.rsqrt(tf.math.rsqrt(values)) / values
    return tf.pow(values, -beta)


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
        loss: float32 scalar, what to minimize.
        learning_rate: of gradient descent.
        optimizer: takes the place of gradient descent.
        average: follows the variables.

    Returns:
        train_op: running it changes every trainable variable once, then their averages, and adds
            1 to `global_step`.
    """
    with tf.name_scope("training"):
        if optimizer is None:
            optimizer = tf.train.GradientDescentOptimizer(learning_rate)
        # The original left global_step out, so that its learning rate never decayed.
        step = optimizer.minimize(
            loss,
            global_step=tf.train.get_or_create_global_step(),
            colocate_gradients_with_ops=True,  # each device differentiates what it computed
        )
        if average is None:
            return step
        # Without this dependency, the averages might take in the variables before the step.
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
    """Adds the mean of the probabilities that a net gives to several views of an image.

    Args:
        logits: float32 [batch * views, classes], the views of an image in a row.
        views: of each image.

    Returns:
        float32 [batch, classes], the logarithm of the mean probabilities: their softmax is that
        mean.
    """
    with tf.name_scope("mean_of_views"):
        each = tf.nn.log_softmax(tf.reshape(logits, [-1, views, logits.shape.as_list()[-1]]))
        return tf.reduce_logsumexp(each, axis=1) - np.log(views)


def averaged(average: tf.train.ExponentialMovingAverage) -> Callable[..., Any]:
    """Returns a custom_getter: with it, `inference` reads the moving averages of the variables."""

    def average_of(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        return average.average(getter(name, *args, **kwargs))

    return average_of
