"""MobileNetV2 with two of its blocks, for tests of the programs; also as a program.

python -m tests.catsdogs_finetune.tiny_net --data_dir photos --weights tiny.h5 ...
"""

import sys

import h5py
import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, train

STAGES = ((1, 16, 1, 1), (6, 24, 1, 2))


def write_weights(path):
    """Random weights in Keras' layout that separate classes of different colours."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default():
        _, layers = mobilenet_v2.features(tf.zeros([1, 32, 32, 3]), 0.35)
        shapes = {n: v.shape.as_list() for n, v in mobilenet_v2.weights(layers).items()}
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            layer, _, variable = name.partition("/")
            value = np.full(shape, float(variable in ("gamma", "moving_variance")))
            if variable.endswith("kernel"):
                value = random.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
                if variable == "depthwise_kernel":
                    value = random.normal(0, 0.5, shape)
            file[f"{layer}/{layer}/{variable}:0"] = value.astype(np.float32)
    return path


if __name__ == "__main__":
    mobilenet_v2._STAGES = STAGES
    sys.exit(train.main())
