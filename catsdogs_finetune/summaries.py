"""What the training program writes to its event file, and says of an epoch."""

import tensorflow.compat.v1 as tf

from tutorial_support import events


def of_variables(variables):
    """Adds histograms of variables, merged into one summary."""
    return tf.summary.merge([tf.summary.histogram(f"values/{v.op.name}", v) for v in variables])


def means(totals):
    """Returns (mean loss, accuracy), two floats.

    Args:
        totals: iterable of float [3]: the loss, the correct predictions and the images of a batch,
            each summed over it.
    """
    loss, correct, count = sum(values.astype(float) for values in totals)
    return loss / count, correct / count


def described(what, mean_loss, accuracy):
    """Returns a phrase on loss and accuracy; `what` stands before it."""
    return f"{what}loss {mean_loss:.4f}, accuracy {accuracy:.4f}"


def write_epoch(writer, split, mean_loss, accuracy, step):
    """Writes an epoch's loss and accuracy on a split, two numbers, to the event file."""
    events.write_scalar(writer, f"loss/{split}", mean_loss, step)
    events.write_scalar(writer, f"accuracy/{split}", accuracy, step)
