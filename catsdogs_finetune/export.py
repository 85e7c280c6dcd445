"""Exports a trained net as a SavedModel and as a frozen graph, for other programs.

    python -m catsdogs_finetune.export
    python -m catsdogs_finetune.export --checkpoint logs/catsdogs/best --output_dir my_classifier

It writes `frozen_graph.pb`, with the inputs `DecodeJpeg/contents:0` for the bytes of one JPEG and
`images:0` for a batch of pictures, and the outputs `bottleneck:0` and `probabilities:0`;
`labels.txt`, one class per line; and `saved_model/`, whose signature `serving_default` takes
`images`, float32 [n, size, size, 3] in [0, 255], and gives `classes` and `probabilities`.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from catsdogs_finetune.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.export(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
