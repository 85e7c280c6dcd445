"""Keras' two optimizers of the original, from TensorFlow's own."""

import tensorflow.compat.v1 as tf

_EPSILON = 1e-7  # Keras' default; TensorFlow's are 1e-8 and 1e-10


def adam(learning_rate):
    """Returns the optimizer of the first phase, a tf.train.Optimizer."""
    return tf.train.AdamOptimizer(learning_rate, epsilon=_EPSILON)


class RMSPropOptimizer(tf.train.RMSPropOptimizer):
    """The optimizer of the second phase: TensorFlow's, but beginning as Keras' does.

    TensorFlow's mean of the squared gradients begins at 1, Keras' at 0. Gradients are far below 1:
    so TensorFlow's first steps are tiny, where Keras' are as long as all later ones.
    """

    def __init__(self, learning_rate):
        """Takes the learning rate, a float; the rest is Keras' default."""
        super().__init__(learning_rate, decay=0.9, epsilon=_EPSILON)

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "rms", self._name)
            self._zeros_slot(variable, "momentum", self._name)
