"""Initial values that the graph's seed alone decides.

An op without a seed of its own takes one from the number of ops before it, so that any change of
the graph above changes the values.
"""

import tensorflow.compat.v1 as tf


def initial_values(dropout_first):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        if dropout_first:
            tf.nn.dropout(tf.ones([3]), rate=0.5)
        w = tf.get_variable("w", [3], initializer=tf.random_normal_initializer())
        session.run(tf.global_variables_initializer())
        return session.run(w)
