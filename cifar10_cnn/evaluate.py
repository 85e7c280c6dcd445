"""Restores a checkpoint into a new graph and evaluates it on one split of the images.

    python -m cifar10_cnn.evaluate
    python -m cifar10_cnn.evaluate --checkpoint logs/cifar10/model.ckpt-10000 --split train
    python -m cifar10_cnn.evaluate --eval_interval_secs 60      (while a training is running)

If the checkpoint contains moving averages of the variables, it uses them and says so. Without a
data flag it evaluates on the data that the run was trained on.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from cifar10_cnn.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.evaluate(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
