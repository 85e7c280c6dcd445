"""Writes a trained net as a SavedModel and as a frozen graph, for other programs.

    python -m cifar10_cnn.export
    python -m cifar10_cnn.export --checkpoint logs/cifar10_best --output_dir my_model

The SavedModel takes `images`, float32 [n, 32, 32, 3] in [0, 255], and gives `classes` and
`probabilities`. The frozen graph has two entrances, `images:0` for such a batch and
`DecodeJpeg/contents:0` for the bytes of one JPEG; and two exits, `bottleneck:0`, the 192 values
before the last layer, and `probabilities:0`.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from cifar10_cnn.trained import TrainedNet
from tutorial_support import drivers


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and exports."""
    return drivers.export(TrainedNet, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
