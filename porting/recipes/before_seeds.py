"""Initial values that depend only on the graph's seed.

A random op without its own seed derives one from the number of such ops before it, so an additional
one changes the values.
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
