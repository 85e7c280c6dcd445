"""Builds the graph of the head: one dense layer from bottlenecks to classes.

    placeholder_inputs()  the placeholders for bottlenecks and labels
    inference()           bottlenecks -> logits
    loss()                logits, labels -> mean cross entropy
    weight_decay()        weights -> L2 penalty
    training()            loss plus penalty -> the op that takes one training step
    evaluation()          logits, labels -> number of correct predictions

Scopes and placeholders keep the original's names. README.md lists the names of the variables, which
differ.
"""

import tensorflow.compat.v1 as tf

from tutorial_support import summaries

SCOPE = "final_training_ops"
FINAL_TENSOR = "final_result"
_STDDEV = 0.001  # of the initial weights


def placeholder_inputs(bottleneck_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds the placeholders.

    Returns:
        bottlenecks: float32 [batch, bottleneck_size], named BottleneckInputPlaceholder.
        labels: int64 [batch], named GroundTruthInput.
    """
    # None leaves the batch size open: training and evaluation feed batches of different sizes.
    bottlenecks = tf.placeholder(
        tf.float32, (None, bottleneck_size), name="BottleneckInputPlaceholder"
    )
    return bottlenecks, tf.placeholder(tf.int64, (None,), name="GroundTruthInput")


def inference(bottlenecks: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Adds the dense layer.

    Args:
        bottlenecks: float32 [batch, k].
        num_classes: at least 2.

    Returns:
        logits: float32 [batch, num_classes], unbounded.
    """
    # A variable scope prefixes the names of variables (final_training_ops/weights) and opens a
    # name scope for ops as well. A checkpoint stores each value under its variable's name.
    with tf.variable_scope(SCOPE):
        weights = tf.get_variable(
            "weights",
            [bottlenecks.shape.as_list()[1], num_classes],
            initializer=tf.truncated_normal_initializer(stddev=_STDDEV),
        )
        biases = tf.get_variable("biases", [num_classes], initializer=tf.zeros_initializer())
        # [batch, k] times [k, classes] gives [batch, classes]; the biases are added to each row.
        logits = tf.matmul(bottlenecks, weights) + biases
    # A collection is a named list that belongs to the graph. weight_decay() reads this one.
    tf.add_to_collection(tf.GraphKeys.WEIGHTS, weights)
    summaries.add_details(logits=logits)
    return logits


def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds the mean softmax cross entropy of the batch, a float32 scalar in nats.

    Args:
        logits: float32 [batch, num_classes].
        labels: int64 [batch], in 0 .. num_classes - 1.
    """
    with tf.name_scope("cross_entropy"):
        # In one op with the softmax, a probability that rounds to 0 cannot make the loss infinite.
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        mean = tf.reduce_mean(cross_entropy)
    # Adds the op to the graph's collection of summaries, which merge_all() reads.
    tf.summary.scalar("loss/train", mean)
    return mean


def weight_decay(strength: float) -> tf.Tensor:
    """Adds the L2 penalty, `strength` times half the sum of squared weights: a float32 scalar."""
    with tf.name_scope("weight_decay"):
        penalties = [tf.nn.l2_loss(weights) for weights in tf.get_collection(tf.GraphKeys.WEIGHTS)]
        return strength * tf.add_n(penalties)


def gradient_descent(learning_rate: float, momentum: float = 0.0) -> tf.train.Optimizer:
    """Returns the optimizer; a momentum of 0 is plain gradient descent."""
    # Momentum adds a "slot" variable for each trainable one. The saver saves slots, too.
    if momentum:
        return tf.train.MomentumOptimizer(learning_rate, momentum)
    return tf.train.GradientDescentOptimizer(learning_rate)


def training(
    loss: tf.Tensor,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    optimizer: tf.train.Optimizer | None = None,
) -> tf.Operation:
    """Adds the op that takes one step.

    Args:
        loss: float32 scalar.
        learning_rate, momentum: the arguments of `gradient_descent`.
        optimizer: the optimizer to use instead of `gradient_descent`.

    Returns:
        train_op: running it changes the variables once and adds 1 to `global_step`.
    """
    if optimizer is None:
        optimizer = gradient_descent(learning_rate, momentum)
    with tf.name_scope("train"):
        # minimize() adds gradients and updates, here only for the head: the graph has no base.
        return optimizer.minimize(loss, global_step=tf.train.get_or_create_global_step())


def evaluation(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds the number of correct predictions, an int32 scalar.

    Args:
        logits: float32 [batch, num_classes].
        labels: int64 [batch].
    """
    with tf.name_scope("evaluation"):
        is_correct = tf.equal(tf.argmax(logits, axis=1), labels)
        correct = tf.reduce_sum(tf.cast(is_correct, tf.int32))
        accuracy = tf.reduce_mean(tf.cast(is_correct, tf.float32))
    tf.summary.scalar("accuracy/train", accuracy)
    return correct
