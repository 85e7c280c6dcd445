"""The same in a graph: the session, its hooks and its checkpoints work as they did."""

import tensorflow.compat.v1 as tf


def train(folder, steps):
    with tf.Graph().as_default():
        w = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        step = tf.train.get_or_create_global_step()
        train_op = tf.train.GradientDescentOptimizer(0.25).minimize(tf.square(w - 1), step)
        hooks = [tf.train.StopAtStepHook(last_step=steps), tf.train.NanTensorHook(w)]
        with tf.train.MonitoredTrainingSession(checkpoint_dir=folder, hooks=hooks) as session:
            while not session.should_stop():
                value, _ = session.run([w, train_op])
    return value
