"""Writes a SavedModel from a graph, and runs one in a session and without one."""

import tensorflow as tf2
import tensorflow.compat.v1 as tf


def save(folder):
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        w = tf.get_variable("w", [2, 1], initializer=tf.ones_initializer())
        y = tf.matmul(x, w, name="y")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            tf.saved_model.simple_save(session, folder, inputs={"x": x}, outputs={"y": y})


def load(folder, values):
    """Runs a signature in a session, whichever version of TensorFlow wrote it."""
    with tf.Graph().as_default(), tf.Session() as session:
        meta_graph = tf.saved_model.load(session, ["serve"], folder)
        signature = meta_graph.signature_def["serving_default"]
        (x,), (y,) = signature.inputs.values(), signature.outputs.values()
        return session.run(y.name, {x.name: values})


def load_without_session(folder, values):
    """Runs the signature in TensorFlow 2's way; results have the names in `outputs`."""
    function = tf2.saved_model.load(folder).signatures["serving_default"]
    return function(x=tf2.constant(values, tf2.float32))["y"].numpy()
