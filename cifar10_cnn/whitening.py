"""Computes initial filters for the first convolution that whiten patches of the training images.

Neighbouring pixels are nearly equal, so most random filters respond to the same thing, a patch's
mean colour. A whitening filter is an eigenvector of the patches' covariance, divided by the square
root of its eigenvalue. The filters' responses then have equal variance and are uncorrelated. Each
filter is used with both signs, because ReLU keeps only positive responses (D. Page, 2019, "How to
train your ResNet", part 8).
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

_SCALE = 0.5  # standard deviation of the responses to patches, chosen on held-out images
_LEAST_VARIANCE = 1e-2  # added to each variance, so that noise is not amplified
_NO_VARIANCE = 1e-4  # grey images, for example, do not vary in the directions of colours


def initializer(images: np.ndarray) -> Callable[..., tf.Tensor]:
    """Returns an initializer for a kernel, for `tf.get_variable`.

    Args:
        images: standardized, float32 [n, height, width, channels].
    """

    def whitening(shape: Sequence[int], dtype: tf.DType = tf.float32, **_: object) -> tf.Tensor:
        return tf.constant(filters(images, shape), dtype)

    return whitening


def filters(images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns whitening filters, float32 with the given shape [rows, columns, channels, count].

    If `count` exceeds twice the number of directions in which patches vary, the filters repeat.
    """
    rows, columns, channels, count = shape
    size = rows * columns * channels
    windows = np.lib.stride_tricks.sliding_window_view(images, (rows, columns), axis=(1, 2))
    # Every second window is enough. A row is a patch: [rows, columns, channels], flattened.
    patches = windows[:, ::2, ::2].transpose(0, 1, 2, 4, 5, 3).reshape(-1, size)
    variances, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    largest = np.argsort(-variances)[: -(-count // 2)]
    largest = largest[: max(1, np.sum(variances[largest] > _NO_VARIANCE))]
    whitening = vectors[:, largest] / np.sqrt(variances[largest] + _LEAST_VARIANCE)
    both_signs = np.concatenate([whitening, -whitening], axis=1)
    chosen = both_signs[:, np.arange(count) % both_signs.shape[1]]
    return (_SCALE * chosen).reshape(shape).astype(np.float32)
