"""Restores a checkpoint in a graph of its own and evaluates it on one split of the data.

    python -m mnist_mechanics.evaluate
    python -m mnist_mechanics.evaluate --checkpoint logs/mnist_feed/model.ckpt-2000 --split train

Reads checkpoints of both formats, V1 and V2, of any version of TensorFlow, those of the original
tutorial included. Without a flag that names data, it takes the data that the run was trained on.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from mnist_mechanics.trained import TrainedNet
from tutorial_support import drivers


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and evaluates."""
    return drivers.evaluate(TrainedNet, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
