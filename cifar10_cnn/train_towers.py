"""Trains the CIFAR-10 net on several devices of one machine: GPUs, or processors' parts.

    python -m cifar10_cnn.train_towers --num_towers 2

Each tower is the net on a device of its own, with its part of the batch. All share their variables.
What is minimized is the mean of the towers' losses: its gradient is the mean of their gradients. So
a checkpoint goes on with any number of towers, and in cifar10_cnn.train.
"""

import functools
import sys

import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import flags as training_flags
from cifar10_cnn import train
from tutorial_support import sessions
from tutorial_support.programs import UsageError, number, program

_VARIABLES_ON = "/device:CPU:0"


def devices(num_towers):
    """Returns the names of the towers' devices: the GPUs in turn, or as many logical CPUs."""
    gpus = len(tf2.config.list_physical_devices("GPU"))
    if gpus:
        return [f"/device:GPU:{tower % gpus}" for tower in range(num_towers)]
    return [f"/device:CPU:{tower}" for tower in range(num_towers)]


def session_config(num_towers):
    """Returns the ConfigProto of a session with a logical CPU for each tower."""
    config = sessions.config()
    config.device_count["CPU"] = num_towers
    return config


def mean_losses(num_towers, images, targets, *arguments):
    """Adds a tower for each part of the batch; arguments and result as of `train.losses`."""
    parts = zip(tf.split(images, num_towers), tf.split(targets, num_towers), strict=True)
    found = []
    for device, part in zip(devices(num_towers), parts, strict=True):

        def place(op, device=device):
            return _VARIABLES_ON if op.type == "VarHandleOp" else device

        with tf.device(place):
            found.append(train.losses(*part, *arguments))
    return tuple(tf.add_n(values) / num_towers for values in zip(*found, strict=True))


def add_flags(parser):
    """Adds this program's own flag."""
    parser.add_argument("--num_towers", type=number(int, 1), default=2, help="parts of a batch")


@program
def main(argv=None):
    """Parses the flags and trains."""
    flags = training_flags.parse(__doc__, argv, add_flags)
    if flags.batch_size % flags.num_towers:
        raise UsageError(
            f"--batch_size {flags.batch_size} does not divide over --num_towers "
            f"{flags.num_towers}; give a multiple of it"
        )
    add_losses = functools.partial(mean_losses, flags.num_towers)
    return train.run_training(flags, add_losses, session_config(flags.num_towers))


if __name__ == "__main__":
    sys.exit(main())
