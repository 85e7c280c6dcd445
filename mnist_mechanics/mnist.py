"""Builds the graph of the fully connected MNIST net, one function per stage.

    inference()   images -> logits
    loss()        logits, labels -> the loss to minimize
    training()    loss -> the op that takes one training step
    evaluation()  logits, labels -> the number of correct predictions

Every builder takes tensors, adds its ops to the default graph and returns tensors. Scopes,
variables and ops have the original tutorial's names, so each can read the other's checkpoints.
"""

import math

import tensorflow.compat.v1 as tf

from tutorial_support import summaries

NUM_CLASSES = 10  # the digits 0 to 9
IMAGE_SIZE = 28  # pixels, both ways
IMAGE_PIXELS = IMAGE_SIZE * IMAGE_SIZE


def inference(images: tf.Tensor, hidden1_units: int, hidden2_units: int) -> tf.Tensor:
    """Builds the net from the images to the logits.

    Args:
        images: float32 [batch, IMAGE_PIXELS], pixels in [0, 1].
        hidden1_units, hidden2_units: sizes of the two hidden layers.

    Returns:
        logits: float32 [batch, NUM_CLASSES], unbounded.
    """
    # A name scope prefixes the name of every op created inside it, so the weights of the first
    # layer become the variable hidden1/weights. TensorBoard draws each scope as one box.
    with tf.name_scope("hidden1"):
        weights, biases = _variables(IMAGE_PIXELS, hidden1_units)
        hidden1 = tf.nn.relu(tf.matmul(images, weights) + biases)
    with tf.name_scope("hidden2"):
        weights, biases = _variables(hidden1_units, hidden2_units)
        hidden2 = tf.nn.relu(tf.matmul(hidden1, weights) + biases)
    # No ReLU here: the loss and the evaluation take logits, which may be negative.
    with tf.name_scope("softmax_linear"):
        weights, biases = _variables(hidden2_units, NUM_CLASSES)
        logits = tf.matmul(hidden2, weights) + biases
    # Ops that are never fetched cost nothing: these run only with --summaries full.
    shape = [-1, IMAGE_SIZE, IMAGE_SIZE, 1]
    summaries.add_details(images=tf.reshape(images, shape, name="hidden1/images"))
    summaries.add_details(hidden1=hidden1, hidden2=hidden2)
    return logits


def _variables(fan_in: int, units: int) -> tuple[tf.Variable, tf.Variable]:
    """Returns a layer's weights [fan_in, units] and biases [units], named in the current scope."""
    stddev = 1.0 / math.sqrt(fan_in)  # keeps the scale of the activations from layer to layer
    initial = tf.truncated_normal([fan_in, units], stddev=stddev)
    # use_resource selects resource variables, the default unless a program calls
    # disable_v2_behavior(). A loop inside the graph cannot assign to the older reference variables.
    weights = tf.Variable(initial, name="weights", use_resource=True)
    biases = tf.Variable(tf.zeros([units]), name="biases", use_resource=True)
    return weights, biases


def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds the mean softmax cross entropy of the batch.

    Args:
        logits: float32 [batch, NUM_CLASSES], from `inference`.
        labels: integers [batch], in 0 .. NUM_CLASSES - 1.

    Returns:
        loss: float32 scalar in nats, at least 0.
    """
    labels = tf.cast(labels, tf.int64, name="ToInt64")
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits, name="xentropy"
    )
    return tf.reduce_mean(cross_entropy, name="xentropy_mean")


def training(
    loss: tf.Tensor, learning_rate: float, optimizer: tf.train.Optimizer | None = None
) -> tf.Operation:
    """Adds gradient descent, a counter of its steps, and a scalar summary of the loss.

    Args:
        loss: float32 scalar, from `loss`.
        learning_rate: above 0.
        optimizer: replaces gradient descent if given.

    Returns:
        train_op: running it updates every trainable variable once and adds 1 to the int32
            variable `global_step`.
    """
    tf.summary.scalar("loss", loss)
    if optimizer is None:
        optimizer = tf.train.GradientDescentOptimizer(learning_rate)
    # Not trainable, because the optimizer must not treat the counter as a weight.
    # tf.train.get_global_step() finds it in the GLOBAL_STEP collection.
    collections = [tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.GLOBAL_STEP]
    global_step = tf.Variable(
        0, name="global_step", trainable=False, collections=collections, use_resource=True
    )
    # minimize() adds the gradient ops and the ops that apply the gradients to the variables.
    return optimizer.minimize(loss, global_step=global_step)


def evaluation(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds the count of correct predictions in a batch.

    Args:
        logits: float32 [batch, NUM_CLASSES], from `inference`.
        labels: int [batch], in 0 .. NUM_CLASSES - 1.

    Returns:
        correct: int32 scalar, the number of rows whose label has the largest logit.
    """
    with tf.name_scope("evaluation"):
        # Labels may be uint8, which in_top_k does not accept.
        correct = tf.nn.in_top_k(logits, tf.cast(labels, tf.int64), 1)
        return tf.reduce_sum(tf.cast(correct, tf.int32))
