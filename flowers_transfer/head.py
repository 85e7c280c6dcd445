"""Builds the graph of the head: one dense layer from bottlenecks to classes.

    placeholder_inputs()  what a feed dictionary fills
    inference()           from bottlenecks to logits
    loss()                from logits and labels to the number that training lowers
    training()            from the loss to the op that takes one step
    evaluation()          from logits and labels to the number of correct predictions

Names of scopes, variables and placeholders are the original's.
"""

import tensorflow.compat.v1 as tf

SCOPE = "final_training_ops"
FINAL_TENSOR = "final_result"
_STDDEV = 0.001  # of the initial weights


def placeholder_inputs(bottleneck_size):
    """Adds the placeholders.

    Args:
        bottleneck_size: int.

    Returns:
        bottlenecks: float32 [batch, bottleneck_size], named BottleneckInputPlaceholder.
        labels: int64 [batch], named GroundTruthInput.
    """
    bottlenecks = tf.placeholder(
        tf.float32, (None, bottleneck_size), name="BottleneckInputPlaceholder"
    )
    return bottlenecks, tf.placeholder(tf.int64, (None,), name="GroundTruthInput")


def inference(bottlenecks, num_classes):
    """Adds the layer.

    Args:
        bottlenecks: float32 [batch, bottleneck_size].
        num_classes: int.

    Returns:
        logits: float32 [batch, num_classes].
    """
    with tf.variable_scope(SCOPE):
        weights = tf.get_variable(
            "weights",
            [bottlenecks.shape[1], num_classes],
            initializer=tf.truncated_normal_initializer(stddev=_STDDEV),
        )
        biases = tf.get_variable("biases", [num_classes], initializer=tf.zeros_initializer())
        return tf.matmul(bottlenecks, weights) + biases


def loss(logits, labels):
    """Adds the mean softmax cross entropy of the batch, a float32 scalar in nats.

    Args:
        logits: float32 [batch, num_classes].
        labels: int64 [batch].
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(cross_entropy, name="cross_entropy")


def weight_decay(strength):
    """Adds the L2 penalty on the head's weights: `strength` times half the sum of squares."""
    with tf.variable_scope(SCOPE, reuse=True):
        return strength * tf.nn.l2_loss(tf.get_variable("weights"))


def training(loss, learning_rate, momentum=0.0, wrap=lambda optimizer: optimizer):
    """Adds the op that takes one step of gradient descent.

    Args:
        loss: float32 scalar.
        learning_rate: float.
        momentum: float; 0 is plain gradient descent.
        wrap: function from the tf.train.Optimizer to the one that is used.

    Returns:
        train_op: running it changes the variables once and adds 1 to `global_step`.
    """
    if momentum:
        optimizer = tf.train.MomentumOptimizer(learning_rate, momentum)
    else:
        optimizer = tf.train.GradientDescentOptimizer(learning_rate)
    return wrap(optimizer).minimize(loss, global_step=tf.train.get_or_create_global_step())


def evaluation(logits, labels):
    """Adds the number of correct predictions, an int32 scalar.

    Args:
        logits: float32 [batch, num_classes].
        labels: int64 [batch].
    """
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.int32))
