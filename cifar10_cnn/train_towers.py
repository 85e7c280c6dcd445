"""Trains the CIFAR-10 net on several devices of one machine: GPUs or logical CPUs.

    python -m cifar10_cnn.train_towers --num_towers 2

Each tower is a copy of the net on its own device and processes its part of the batch. All towers
share their variables. The mean of their losses is minimized, so its gradient is the mean of the
towers' gradients. A run can therefore resume with any number of towers, also in cifar10_cnn.train.
With the cookbook's recipe, the steps are the same except for rounding. With the best recipe they
differ, because each tower has its own dropout masks.
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
    """Returns a device name per tower: the GPUs in turn, or else as many logical CPUs."""
    gpus = len(tf2.config.list_physical_devices("GPU"))
    if gpus:
        return [f"/device:GPU:{tower % gpus}" for tower in range(num_towers)]
    return [f"/device:CPU:{tower}" for tower in range(num_towers)]


def session_config(num_towers: int) -> tf.ConfigProto:
    """Returns a session configuration with one logical CPU per tower."""
    config = runs.session_config()
    # TensorFlow usually has one CPU device for all cores. More devices let towers run in parallel.
    config.device_count["CPU"] = num_towers
    return config


def mean_losses(
    num_towers: int, images: tf.Tensor, targets: tf.Tensor, *arguments: Any
) -> tuple[tf.Tensor, tf.Tensor, cifar10.Net]:
    """Adds one tower per part of the batch; arguments and result are those of `train.losses`."""
    parts = zip(tf.split(images, num_towers), tf.split(targets, num_towers), strict=True)
    towers = []
    for number_of_tower, (device, part) in enumerate(zip(devices(num_towers), parts, strict=True)):
        # A device function decides for each new op where it runs. Variables go to one device, so
        # that all towers read and update the same ones.
        def place(op: tf.Operation, device: str = device) -> str:
            return _VARIABLES_ON if op.type in ("VarHandleOp", "VariableV2") else device

        # The first tower creates the variables; the others reuse them (reuse=tf.AUTO_REUSE).
        with tf.device(place), tf.name_scope(f"tower_{number_of_tower}"):
            towers.append(train.losses(*part, *arguments))
    losses, objectives, nets = zip(*towers, strict=True)
    # tf.add_n adds all tensors of a list in one op. The gradients flow back to each tower's device.
    return tf.add_n(losses) / num_towers, tf.add_n(objectives) / num_towers, nets[0]


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    train.add_flags(parser)
    towers = parser.add_argument_group("towers")
    towers.add_argument(
        "--num_towers",
        type=number(int, 1),
        default=2,
        help="Number of towers; each takes an equal part of the batch.",
    )
    flags = parser.parse_args(argv)
    if flags.batch_size % flags.num_towers:
        raise UsageError(
            f"--batch_size {flags.batch_size} is not a multiple of --num_towers "
            f"{flags.num_towers}; change one of them"
        )
    # The rest of the training is the single net's; only the function that adds the losses differs.
    add_losses = functools.partial(mean_losses, flags.num_towers)
    return train.run_training(flags, add_losses, session_config(flags.num_towers))


if __name__ == "__main__":
    sys.exit(main())
