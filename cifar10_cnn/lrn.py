"""Local response normalization, fast on a processor."""

import numpy as np
import tensorflow.compat.v1 as tf


def lrn(images, depth_radius, bias, alpha, beta, name):
    """Returns what `tf.nn.lrn` does, computed in another way, and so its gradient.

    Each value x is divided by s ** beta, where s = bias + alpha * (sum of the squares over the
    channels that are at most depth_radius away). TensorFlow's op visits the channels one by one.
    Here all sums over neighbouring channels are products with a banded matrix of zeros and ones, at
    which processors are good:

        y = x / s ** beta
        dx = dy / s ** beta - 2 alpha beta x * band_sum(dy * y / s)

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
            normalized = rows * factor

        def gradient(dy):
            with tf.name_scope(f"{name}_gradient"):
                dy_rows = tf.reshape(dy, [-1, channels])
                factors = tf.constant(2 * alpha * beta * neighbours)
                spread = tf.matmul(dy_rows * normalized / scale, factors)
                return tf.reshape(dy_rows * factor - rows * spread, tf.shape(x))

        return tf.reshape(normalized, tf.shape(x)), gradient

    return tf.ensure_shape(normalize(images), images.shape, name=name)


def _inverse_power(values, beta):
    """Returns `values ** -beta`; for 3/4 from roots, which are far cheaper than powers."""
    if beta == 0.75:
        return tf.math.rsqrt(tf.math.rsqrt(values)) / values
    return tf.pow(values, -beta)
