"""Writes a trained head joined to its base: from the bytes of a JPEG to class probabilities.

    python -m flowers_transfer.export
    python -m flowers_transfer.export --checkpoint logs/flowers --export_dir my_classifier

The folder then holds `frozen_graph.pb`, which takes `DecodeJpeg/contents:0` and gives
`final_result:0`, [1, classes]; `labels.txt`, a class a line; and `saved_model/`, whose signature
takes `jpeg`, a string, and gives `probabilities` and `bottleneck`.
"""

import sys

import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, head, restored
from flowers_transfer import flags as training_flags
from tutorial_support import exporting, sessions
from tutorial_support.programs import ArgumentParser, program


@program
def main(argv=None):
    """Parses the flags and exports."""
    parser = ArgumentParser(__doc__)
    training_flags.add_checkpoint_flag(parser)
    exporting.add_flag(parser)
    flags = parser.parse_args(argv)

    trained = restored.find(flags.checkpoint)
    folder = exporting.folder(flags.export_dir, trained.prefix)
    with tf.Graph().as_default(), tf.Session(config=sessions.config()) as sess:
        tensors = base_graph.attach(trained.load_base(), trained.base)
        logits = head.inference(tensors.bottlenecks, len(trained.class_names))
        probabilities = tf.nn.softmax(logits, name=head.FINAL_TENSOR)
        trained.restore(sess)
        exporting.frozen_graph(sess, folder / "frozen_graph.pb", [probabilities])
        exporting.saved_model(
            sess,
            folder / "saved_model",
            {"jpeg": tensors.contents},
            {"probabilities": probabilities, "bottleneck": tensors.bottlenecks},
        )
    exporting.labels(folder / "labels.txt", trained.class_names)
    print(f"Exported '{trained.prefix}' to '{folder}'.")


if __name__ == "__main__":
    sys.exit(main())
