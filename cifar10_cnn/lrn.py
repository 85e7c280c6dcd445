"""Local response normalization with a gradient that is fast on a processor."""

import numpy as np
import tensorflow.compat.v1 as tf


def lrn(images, depth_radius, bias, alpha, beta, name):
    """Returns `tf.nn.lrn` of `images`, with the same gradient computed in another way.

    Each value x is divided by s ** beta, where s = bias + alpha * (sum of the squares over the
    channels that are at most depth_radius away). TensorFlow's own gradient visits the channels one
    by one. Here both sums over neighbouring channels are products with a banded matrix of zeros
    and ones, at which processors are good:

        dx = dy / s ** beta - 2 alpha beta x * band_sum(dy * x / s ** (beta + 1))

    Args:
        images: float32 [batch, height, width, channels]; channels must be known.
        depth_radius: int, channels to either side.
        bias, alpha, beta: floats.
        name: of the LRN op.
    """
    channels = images.shape[-1]
    distance = np.abs(np.arange(channels)[:, None] - np.arange(channels)[None, :])
    neighbours = np.float32(distance <= depth_radius)

    @tf.custom_gradient
    def normalize(x):
        normalized = tf.nn.lrn(x, depth_radius, bias, alpha, beta, name=name)

        def gradient(dy):
            with tf.name_scope(f"{name}_gradient"):
                x_rows, dy_rows = tf.reshape(x, [-1, channels]), tf.reshape(dy, [-1, channels])
                band = tf.constant(neighbours)
                scale = bias + alpha * tf.matmul(tf.square(x_rows), band)
                dy_scaled = dy_rows * tf.pow(scale, -beta)
                spread = tf.matmul(dy_scaled * x_rows / scale, band)
                dx = dy_scaled - (2 * alpha * beta) * x_rows * spread
                return tf.reshape(dx, tf.shape(x))

        return normalized, gradient

    return normalize(images)
