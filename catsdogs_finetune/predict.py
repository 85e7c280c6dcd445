"""Classifies pictures with a trained net, preparing them exactly as the training did.

    python -m catsdogs_finetune.predict cat.jpg dog.png
    python -m catsdogs_finetune.predict --checkpoint logs/catsdogs/best holiday_photos

A folder stands for all pictures in it and in its subfolders.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from catsdogs_finetune.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.predict(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
