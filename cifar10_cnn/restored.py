"""Restoring a trained net for evaluation, prediction and export."""

import pathlib

import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10
from tutorial_support import checkpoints, progress, runs
from tutorial_support.programs import UsageError

_AVERAGE = "/ExponentialMovingAverage"  # what tf.train.ExponentialMovingAverage appends to a name


def class_names(prefix):
    """Returns the class names of the net in the checkpoint `prefix`, as a list of strings.

    They stand in the flags of its run; a checkpoint without them gets numbers.

    Raises:
        UsageError: the checkpoint is not of this net.
    """
    shape = checkpoints.shapes(prefix).get(f"{cifar10.SCOPE}/full3/full_bias3")
    if shape is None or len(shape) != 1:
        raise UsageError(
            f"the checkpoint '{prefix}' has no variable {cifar10.SCOPE}/full3/full_bias3 with a "
            "value a class; name a checkpoint of the CIFAR-10 net"
        )
    names = runs.read_flags(pathlib.Path(prefix).parent).get("class_names", [])
    return names if len(names) == shape[0] else [str(number) for number in range(shape[0])]


def restore(sess, prefix):
    """Restores the net in the default graph, with the moving averages where there are any.

    Says in a line which of the two it takes.

    Args:
        sess: the session that receives the values.
        prefix: from `checkpoints.find`.

    Raises:
        UsageError: the checkpoint does not fit.
    """
    variables = {variable.op.name: variable for variable in tf.trainable_variables()}
    saved = checkpoints.shapes(prefix)
    averages = {name + _AVERAGE: variable for name, variable in variables.items()}
    if averages.keys() <= saved.keys():
        progress.say(f"Restoring the moving averages of the variables from '{prefix}'.")
        variables = averages
    else:
        progress.say(f"'{prefix}' holds no moving averages; restoring the variables themselves.")
    checkpoints.restore(tf.train.Saver(variables), sess, prefix, variables)
