"""The same net from tf.nn and tf.get_variable; its variables have the names of tf.layers."""

import tensorflow.compat.v1 as tf


def kernel_and_bias(scope, shape):
    with tf.variable_scope(scope):
        kernel = tf.get_variable("kernel", shape, initializer=tf.glorot_uniform_initializer())
        bias = tf.get_variable("bias", shape[-1:], initializer=tf.zeros_initializer())
    return kernel, bias


def net(images, is_training):
    kernel, bias = kernel_and_bias("conv1", [3, 3, images.shape[-1], 4])
    x = tf.nn.relu(tf.nn.conv2d(images, kernel, strides=1, padding="VALID") + bias)
    x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
    x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
    if is_training:
        x = tf.nn.dropout(x, rate=0.4)
    kernel, bias = kernel_and_bias("logits", [x.shape[-1], 10])
    return x @ kernel + bias
