"""Exports a trained net as a SavedModel and as a frozen graph, for use in other programs.

    python -m cifar10_cnn.export
    python -m cifar10_cnn.export --checkpoint logs/cifar10_best --output_dir my_model

The SavedModel takes `images`, float32 [n, 32, 32, 3] in [0, 255], and returns `classes` and
`probabilities`. The frozen graph has two inputs: `images:0` takes such a batch, and
`DecodeJpeg/contents:0` takes the bytes of one JPEG. It has two outputs: `bottleneck:0`, the 192
values before the last layer, and `probabilities:0`.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from cifar10_cnn.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.export(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
