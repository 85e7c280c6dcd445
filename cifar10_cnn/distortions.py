"""What is done to the images before the net sees them, for a whole batch at a time.

The random functions take a seed, two integers, and are pure: the same seed gives the same result.
Written for the batch, with crops as gathers, the cookbook's five cost half the processor time of
`tf.image`'s functions mapped over single images: 6.7 against 12.3 ms for 128 images (Intel Xeon).
"""

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10


def central_images(images: tf.Tensor) -> tf.Tensor:
    """Prepares images for evaluation: float32 [batch, CROP_SIZE, CROP_SIZE, 3]."""
    return standardize(central_crop(images, cifar10.CROP_SIZE))


VIEWS = (1, 2, 10)  # how many views of an image there can be


def views(images: tf.Tensor, count: int) -> tf.Tensor:
    """Prepares several views of each image, to be classified one by one.

    Args:
        images: [batch, height, width, channels].
        count: 1 for the middle crop; 2 for that and its mirror image; 10 for the middle and the
            four corners, each with its mirror image (Krizhevsky et al., 2012).

    Returns:
        float32 [batch * count, CROP_SIZE, CROP_SIZE, channels], the views of an image in a row.

    Raises:
        ValueError: `count` is another one.
    """
    if count not in VIEWS:
        raise ValueError(f"count must be one of {VIEWS}, not {count}")
    size = cifar10.CROP_SIZE
    crops = [central_crop(images, size)]
    if count == 10:
        for rows in (slice(size), slice(-size, None)):
            crops += [images[:, rows, :size], images[:, rows, -size:]]
    if count > 1:
        crops += [crop[:, :, ::-1] for crop in crops]
    channels = images.shape.as_list()[-1]
    return standardize(tf.reshape(tf.stack(crops, axis=1), [-1, size, size, channels]))


def random_crop(images: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Cuts a window at a random place out of each image, every place being equally likely.

    Args:
        images: [batch, height, width, channels].
        size: height and width of the windows.
        seed: int [2].

    Returns:
        [batch, size, size, channels] of the same dtype.
    """
    _, height, width, _ = images.shape.as_list()
    batch = tf.shape(images)[0]
    top = _uniform_int([batch], height - size + 1, seed, 1)
    left = _uniform_int([batch], width - size + 1, seed, 2)
    rows = tf.gather(images, top[:, None] + tf.range(size), axis=1, batch_dims=1)
    return tf.gather(rows, left[:, None] + tf.range(size), axis=2, batch_dims=1)


def random_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors each image, left to right, with a probability of one half; [batch, h, w, c]."""
    flip = _uniform_int([tf.shape(images)[0]], 2, seed, 3)
    return tf.where_v2(tf.equal(flip, 1)[:, None, None, None], images[:, :, ::-1], images)


def random_brightness(images: tf.Tensor, max_delta: float, seed: tf.Tensor) -> tf.Tensor:
    """Adds a number from [-max_delta, max_delta) to each image, float32 [batch, h, w, c]."""
    return images + _uniform([tf.shape(images)[0], 1, 1, 1], -max_delta, max_delta, seed, 4)


def random_contrast(images: tf.Tensor, lower: float, upper: float, seed: tf.Tensor) -> tf.Tensor:
    """Multiplies each channel's distance from its mean by a number from [lower, upper).

    Args:
        images: float32 [batch, height, width, channels].
        lower, upper: one factor between them is drawn for each image.
        seed: int [2].
    """
    factor = _uniform([tf.shape(images)[0], 1, 1, 1], lower, upper, seed, 5)
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return (images - mean) * factor + mean


def central_crop(images: tf.Tensor, size: int) -> tf.Tensor:
    """Cuts the middle `size` x `size` pixels out of each image, [batch, h, w, c]."""
    _, height, width, _ = images.shape.as_list()
    top, left = (height - size) // 2, (width - size) // 2
    return images[:, top : top + size, left : left + size]


def standardize(images: tf.Tensor) -> tf.Tensor:
    """Brings each image to mean 0 and variance 1, as `tf.image.per_image_standardization` does.

    Args:
        images: [batch, height, width, channels], any number type.

    Returns:
        float32 of the same shape. The divisor is at least 1 / sqrt(numbers in an image), so that
        an image of one colour becomes 0.
    """
    count = float(np.prod(images.shape.as_list()[1:]))
    images = tf.cast(images, tf.float32)
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    centred = images - mean
    variance = tf.reduce_mean(tf.square(centred), axis=[1, 2, 3], keepdims=True)
    return centred / tf.maximum(tf.sqrt(variance), count**-0.5)


def _uniform(shape: list, low: float, high: float, seed: tf.Tensor, salt: int) -> tf.Tensor:
    return tf2.random.stateless_uniform(shape, _salted(seed, salt), low, high)


def _uniform_int(shape: list, bound: int, seed: tf.Tensor, salt: int) -> tf.Tensor:
    return tf2.random.stateless_uniform(shape, _salted(seed, salt), 0, bound, tf.int32)


def _salted(seed: tf.Tensor, salt: int) -> tf.Tensor:
    """Returns another seed, because two random numbers of one image must not be the same one."""
    seed = tf.cast(seed, tf.int64)
    return tf.stack([seed[0] * 8 + salt, seed[1]])
