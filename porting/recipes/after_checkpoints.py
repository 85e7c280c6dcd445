"""Restores it by the names in the checkpoint, and loads it into a Keras model."""

import tensorflow.compat.v1 as tf


def restore(checkpoint):
    with tf.Graph().as_default():
        kernel = tf.get_variable("dense/kernel", [3, 2])
        bias = tf.get_variable("dense/bias", [2])
        # {name in the checkpoint: variable}; a list stands for the variables' own names.
        saver = tf.train.Saver({"hidden/weights": kernel, "hidden/biases": bias})
        with tf.Session() as session:
            saver.restore(session, checkpoint)
            return session.run([kernel, bias])


def into_keras(checkpoint, layer):
    """Loads the values into a Keras layer; reading a checkpoint needs no graph or session."""
    reader = tf.train.load_checkpoint(checkpoint)
    layer.set_weights([reader.get_tensor("hidden/weights"), reader.get_tensor("hidden/biases")])
