"""Writes a trained net as a SavedModel and as a frozen graph, with what is known of its training.

    python -m cifar10_cnn.export
    python -m cifar10_cnn.export --checkpoint logs/cifar10 --export_dir my_model

The folder then holds `saved_model/`, whose signature takes `images`, float32 [n, 32, 32, 3] in
[0, 255], and gives `classes` and `probabilities`; `frozen_graph.pb`; and `origin.json`.

The frozen graph has two entrances, `DecodeJpeg/contents:0` for the bytes of one JPEG and
`images:0` for a batch of pictures; and two exits, `bottleneck:0`, the 192 values before the last
layer, and `probabilities:0`.
"""

import json
import pathlib
import sys

import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, restored, train
from cifar10_cnn import flags as training_flags
from tutorial_support import checkpoints, events, exporting, files, runs, sessions
from tutorial_support.programs import ArgumentParser, program


def decoded_jpeg():
    """Adds the way from a JPEG's bytes to the net's picture.

    Returns:
        float32 [1, 32, 32, 3] in [0, 255].
    """
    contents = tf.placeholder(tf.string, (), "DecodeJpeg/contents")
    picture = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
    size = [cifar10_input.IMAGE_SIZE, cifar10_input.IMAGE_SIZE]
    return tf.image.resize_bilinear(tf.cast(picture, tf.float32)[None], size)


def origin(prefix):
    """Returns a dict of what is known of a checkpoint: step, flags, last test accuracy."""
    folder = pathlib.Path(prefix).parent
    step = checkpoints.stored_step(prefix)
    flags = {
        name: value
        for name, value in runs.read_flags(folder).items()
        if name not in ("data_dir", "train_dir", "class_names")
    }
    steps, values = ([], [])
    if any(folder.glob("*tfevents*")):
        steps, values = events.scalars(folder).get("test_accuracy", ([], []))
    accuracy = dict(zip(steps, values, strict=True)).get(step)
    return {
        "checkpoint": pathlib.Path(prefix).name,
        "global_step": step,
        "test_accuracy": None if accuracy is None else round(accuracy, 6),
        "tensorflow": tf.__version__,
        "flags": flags,
    }


@program
def main(argv=None):
    """Parses the flags and exports."""
    parser = ArgumentParser(__doc__)
    training_flags.add_checkpoint_flag(parser)
    exporting.add_flag(parser)
    flags = parser.parse_args(argv)

    prefix = checkpoints.find(flags.checkpoint)
    names = restored.class_names(prefix)
    folder = exporting.folder(flags.export_dir, prefix)

    with tf.Graph().as_default(), tf.Session(config=sessions.config()) as sess:
        size = cifar10_input.IMAGE_SIZE
        images = tf.placeholder_with_default(decoded_jpeg(), (None, size, size, 3), "images")
        with tf.variable_scope(cifar10.SCOPE):
            logits = cifar10.inference(train.central_images(images), len(names))
        last_hidden = sess.graph.get_tensor_by_name(f"{cifar10.SCOPE}/full2/Relu:0")
        bottleneck = tf.identity(last_hidden, "bottleneck")
        probabilities = tf.nn.softmax(logits, name="probabilities")
        restored.restore(sess, prefix)
        exporting.frozen_graph(sess, folder / "frozen_graph.pb", [bottleneck, probabilities])
        outputs = {"classes": tf.argmax(logits, axis=1), "probabilities": probabilities}
        exporting.saved_model(sess, folder / "saved_model", {"images": images}, outputs)

    facts = origin(prefix) | {"class_names": names}
    files.write_text(folder / "origin.json", json.dumps(facts, indent=2) + "\n")
    print(f"Exported '{prefix}' to '{folder}'.")


if __name__ == "__main__":
    sys.exit(main())
