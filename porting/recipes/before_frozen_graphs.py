"""Freezes a graph, and runs a frozen one."""

import tensorflow as tf
from tensorflow.python.framework import graph_util


def freeze(session, output_name):
    graph_def = session.graph.as_graph_def()
    return graph_util.convert_variables_to_constants(session, graph_def, [output_name])


def run(pb_file, x):
    graph_def = tf.GraphDef()
    with tf.gfile.FastGFile(pb_file, "rb") as file:
        graph_def.ParseFromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.Session(graph=graph) as session:
            return session.run("y:0", {"x:0": x})
