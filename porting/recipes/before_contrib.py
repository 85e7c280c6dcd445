"""A small convolutional net in slim."""

import tensorflow as tf
from tensorflow.contrib import slim


def net(images, is_training):
    with slim.arg_scope(
        [slim.conv2d],
        normalizer_fn=slim.batch_norm,
        normalizer_params={"is_training": is_training},
    ):
        x = slim.conv2d(images, 4, [3, 3], scope="conv1")
    x = slim.max_pool2d(x, [2, 2], scope="pool1")
    x = slim.flatten(x)
    return slim.fully_connected(
        x,
        10,
        activation_fn=None,
        weights_initializer=tf.contrib.layers.xavier_initializer(),
        weights_regularizer=slim.l2_regularizer(0.01),
        scope="logits",
    )


def regularization_loss():
    return tf.add_n(slim.losses.get_regularization_losses())
