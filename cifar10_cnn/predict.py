"""Classifies pictures with a trained net.

    python -m cifar10_cnn.predict cat.jpg ship.png
    python -m cifar10_cnn.predict --top 3 --checkpoint logs/cifar10_cookbook cat.jpg

A picture may be of any size: its middle square is brought to 32x32 pixels and then prepared as
the test images are.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, restored, train
from cifar10_cnn import flags as training_flags
from tutorial_support import checkpoints, classification, pictures, sessions
from tutorial_support.programs import ArgumentParser, number, program


def prepare(path):
    """Returns the middle square of a picture as uint8 [IMAGE_SIZE, IMAGE_SIZE, 3].

    Raises:
        UsageError: the file is no whole PNG or JPEG.
    """
    square = pictures.middle_square(pictures.read(path), cifar10_input.IMAGE_SIZE)
    return np.asarray(square)


@program
def main(argv=None):
    """Parses the flags and classifies; a bad picture does not keep the others from it."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a PNG or JPEG file")
    parser.add_argument("--top", type=number(int, 1), default=3, help="likeliest classes to print")
    training_flags.add_checkpoint_flag(parser)
    flags = parser.parse_args(argv)

    prefix = checkpoints.find(flags.checkpoint)
    names = restored.class_names(prefix)
    with tf.Graph().as_default():
        size = cifar10_input.IMAGE_SIZE
        images = tf.placeholder(tf.uint8, (None, size, size, 3))
        with tf.variable_scope(cifar10.SCOPE):
            logits = cifar10.inference(train.central_images(images), len(names))
        with tf.Session(config=sessions.config()) as sess:
            restored.restore(sess, prefix)
            for path, image in pictures.prepared(flags.pictures, prepare):
                probabilities = classification.softmax(
                    sess.run(logits, {images: image[np.newaxis]})
                )[0]
                print(path)
                classification.say_likeliest(probabilities, names, flags.top)


if __name__ == "__main__":
    sys.exit(main())
