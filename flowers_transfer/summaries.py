"""What the training program writes to its event file."""

import tensorflow.compat.v1 as tf

from flowers_transfer import head
from tutorial_support import events


def of_training(loss, logits, correct):
    """Adds the summary of a training batch.

    Args:
        loss: float32 scalar.
        logits: float32 [batch, classes].
        correct: int32 scalar, how many of the batch are predicted right.

    Returns:
        string scalar: loss and accuracy, histograms of the head's variables and of the logits.
    """
    accuracy = tf.cast(correct, tf.float32) / tf.cast(tf.shape(logits)[0], tf.float32)
    merged = [
        tf.summary.scalar("cross_entropy/training", loss),
        tf.summary.scalar("accuracy/training", accuracy),
        tf.summary.histogram("logits", logits),
    ]
    for variable in tf.trainable_variables(head.SCOPE):
        merged.append(tf.summary.histogram(variable.op.name.rpartition("/")[2], variable))
    return tf.summary.merge(merged)


def write_validation(writer, loss_value, accuracy, step):
    """Writes what a validation found, two numbers, to the event file."""
    events.write_scalar(writer, "cross_entropy/validation", loss_value, step)
    events.write_scalar(writer, "accuracy/validation", accuracy, step)
