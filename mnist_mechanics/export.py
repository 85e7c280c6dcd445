"""Writes a trained net as a SavedModel, for TensorFlow 2, TensorFlow Serving and others.

    python -m mnist_mechanics.export
    python -m mnist_mechanics.export --checkpoint logs/mnist_feed --export_dir my_model

In plain TensorFlow 2:

    model = tf.saved_model.load("my_model")
    answer = model.signatures["serving_default"](images=tf.constant(pixels))
    answer["classes"], answer["probabilities"]

where `pixels` is float32 [n, 784] in [0, 1].
"""

import pathlib
import sys

import tensorflow.compat.v1 as tf

from mnist_mechanics import flags as training_flags
from mnist_mechanics import restored
from tutorial_support import exporting
from tutorial_support.programs import ArgumentParser, program


@program
def main(argv=None):
    """Parses the flags and exports."""
    parser = ArgumentParser(__doc__)
    training_flags.add_checkpoint_flag(parser)
    parser.add_argument(
        "--export_dir", help="the model's folder; by default saved_model beside the checkpoint"
    )
    flags = parser.parse_args(argv)

    with restored.net(flags.checkpoint) as net:
        outputs = {
            "classes": tf.argmax(net.logits, axis=1),
            "probabilities": tf.nn.softmax(net.logits),
        }
        folder = flags.export_dir or pathlib.Path(net.checkpoint).parent / "saved_model"
        exporting.saved_model(net.sess, folder, {"images": net.images}, outputs)
        print(f"Exported '{net.checkpoint}', step {net.step}, to '{folder}'.")


if __name__ == "__main__":
    sys.exit(main())
