"""Writes a trained head joined to its base: from the bytes of a JPEG to class probabilities.

    python -m flowers_transfer.export
    python -m flowers_transfer.export --checkpoint logs/flowers --output_dir my_classifier

The folder then holds `frozen_graph.pb`, which takes `DecodeJpeg/contents:0` and gives
`final_result:0`, [1, classes]; `labels.txt`, with a class in each line; and `saved_model/`, for
plain TensorFlow 2:

    model = tf.saved_model.load("my_classifier/saved_model")
    answer = model.signatures["jpeg"](jpeg=tf.constant(open("rose.jpg", "rb").read()))
    answer["classes"], answer["probabilities"]

Its signature `serving_default` takes `images`, float32 [n, size, size, 3], prepared as the base
wants them.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from flowers_transfer.trained import TrainedNet
from tutorial_support import drivers


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and exports."""
    return drivers.export(TrainedNet, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
