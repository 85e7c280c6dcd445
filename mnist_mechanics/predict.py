"""Classifies pictures of digits with a trained net.

    python -m mnist_mechanics.predict digit.png photo.jpg
    python -m mnist_mechanics.predict --show --checkpoint logs/mnist_dataset digit.png

A picture should show one digit. It may have any size and be dark on light or light on dark.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from mnist_mechanics.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.predict(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
