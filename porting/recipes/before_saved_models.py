"""Writes a SavedModel, and runs one."""

import tensorflow as tf


def save(folder):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    w = tf.get_variable("w", [2, 1], initializer=tf.ones_initializer())
    y = tf.matmul(x, w, name="y")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(session, folder, inputs={"x": x}, outputs={"y": y})


def load(folder, values):
    with tf.Session() as session:
        tf.saved_model.loader.load(session, ["serve"], folder)
        return session.run("y:0", {"x:0": values})
