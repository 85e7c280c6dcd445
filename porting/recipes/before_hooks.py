"""A training loop by MonitoredTrainingSession, with hooks."""

import tensorflow as tf


def train(folder, steps):
    w = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    step = tf.train.get_or_create_global_step()
    train_op = tf.train.GradientDescentOptimizer(0.25).minimize(tf.square(w - 1), step)
    hooks = [tf.train.StopAtStepHook(last_step=steps), tf.train.NanTensorHook(w)]
    with tf.train.MonitoredTrainingSession(checkpoint_dir=folder, hooks=hooks) as session:
        while not session.should_stop():
            value, _ = session.run([w, train_op])
    return value
