"""Names and argument orders from before TensorFlow 1.0, and a dimension's `value`."""

import tensorflow.compat.v1 as tf


def multiply(a, b):
    return tf.mul(a, b)


def join(a, b):
    return tf.concat(1, [a, b])


def width(x):
    return x.get_shape()[1].value


def cross_entropy(logits, labels):
    return tf.nn.softmax_cross_entropy_with_logits(logits, labels)
