"""A placeholder and a session on the default graph."""

import tensorflow as tf


def run(values):
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.reduce_sum(tf.square(x), name="y")
    with tf.Session() as session:
        return session.run(y, {x: values})


if __name__ == "__main__":
    print(run([1, 2, 3]))
