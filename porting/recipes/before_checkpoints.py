"""Restores a checkpoint into a graph whose variables have other names."""

import tensorflow.compat.v1 as tf


def restore(checkpoint):
    with tf.Graph().as_default():
        kernel = tf.get_variable("dense/kernel", [3, 2])
        bias = tf.get_variable("dense/bias", [2])
        with tf.Session() as session:
            tf.train.Saver().restore(session, checkpoint)
            return session.run([kernel, bias])
