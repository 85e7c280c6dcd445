"""Classifies pictures with a trained net, prepared exactly as in its training.

python -m catsdogs_finetune.predict cat.jpg dog.png
python -m catsdogs_finetune.predict --checkpoint logs/catsdogs/best holiday/*.jpg
"""

import sys

import tensorflow.compat.v1 as tf

from catsdogs_finetune import flags as training_flags
from catsdogs_finetune import photo_input, restored
from tutorial_support import classification, pictures, sessions
from tutorial_support.programs import ArgumentParser, number, program


@program
def main(argv=None):
    """Parses the flags and classifies; a bad picture does not keep the others from it."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a PNG or JPEG file")
    parser.add_argument("--top", type=number(int, 1), default=3, help="likeliest classes to print")
    training_flags.add_checkpoint_flag(parser)
    flags = parser.parse_args(argv)

    trained = restored.find(flags.checkpoint)
    with tf.Graph().as_default(), tf.Session(config=sessions.config()) as sess:
        contents = tf.placeholder(tf.string, ())
        image = photo_input.scale(photo_input.decode(contents, trained.image_size))
        _, logits = trained.inference(image[None])
        classified = tf.nn.softmax(logits)[0]
        trained.restore(sess)

        def probabilities_of(path):
            return photo_input.run_on_picture(sess, classified, contents, path)

        for path, probabilities in pictures.prepared(flags.pictures, probabilities_of):
            print(path)
            classification.say_likeliest(probabilities, trained.class_names, flags.top)


if __name__ == "__main__":
    sys.exit(main())
