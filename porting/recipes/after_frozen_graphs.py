"""The same, and a frozen graph as a function of TensorFlow 2."""

import pathlib

import tensorflow as tf2
import tensorflow.compat.v1 as tf


def freeze(session, output_name):
    graph_def = session.graph.as_graph_def()
    return tf.graph_util.convert_variables_to_constants(session, graph_def, [output_name])


def _read(pb_file):
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(pathlib.Path(pb_file).read_bytes())
    return graph_def


def run(pb_file, x):
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(_read(pb_file), name="")
        with tf.Session(graph=graph) as session:
            return session.run("y:0", {"x:0": x})


def as_function(pb_file):
    """Returns a function from a tensor to a tensor, to be called without a session."""

    def import_graph():
        tf.import_graph_def(_read(pb_file), name="")

    imported = tf.wrap_function(import_graph, [])
    graph = imported.graph
    function = imported.prune(graph.get_tensor_by_name("x:0"), graph.get_tensor_by_name("y:0"))
    return lambda x: function(tf2.constant(x, tf2.float32))
