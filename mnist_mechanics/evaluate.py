"""Restores a checkpoint into a new graph and evaluates it on one split of the data.

    python -m mnist_mechanics.evaluate
    python -m mnist_mechanics.evaluate --checkpoint logs/mnist_feed/model.ckpt-2000 --split train

It reads V1 and V2 checkpoints of any TensorFlow version, also those of the original tutorial.
Without a data flag it evaluates on the data that the run was trained on.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from mnist_mechanics.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.evaluate(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
