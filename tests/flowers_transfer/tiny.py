"""A tiny base graph and tiny folders of pictures, made on the spot."""

import dataclasses
import pathlib

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

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


def write_graph(path, **options):
    pathlib.Path(path).write_bytes(graph_def(**options).SerializeToString())
    return pathlib.Path(path)


def picture(colour, seed, size=(20, 16)):
    """A PIL image of noise round a colour."""
    noise = np.random.default_rng(seed).normal(0, 12, (size[1], size[0], 3))
    return Image.fromarray(np.uint8(np.clip(np.array(colour) + noise, 0, 255)))


COLOURS = {"blue": (40, 40, 200), "green": (40, 170, 40), "red": (200, 40, 40)}


def write_pictures(folder, count=20, colours=COLOURS):
    """A folder of class folders of JPEGs, each class near a colour of its own."""
    for place, (name, colour) in enumerate(colours.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            file = folder / name / f"{number:03d}.jpg"
            picture(colour, 1000 * place + number).save(file, quality=95)
    return folder
