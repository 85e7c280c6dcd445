"""An LSTM unrolled by dynamic_rnn."""

import tensorflow.compat.v1 as tf


def run_lstm(inputs, units):
    cell = tf.nn.rnn_cell.BasicLSTMCell(units)
    return tf.nn.dynamic_rnn(cell, inputs, dtype=tf.float32)
