"""Trains the CIFAR-10 net on several devices of one machine: GPUs, or processors' parts.

    python -m cifar10_cnn.train_towers --num_towers 2

Each tower is the net on a device of its own, with its part of the batch. All share their variables.
What is minimized is the mean of the towers' losses: its gradient is the mean of their gradients. So
a checkpoint goes on with any number of towers, and in cifar10_cnn.train. With the cookbook's
recipe, the steps are the same but for rounding. With the best one, each tower drops features of its
own part, and so other ones than a single net would.
"""

import functools
import sys
from typing import Any

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, train
from tutorial_support import runs
from tutorial_support.programs import UsageError, number

_VARIABLES_ON = "/device:CPU:0"


def devices(num_towers: int) -> list[str]:
    """Returns the names of the towers' devices: the GPUs in turn, or as many logical CPUs."""
    gpus = len(tf2.config.list_physical_devices("GPU"))
    if gpus:
        return [f"/device:GPU:{tower % gpus}" for tower in range(num_towers)]
    return [f"/device:CPU:{tower}" for tower in range(num_towers)]


def session_config(num_towers: int) -> tf.ConfigProto:
    """Returns the configuration of a session with a logical CPU for each tower."""
    config = runs.session_config()
    config.device_count["CPU"] = num_towers
    return config


def mean_losses(
    num_towers: int, images: tf.Tensor, targets: tf.Tensor, *arguments: Any
) -> tuple[tf.Tensor, tf.Tensor, cifar10.Net]:
    """Adds a tower for each part of the batch; arguments and result as of `train.losses`."""
    parts = zip(tf.split(images, num_towers), tf.split(targets, num_towers), strict=True)
    towers = []
    for number_of_tower, (device, part) in enumerate(zip(devices(num_towers), parts, strict=True)):

        def place(op: tf.Operation, device: str = device) -> str:
            return _VARIABLES_ON if op.type in ("VarHandleOp", "VariableV2") else device

        with tf.device(place), tf.name_scope(f"tower_{number_of_tower}"):
            towers.append(train.losses(*part, *arguments))
    losses, objectives, nets = zip(*towers, strict=True)
    return tf.add_n(losses) / num_towers, tf.add_n(objectives) / num_towers, nets[0]


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    train.add_flags(parser)
    parser.add_argument("--num_towers", type=number(int, 1), default=2, help="Parts of a batch.")
    flags = parser.parse_args(argv)
    if flags.batch_size % flags.num_towers:
        raise UsageError(
            f"--batch_size {flags.batch_size} does not divide over --num_towers "
            f"{flags.num_towers}; give a multiple of it"
        )
    add_losses = functools.partial(mean_losses, flags.num_towers)
    return train.run_training(flags, add_losses, session_config(flags.num_towers))


if __name__ == "__main__":
    sys.exit(main())
