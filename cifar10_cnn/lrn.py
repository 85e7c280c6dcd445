"""Local response normalization, fast on a processor."""

import numpy as np
import tensorflow.compat.v1 as tf


def lrn(images, depth_radius, bias, alpha, beta, name):
    """Returns what `tf.nn.lrn` does, computed in another way, and so its gradient.

    Each value x is divided by s ** beta, where s = bias + alpha * (sum of the squares over the
    channels that are at most depth_radius away). TensorFlow's op visits the channels one by one.
    Here all sums over neighbouring channels are products with a banded matrix of zeros and ones, at
    which processors are good:

        dx = dy / s ** beta - 2 alpha beta x * band_sum(dy * x / s ** (beta + 1))

    Args:
        images: float32 [batch, height, width, channels]; channels must be known.
        depth_radius: int, channels to either side.
        bias, alpha, beta: floats.
        name: of the op whose output this is.
    """
    channels = images.shape[-1]
    distance = np.abs(np.arange(channels)[:, None] - np.arange(channels)[None, :])
    neighbours = np.float32(distance <= depth_radius)

    @tf.custom_gradient
    def normalize(x):
        with tf.name_scope(f"{name}_parts"):
            rows = tf.reshape(x, [-1, channels])
            # Factors go into the matrix, for a pass over all values costs as much as a product.
            sums = tf.matmul(tf.square(rows), tf.constant(alpha * neighbours))
            scale = tf.nn.bias_add(sums, tf.fill([channels], bias))
            factor = _inverse_power(scale, beta)
            normalized = tf.reshape(rows * factor, tf.shape(x))

        def gradient(dy):
            with tf.name_scope(f"{name}_gradient"):
                dy_scaled = tf.reshape(dy, [-1, channels]) * factor
                factors = tf.constant(2 * alpha * beta * neighbours)
                spread = tf.matmul(dy_scaled * rows / scale, factors)
                return tf.reshape(dy_scaled - rows * spread, tf.shape(x))

        return normalized, gradient

    return tf.ensure_shape(normalize(images), images.shape, name=name)


def _inverse_power(values, beta):
    """Returns `values ** -beta`; for 3/4 from roots, which are far cheaper than powers."""
    if beta == 0.75:
        root = tf.math.rsqrt(values)
        return root * tf.sqrt(root)
    return tf.pow(values, -beta)
