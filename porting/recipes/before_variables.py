"""Shared variables, and a custom getter that replaces them with their moving averages."""

import tensorflow as tf


def layer(x):
    w = tf.get_variable("w", [2, 1], initializer=tf.ones_initializer())
    return tf.matmul(x, w)


def run(x):
    average = tf.train.ExponentialMovingAverage(0.5)

    def averaged(getter, name, *arguments, **named):
        return average.average(getter(name, *arguments, **named))

    with tf.variable_scope("net"):
        y = layer(x)
    train = tf.assign(tf.trainable_variables()[0], [[3.0], [3.0]])
    with tf.control_dependencies([train]):
        update = average.apply(tf.trainable_variables())
    with tf.variable_scope("net", reuse=True, custom_getter=averaged):
        y_of_averages = layer(x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update)
        return session.run([y, y_of_averages])
