"""Labels pictures with a trained head, preparing them exactly as the training did.

    python -m flowers_transfer.label_image rose.jpg holiday_photos/
    python -m flowers_transfer.label_image --json --top 1 holiday_photos/ > labels.json

A folder stands for all pictures in it and in its subfolders.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from flowers_transfer.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.predict(TrainedNet, __doc__, argv, top=5))

if __name__ == "__main__":
    sys.exit(main())
