"""Writes a trained net as a SavedModel and as a frozen graph.

    python -m catsdogs_finetune.export
    python -m catsdogs_finetune.export --checkpoint logs/catsdogs/best --export_dir my_classifier

The folder then holds `frozen_graph.pb`, with two entrances, `DecodeJpeg/contents:0` for the bytes
of one JPEG and `images:0` for a batch of pictures, and two exits, `bottleneck:0` and
`probabilities:0`; `labels.txt`, a class a line; and `saved_model/`, whose signature takes `images`,
float32 [n, size, size, 3] in [0, 255], and gives `classes` and `probabilities`.
"""

import sys

import tensorflow.compat.v1 as tf

from catsdogs_finetune import flags as training_flags
from catsdogs_finetune import photo_input, restored
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
        size = trained.image_size
        contents = tf.placeholder(tf.string, (), "DecodeJpeg/contents")
        images = tf.placeholder_with_default(
            photo_input.decode(contents, size)[None], (None, size, size, 3), "images"
        )
        bottlenecks, logits = trained.inference(photo_input.scale(images))
        bottleneck = tf.identity(bottlenecks, "bottleneck")
        probabilities = tf.nn.softmax(logits, name="probabilities")
        trained.restore(sess)
        exporting.frozen_graph(sess, folder / "frozen_graph.pb", [bottleneck, probabilities])
        outputs = {"classes": tf.argmax(logits, axis=1), "probabilities": probabilities}
        exporting.saved_model(sess, folder / "saved_model", {"images": images}, outputs)
    exporting.labels(folder / "labels.txt", trained.class_names)
    print(f"Exported '{trained.prefix}' to '{folder}'.")


if __name__ == "__main__":
    sys.exit(main())
