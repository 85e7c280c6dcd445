"""Files, also on remote file systems, through tf.gfile."""

import tensorflow as tf


def copy_lines(folder):
    if not tf.gfile.Exists(folder + "/copies"):
        tf.gfile.MakeDirs(folder + "/copies")
    for path in tf.gfile.Glob(folder + "/*.txt"):
        tf.gfile.Copy(path, folder + "/copies/all.txt", overwrite=True)
    with tf.gfile.FastGFile(folder + "/copies/all.txt", "rb") as file:
        return file.read()
