"""Classifies pictures with a trained net.

    python -m cifar10_cnn.predict cat.jpg ship.png
    python -m cifar10_cnn.predict --top 5 --checkpoint logs/cifar10_best cat.jpg

A picture may have any size: its middle square is resized to 32x32 pixels and then preprocessed
like the test images.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from cifar10_cnn.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.predict(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
