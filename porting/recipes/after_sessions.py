"""A placeholder and a session in a graph that a `with` block makes the default."""

import tensorflow.compat.v1 as tf


def run(values):
    # Inside the block TensorFlow builds a graph; outside it computes at once.
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None], name="x")
        y = tf.reduce_sum(tf.square(x), name="y")
        with tf.Session() as session:  # a session takes the default graph
            return session.run(y, {x: values})


if __name__ == "__main__":
    print(run([1, 2, 3]))
