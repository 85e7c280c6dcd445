"""Restores a trained net in a new graph and evaluates it on one split of the images.

    python -m catsdogs_finetune.evaluate
    python -m catsdogs_finetune.evaluate --checkpoint logs/catsdogs/best --split validation
    python -m catsdogs_finetune.evaluate --data_dir other_photos

By default it uses the images that the run was trained on.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from catsdogs_finetune.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.evaluate(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
