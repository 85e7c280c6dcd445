"""Restores a trained head in a new graph and evaluates it on one split of the images.

    python -m flowers_transfer.evaluate
    python -m flowers_transfer.evaluate --checkpoint logs/flowers/model.ckpt-1000 --split validation
    python -m flowers_transfer.evaluate --image_dir other_photos

By default it uses the images that the head was trained on, split in the same way. Bottlenecks are
read from the store.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from flowers_transfer.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.evaluate(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
