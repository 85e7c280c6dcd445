"""An optimizer that turns the momentum of each weight matrix into an orthogonal step.

Gradient descent moves far along the few directions in which a layer's gradient is large, and
hardly along the others. Muon (K. Jordan, 2024, "Muon: an optimizer for hidden layers in neural
networks") makes all of them equally long: of the momentum U S V', it takes U V'. That costs some
products of matrices, and no singular value decomposition.

It also shows how an optimizer of one's own fits into TensorFlow's graphs: a slot a variable, which
checkpoints keep, and the ops that change a variable once.
"""

import tensorflow.compat.v1 as tf

_ITERATIONS = 5
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # Jordan's; it brings singular values near 1 fast


def orthogonalized(matrix):
    """Returns a matrix with the singular vectors of `matrix` and singular values near 1.

    The iteration x <- a x + b (x x') x + c (x x')^2 x, on the smaller Gram matrix alone: all its
    terms commute, so that their product is applied to `matrix` once, at the end.

    Args:
        matrix: float32 [rows, columns], not 0.

    Returns:
        float32 [rows, columns]; the singular values lie between about 0.7 and 1.2, but for those
        that are smaller than the largest by orders of magnitude.
    """
    a, b, c = _POLYNOMIAL
    wide = matrix.shape[0] < matrix.shape[1]
    scaled = matrix / (tf.norm(matrix) + 1e-7)
    gram = tf.matmul(scaled, scaled, transpose_a=not wide, transpose_b=wide)
    identity = tf.eye(gram.shape[0])
    product = identity
    for _ in range(_ITERATIONS):
        factor = a * identity + b * gram + c * tf.matmul(gram, gram)
        product = tf.matmul(product, factor)
        gram = tf.matmul(factor, tf.matmul(gram, factor))
    return tf.matmul(product, scaled) if wide else tf.matmul(scaled, product)


class MuonOptimizer(tf.train.Optimizer):
    """Muon for weight matrices and kernels, Nesterov's momentum for everything else.

    A kernel [height, width, in, out] counts as a matrix [height * width * in, out].
    """

    def __init__(self, rate, other_rate, is_matrix, momentum=0.95, other_momentum=0.9, decay=0.0):
        """Takes the settings.

        Args:
            rate: float32 scalar tensor, the length of an orthogonal step.
            other_rate: float32 scalar tensor, the learning rate of the other variables.
            is_matrix: function from a variable to whether it takes orthogonal steps.
            momentum: float, how much of the past a matrix's mean gradient keeps.
            other_momentum: float, Nesterov's for the others.
            decay: float; each step takes `rate * decay` of a matrix's weights away.
        """
        super().__init__(use_locking=False, name="Muon")
        self._rate, self._is_matrix = rate, is_matrix
        self._momentum, self._decay = momentum, decay
        self._other = tf.train.MomentumOptimizer(other_rate, other_momentum, use_nesterov=True)

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        """Adds the op that takes one step; see tf.train.Optimizer."""
        pairs = list(grads_and_vars)
        others = [pair for pair in pairs if not self._is_matrix(pair[1])]
        matrices = [pair for pair in pairs if self._is_matrix(pair[1])]
        # The step is counted once, when all variables have been changed.
        with tf.control_dependencies([self._other.apply_gradients(others)]):
            return super().apply_gradients(matrices, global_step, name)

    def variables(self):
        """Returns the slots of all variables."""
        return super().variables() + self._other.variables()

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "mean_gradient", self._name)

    def _resource_apply_dense(self, gradient, variable):
        slot = self.get_slot(variable, "mean_gradient")
        mean = slot.assign(self._momentum * slot + (1 - self._momentum) * gradient)
        ahead = self._momentum * mean + (1 - self._momentum) * gradient
        matrix = tf.reshape(ahead, [-1, ahead.shape[-1]])
        # So that an output of a tall matrix changes as much as that of a square one.
        length = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        step = tf.reshape(length * orthogonalized(matrix), variable.shape)
        return variable.assign_sub(self._rate * (step + self._decay * variable))
