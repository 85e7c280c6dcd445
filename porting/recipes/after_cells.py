"""The same with your own cell, which tf.nn.dynamic_rnn also takes.

Its variables have BasicLSTMCell's names, shapes and order of gates, so old checkpoints restore.
"""

import collections

import tensorflow.compat.v1 as tf

LSTMState = collections.namedtuple("LSTMState", ["c", "h"])


class BasicLSTMCell:
    """The interface that `dynamic_rnn` expects: two sizes, an initial state, and a step."""

    def __init__(self, units, forget_bias=1.0):
        self.units = units
        self.forget_bias = forget_bias
        self.output_size = units
        self.state_size = LSTMState(units, units)

    def zero_state(self, batch_size, dtype):
        """Returns the initial state."""
        zeros = tf.zeros([batch_size, self.units], dtype)
        return LSTMState(zeros, zeros)

    def __call__(self, inputs, state, scope=None):
        """Returns (output, next state) for inputs of one step, [batch, size]."""
        with tf.variable_scope(scope or "basic_lstm_cell"):
            kernel = tf.get_variable("kernel", [inputs.shape[1] + self.units, 4 * self.units])
            bias = tf.get_variable("bias", [4 * self.units], initializer=tf.zeros_initializer())
        gates = tf.concat([inputs, state.h], axis=1) @ kernel + bias
        i, j, f, o = tf.split(gates, 4, axis=1)
        kept = state.c * tf.sigmoid(f + self.forget_bias)
        c = kept + tf.sigmoid(i) * tf.tanh(j)
        h = tf.sigmoid(o) * tf.tanh(c)
        return h, LSTMState(c, h)


def run_lstm(inputs, units):
    return tf.nn.dynamic_rnn(BasicLSTMCell(units), inputs, dtype=tf.float32)
