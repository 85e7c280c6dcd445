"""The same net from tf.nn and tf.get_variable; its variables have slim's names.

So a checkpoint of the slim net restores into it.
"""

import tensorflow.compat.v1 as tf


def conv2d(x, filters, size, scope, is_training):
    """A convolution with slim's defaults: stride 1, SAME, xavier, batch normalization, ReLU."""
    with tf.variable_scope(scope):
        weights = tf.get_variable(
            "weights",
            [size, size, x.shape[-1], filters],
            initializer=tf.glorot_uniform_initializer(),  # the same as xavier_initializer()
        )
        x = tf.nn.conv2d(x, weights, strides=1, padding="SAME")
        return tf.nn.relu(batch_norm(x, is_training))


def batch_norm(x, is_training, decay=0.999, epsilon=0.001):
    """Slim's default: an offset, no scale; the averages move in ops of UPDATE_OPS."""
    with tf.variable_scope("BatchNorm"):
        size = [x.shape[-1]]
        beta = tf.get_variable("beta", size, initializer=tf.zeros_initializer())
        moving_mean = tf.get_variable(
            "moving_mean", size, initializer=tf.zeros_initializer(), trainable=False
        )
        moving_variance = tf.get_variable(
            "moving_variance", size, initializer=tf.ones_initializer(), trainable=False
        )
        if is_training:
            mean, variance = tf.nn.moments(x, axes=[0, 1, 2])
            for average, value in [(moving_mean, mean), (moving_variance, variance)]:
                update = tf.assign_sub(average, (1 - decay) * (average - value))
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        else:
            mean, variance = moving_mean, moving_variance
        return tf.nn.batch_normalization(x, mean, variance, beta, None, epsilon)


def fully_connected(x, units, scope, weight_decay):
    """A product and biases; the regularizer adds its loss to REGULARIZATION_LOSSES."""
    with tf.variable_scope(scope):
        weights = tf.get_variable(
            "weights",
            [x.shape[-1], units],
            initializer=tf.glorot_uniform_initializer(),
            regularizer=lambda w: weight_decay * tf.nn.l2_loss(w),  # the same as l2_regularizer
        )
        biases = tf.get_variable("biases", [units], initializer=tf.zeros_initializer())
        return x @ weights + biases


def net(images, is_training):
    x = conv2d(images, 4, 3, "conv1", is_training)
    x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID", name="pool1")
    x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
    return fully_connected(x, 10, "logits", weight_decay=0.01)


def regularization_loss():
    return tf.losses.get_regularization_loss()
