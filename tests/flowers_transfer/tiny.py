"""A tiny base graph."""

import dataclasses
import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph

SIZE = 12  # pixels
VALUES = 16  # in a bottleneck
BASE = dataclasses.replace(base_graph.INCEPTION_2015, size=SIZE)


def graph_def(jpeg_input=True, more=None):
    """A GraphDef with the 2015 tensor names: one convolution of fixed random weights."""
    random = np.random.default_rng(1)
    with tf.Graph().as_default() as graph:
        if jpeg_input:
            _, _, images = base_graph.preparation(SIZE, BASE.mean, BASE.scale)
        else:
            images = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], "Mul")
        kernel = tf.constant(random.normal(0, 0.3, [3, 3, 3, VALUES]).astype(np.float32))
        features = tf.nn.relu(tf.nn.conv2d(images, kernel, strides=2, padding="VALID"))
        pooled = tf.reduce_mean(features, axis=[1, 2], keepdims=True, name="pool_3")
        tf.reshape(pooled, [-1, VALUES], name="pool_3/_reshape")
        if more:
            more()
    return graph.as_graph_def()


def frozen(base=BASE, **options):
    """The same graph as returned by `base_graph.load`."""
    return base_graph.FrozenGraph(base, graph_def(**options), "tiny", "0" * 16)


def write_graph(path, **options):
    pathlib.Path(path).write_bytes(graph_def(**options).SerializeToString())
    return pathlib.Path(path)
