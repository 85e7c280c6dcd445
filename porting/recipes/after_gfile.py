"""The same through tf.io.gfile, whose names are lower-case."""

import tensorflow as tf


def copy_lines(folder):
    if not tf.io.gfile.exists(folder + "/copies"):
        tf.io.gfile.makedirs(folder + "/copies")
    for path in tf.io.gfile.glob(folder + "/*.txt"):
        tf.io.gfile.copy(path, folder + "/copies/all.txt", overwrite=True)
    with tf.io.gfile.GFile(folder + "/copies/all.txt", "rb") as file:
        return file.read()
