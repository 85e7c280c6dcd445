"""The same with today's names, and with arguments that are named where their order changed."""

import tensorflow.compat.v1 as tf


def multiply(a, b):
    return tf.multiply(a, b)


def join(a, b):
    return tf.concat([a, b], axis=1)


def width(x):
    return x.shape[1]


def cross_entropy(logits, labels):
    return tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
