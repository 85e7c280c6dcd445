"""Flags and a main function as tf.app has them."""

import tensorflow as tf

FLAGS = tf.app.flags.FLAGS
tf.app.flags.DEFINE_float("learning_rate", 0.1, "The learning rate.")
tf.app.flags.DEFINE_string("summary_dir", "logs", "The folder to write to.")


def main(argv):
    print(FLAGS.summary_dir, FLAGS.learning_rate)


if __name__ == "__main__":
    tf.app.run()
