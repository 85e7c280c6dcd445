"""The options work in compat.v1; a loop inside the graph is one call of `run`."""

import tensorflow.compat.v1 as tf


def sum_of_squares(n):
    config = tf.ConfigProto(gpu_options=tf.GPUOptions(allow_growth=True))
    with tf.Graph().as_default():
        _, total = tf.while_loop(
            lambda i, total: i < n,
            lambda i, total: (i + 1, total + tf.square(tf.cast(i, tf.float32))),
            [tf.constant(0), tf.constant(0.0)],
        )
        with tf.Session(config=config) as session:
            return session.run(total)
