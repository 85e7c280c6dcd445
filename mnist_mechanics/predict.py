"""Classifies pictures of digits with a trained net.

    python -m mnist_mechanics.predict digit.png photo.jpg
    python -m mnist_mechanics.predict --show --checkpoint logs/mnist_dataset digit.png

A picture may be of any size, dark on light or light on dark, and should show one digit.
"""

import sys

import numpy as np

from mnist_mechanics import flags as training_flags
from mnist_mechanics import mnist, pictures, reports, restored
from tutorial_support import classification
from tutorial_support.pictures import prepared
from tutorial_support.programs import ArgumentParser, program


def say_prediction(path, probabilities):
    """Prints the likeliest digit of a picture, and the probability of each digit."""
    best = int(np.argmax(probabilities))
    print(f"{path}: {best} ({probabilities[best]:.1%})")
    pairs = zip(reports.CLASS_NAMES, probabilities, strict=True)
    print("  " + "  ".join(f"{name}: {probability:.4f}" for name, probability in pairs))


def show(image):
    """Prints what the net is given, float32 [IMAGE_PIXELS] in [0, 1], as characters."""
    shades = np.array(list(" .:-=+*#%@"))
    for row in image.reshape(mnist.IMAGE_SIZE, mnist.IMAGE_SIZE):
        print("  " + "".join(shades[np.int32(np.rint(row * (len(shades) - 1)))]))


@program
def main(argv=None):
    """Parses the flags and classifies; a bad picture does not keep the others from it."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a PNG or JPEG file")
    parser.add_argument("--show", action="store_true", help="also print the picture as prepared")
    training_flags.add_checkpoint_flag(parser)
    flags = parser.parse_args(argv)

    with restored.net(flags.checkpoint) as net:
        for path, image in prepared(flags.pictures, pictures.prepare):
            logits = net.sess.run(net.logits, {net.images: image[np.newaxis]})
            say_prediction(path, classification.softmax(logits)[0])
            if flags.show:
                show(image)


if __name__ == "__main__":
    sys.exit(main())
