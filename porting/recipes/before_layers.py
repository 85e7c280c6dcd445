"""A net in tf.layers."""

import tensorflow.compat.v1 as tf


def net(images, is_training):
    x = tf.layers.conv2d(images, 4, 3, activation=tf.nn.relu, name="conv1")
    x = tf.layers.max_pooling2d(x, 2, 2)
    x = tf.layers.flatten(x)
    x = tf.layers.dropout(x, rate=0.4, training=is_training)
    return tf.layers.dense(x, 10, name="logits")
