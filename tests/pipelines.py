"""Runs a tf.data pipeline."""

import tensorflow.compat.v1 as tf


def elements(make, count=None):
    """Returns a list of at most `count` elements of the dataset that `make` builds."""
    found = []
    with tf.Graph().as_default():
        element = tf.data.make_one_shot_iterator(make()).get_next()
        with tf.Session() as sess:
            while count is None or len(found) < count:
                try:
                    found.append(sess.run(element))
                except tf.errors.OutOfRangeError:
                    break
    return found
