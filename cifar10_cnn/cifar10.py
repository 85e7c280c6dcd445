"""Builds the graph of the CIFAR-10 net, one function a stage.

    inference()   from images to logits (`cifar_cnn_model` in the original)
    loss()        from logits and targets to the number that training lowers
    training()    from the loss to the op that takes one step
    evaluation()  from logits and targets to the number of correct predictions

Every builder takes tensors, adds its ops to the default graph and returns tensors. Call
`inference` in `tf.variable_scope("model_definition")`, a second time with `reuse=True` for a
test net that shares the variables. Scopes, variables and ops have the names of the original.
"""

import tensorflow.compat.v1 as tf

from cifar10_cnn.lrn import lrn

NUM_CLASSES = 10
CROP_SIZE = 24  # pixels, both ways, of the images that the net sees
SCOPE = "model_definition"
_STDDEV = 0.05  # of the initial weights


def inference(images, num_classes=NUM_CLASSES, dropout=tf.identity):
    """Builds the net as far as it is needed to classify.

    Args:
        images: float32 [batch, CROP_SIZE, CROP_SIZE, 3], standardized; the batch may have any size.
        num_classes: int.
        dropout: function from the inputs of a hidden dense layer, float32 [batch, n], to what that
            layer gets of them in training.

    Returns:
        logits: float32 [batch, num_classes], unbounded.
    """
    features = _convolution(images, 64, "1")
    features = _convolution(features, 64, "2")
    features = tf.reshape(features, [-1, (CROP_SIZE // 4) ** 2 * 64])
    features = _dense(dropout(features), 384, "1", tf.nn.relu)
    features = _dense(dropout(features), 192, "2", tf.nn.relu)
    return _dense(features, num_classes, "3", tf.identity)


def _convolution(inputs, channels, number):
    """Adds conv 5x5, bias, ReLU, max pool 3x3/2 and LRN; halves height and width."""
    with tf.variable_scope(f"conv{number}"):
        kernel = _weights(f"conv_kernel{number}", [5, 5, inputs.shape[-1], channels])
        biases = _biases(f"conv_bias{number}", channels)
        convolved = tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")
        rectified = tf.nn.relu(tf.nn.bias_add(convolved, biases))
    pooled = tf.nn.max_pool(
        rectified, ksize=3, strides=2, padding="SAME", name=f"pool_layer{number}"
    )
    return lrn(pooled, depth_radius=5, bias=2.0, alpha=1e-3, beta=0.75, name=f"norm{number}")


def _dense(inputs, units, number, activation):
    """Adds a fully connected layer."""
    with tf.variable_scope(f"full{number}"):
        weights = _weights(f"full_mult{number}", [inputs.shape[-1], units])
        biases = _biases(f"full_bias{number}", units)
        return activation(tf.matmul(inputs, weights) + biases)


def _weights(name, shape):
    return tf.get_variable(name, shape, initializer=tf.truncated_normal_initializer(stddev=_STDDEV))


def _biases(name, units):
    return tf.get_variable(name, [units], initializer=tf.zeros_initializer())


def loss(logits, targets):
    """Adds the mean softmax cross entropy of the batch (`cifar_loss` in the original).

    Args:
        logits: float32 [batch, classes].
        targets: int32 or int64 [batch].

    Returns:
        loss: float32 scalar in nats, at least 0.
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    return tf.reduce_mean(cross_entropy, name="cross_entropy")


def smoothed_loss(logits, targets, smoothing):
    """Adds the loss of a target that is a little unsure, so that training does not seek certainty.

    Args:
        logits, targets: as of `loss`.
        smoothing: float in [0, 1), the probability that is spread evenly over all classes.

    Returns:
        float32 scalar in nats.
    """
    num_classes = logits.shape[-1]
    labels = (1 - smoothing) * tf.one_hot(targets, num_classes) + smoothing / num_classes
    return tf.reduce_mean(
        tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits),
        name="smoothed_cross_entropy",
    )


def is_hidden_matrix(variable):
    """Returns whether a variable is a kernel or weight matrix, but not the last layer's."""
    return variable.shape.rank > 1 and not variable.op.name.endswith("full_mult3")


def weight_decay(strength):
    """Adds the L2 penalty on the last layer's weights: `strength` times half their squares' sum."""
    with tf.variable_scope(f"{SCOPE}/full3", reuse=True):
        return strength * tf.nn.l2_loss(tf.get_variable("full_mult3"))


def training(loss, optimizer, average=None):
    """Adds the op that takes one step (`train_step` in the original).

    Args:
        loss: float32 scalar, what to minimize.
        optimizer: tf.train.Optimizer.
        average: tf.train.ExponentialMovingAverage that follows the variables, or None.

    Returns:
        train_op: running it changes every trainable variable once, then their averages, and adds
            1 to `global_step`.
    """
    step = optimizer.minimize(
        loss,
        global_step=tf.train.get_or_create_global_step(),
        colocate_gradients_with_ops=True,  # what a device computed, it also differentiates
    )
    if average is None:
        return step
    with tf.control_dependencies([step]):
        return average.apply(tf.trainable_variables())


def evaluation(logits, targets):
    """Adds the count of correct predictions (`accuracy_of_batch`, there divided by the batch).

    Args:
        logits: float32 [batch, classes].
        targets: int [batch].

    Returns:
        correct: int32 scalar.
    """
    correct = tf.equal(tf.argmax(logits, axis=1), tf.cast(targets, tf.int64))
    return tf.reduce_sum(tf.cast(correct, tf.int32))


def averaged(average):
    """Returns a custom_getter with which `inference` reads the moving averages of the variables."""

    def average_of(getter, name, *args, **kwargs):
        return average.average(getter(name, *args, **kwargs))

    return average_of
