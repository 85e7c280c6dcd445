"""Exports a trained head joined to its base: JPEG bytes in, class probabilities out.

    python -m flowers_transfer.export
    python -m flowers_transfer.export --checkpoint logs/flowers --output_dir my_classifier

It writes `frozen_graph.pb`, which takes the bytes at `DecodeJpeg/contents:0` and gives
`final_result:0`, float32 [1, classes]; `labels.txt`, one class per line; and `saved_model/`, for
plain TensorFlow 2:

    model = tf.saved_model.load("my_classifier/saved_model")
    answer = model.signatures["jpeg"](jpeg=tf.constant(open("rose.jpg", "rb").read()))
    answer["classes"], answer["probabilities"]

Its signature `serving_default` takes `images`, float32 [n, size, size, 3], prepared for the base.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from flowers_transfer.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.export(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
