"""A session with options, and a Python loop around it."""

import tensorflow as tf


def sum_of_squares(n):
    config = tf.ConfigProto(gpu_options=tf.GPUOptions(allow_growth=True))
    i = tf.placeholder(tf.float32, [])
    square = i * i
    with tf.Session(config=config) as session:
        return sum(session.run(square, {i: k}) for k in range(n))
