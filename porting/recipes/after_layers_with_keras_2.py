"""The net in tf.layers as it was, on Keras 2: `pip install tf_keras` of TensorFlow's version."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # before TensorFlow is first imported

import tensorflow.compat.v1 as tf  # noqa: E402


def net(images, is_training):
    x = tf.layers.conv2d(images, 4, 3, activation=tf.nn.relu, name="conv1")
    x = tf.layers.max_pooling2d(x, 2, 2)
    x = tf.layers.flatten(x)
    x = tf.layers.dropout(x, rate=0.4, training=is_training)
    return tf.layers.dense(x, 10, name="logits")


def run(images, values):
    """Returns the logits; `values` gives each variable's value by its name."""
    with tf.Graph().as_default():
        logits = net(tf.constant(images, tf.float32), is_training=False)
        with tf.Session() as session:
            for variable in tf.global_variables():
                variable.load(values[variable.op.name], session)
            return session.run(logits)
