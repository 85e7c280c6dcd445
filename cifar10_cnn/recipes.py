"""The two ways of training the net: the cookbook's, with its defects fixed, and a better one.

The net, the batch size of 128 and the 20,000 generations are the same in both. The better one has
an optimizer of its own: Muon (K. Jordan, 2024, "Muon: an optimizer for hidden layers in neural
networks"). Gradient descent moves far along the few directions in which a layer's gradient is
large, and hardly along the others. Muon makes all of them equally long: of the mean gradient
U S V' of a weight matrix, it takes U V'. That costs some products of matrices.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, distortions
from tutorial_support.programs import number

GENERATIONS = 20000
SAMPLE_GENERATIONS = 1000  # what the small sample is worth


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        learning_rate: at its highest.
        schedule: "staircase" multiplies the rate by --lr_decay every --num_gens_to_wait
            generations; "cosine" raises it linearly over 500 generations, then lowers it along half
            a cosine to 0 at the last generation.
        orthogonal_share: the length of an orthogonal step of the hidden layers' weights, as a
            share of the learning rate, with MuonOptimizer; 0 is plain gradient descent.
        decay: what such a step takes away of the weights, times its length.
        penalty: L2 penalty on the weights of the last layer.
        label_smoothing: the probability that is taken from the target and spread over all classes.
        dropout: the share of the hidden dense layers' inputs that is dropped at the last
            generation; it grows to that evenly, from 0 at the first.
        average_decay: of the moving average of the variables, which then takes the variables'
            place in evaluation; None for no average.
        brightness: largest change of the pixels, which are in [0, 255].
        contrast: the range of the factors.
    """

    learning_rate: float
    schedule: str
    orthogonal_share: float = 0.0
    decay: float = 0.0
    penalty: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    average_decay: float | None = None
    brightness: float = 0.0
    contrast: tuple[float, float] = (1.0, 1.0)

    @property
    def may_change(self) -> tuple[str, ...]:
        """Names of the recipe's flags that a resumed run may change."""
        # A run may go on beyond its end, unless its learning rate was led to 0 there.
        return ("generations",) if self.schedule == "staircase" else ()

    def distort(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Crops, mirrors, brightens, contrasts and standardizes a batch of training images.

        Args:
            images: uint8 [batch, 32, 32, 3].
            seed: int [2].

        Returns:
            float32 [batch, CROP_SIZE, CROP_SIZE, 3].
        """
        images = distortions.random_crop(images, cifar10.CROP_SIZE, seed)
        images = tf.cast(distortions.random_flip(images, seed), tf.float32)
        if self.brightness:
            images = distortions.random_brightness(images, self.brightness, seed)
        if self.contrast != (1.0, 1.0):
            images = distortions.random_contrast(images, *self.contrast, seed)
        return distortions.standardize(images)

    def rate(self, global_step: tf.Tensor, flags: argparse.Namespace) -> tf.Tensor:
        """Adds the learning rate at `global_step`, a float32 scalar, and its summary.

        Args:
            global_step: int scalar, counts the steps.
            flags: those of `add_flags`, and `generations`.
        """
        highest = self.learning_rate if flags.learning_rate is None else flags.learning_rate
        with tf.name_scope("schedule"):
            # A tensor, computed anew from the step in each run: the graph itself lowers the rate.
            if self.schedule == "staircase":
                every, decay = flags.num_gens_to_wait, flags.lr_decay
                rate = tf.train.exponential_decay(highest, global_step, every, decay, True)
            else:
                warm_up = tf.minimum(1.0, (tf.cast(global_step, tf.float32) + 1) / 500)
                rate = warm_up * tf.train.cosine_decay(highest, global_step, flags.generations)
        tf.summary.scalar("learning_rate", rate)
        return rate

    def optimizer(self, rate: tf.Tensor, last_weights: tf.Variable) -> tf.train.Optimizer:
        """Returns the optimizer; `last_weights`, of `cifar10.Net`, take no orthogonal steps."""
        if not self.orthogonal_share:
            return tf.train.GradientDescentOptimizer(rate)

        def is_hidden_matrix(variable: tf.Variable) -> bool:
            return len(variable.shape.as_list()) > 1 and variable is not last_weights

        length = tf.multiply(self.orthogonal_share, rate, name="orthogonal_rate")
        return MuonOptimizer(length, rate, is_hidden_matrix, decay=self.decay)

    def drop(
        self, global_step: tf.Tensor, generations: int, seed: int, part: int = 0
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns the function that drops features in training.

        Each layer has masks of its own. Where several nets share the function, as towers do, so
        has each net: else images of different towers would always lose the same features.

        Args:
            global_step: int scalar.
            generations: the length of the whole training.
            seed: what is dropped is a function of it, of the step, of the layer and of `part`.
            part: the number of the process, where several divide a batch; below 512.
        """
        if not self.dropout:
            return tf.identity
        with tf.name_scope("dropout"):
            step = tf.cast(global_step, tf.int64)
            rate = self.dropout * tf.cast(step, tf.float32) / generations
        widths: list[int] = []  # of the layers so far

        def drop(features: tf.Tensor) -> tf.Tensor:
            # The key names the layer by its width, and by how many of that width came before it.
            width = features.shape.as_list()[-1]
            layer = part << 54 | widths.count(width) << 44 | seed << 12 | width
            widths.append(width)
            key = tf.stack([tf.constant(layer, tf.int64), step])
            return tf2.nn.experimental.stateless_dropout(features, rate, seed=key)

        return drop

    def loss(self, net: cifar10.Net, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the losses of a batch.

        Args:
            net: of the training images.
            targets: int32 [batch].

        Returns:
            (cross entropy in nats, what the optimizer minimizes), two float32 scalars.
        """
        with tf.name_scope("losses"):
            cross_entropy = objective = cifar10.loss(net.logits, targets)
            if self.label_smoothing:
                objective = smoothed_loss(net.logits, targets, self.label_smoothing)
            if self.penalty:
                objective += self.penalty * tf.nn.l2_loss(net.last_weights)
            return cross_entropy, objective

    def average(self, global_step: tf.Tensor) -> tf.train.ExponentialMovingAverage | None:
        """Returns the moving average of the variables, if the recipe has one."""
        if self.average_decay is None:
            return None
        # Told the step, it begins with a smaller decay: (1 + step) / (10 + step) at most. Otherwise
        # the averages would stay near the initial weights for the first thousand steps.
        return tf.train.ExponentialMovingAverage(self.average_decay, global_step)


RECIPES = {
    # The cookbook's settings. Its rate never decayed, its crop was always the middle, and its
    # test images were distorted: here the settings do what they say.
    "cookbook": Recipe(
        learning_rate=0.1, schedule="staircase", brightness=63.0, contrast=(0.2, 1.8)
    ),
    "best": Recipe(
        learning_rate=0.05,
        schedule="cosine",
        orthogonal_share=0.1,
        decay=0.05,
        penalty=5e-4,
        label_smoothing=0.1,
        dropout=0.3,
        average_decay=0.999,
    ),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how to train."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--recipe",
        choices=list(RECIPES),
        help="How to train; by default as the run in the folder, or else as the cookbook.",
    )
    add(
        "--generations",
        type=number(int, 1),
        help=f"Steps, in all; by default {GENERATIONS}, or {SAMPLE_GENERATIONS} on the sample.",
    )
    add("--batch_size", type=number(int, 1), default=128, help="Images in a training batch.")
    add("--learning_rate", type=number(float, 0), help="At its highest; by default the recipe's.")
    add("--lr_decay", type=number(float, 0, 1), default=0.9, help="Factor of the cookbook's rate.")
    add(
        "--num_gens_to_wait",
        type=number(int, 1),
        default=250,
        help="Generations from one such decay to the next.",
    )
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="Seed of weights and batches.")


def choose(flags: argparse.Namespace, kept: dict[str, Any], is_sample: bool) -> Recipe:
    """Settles --recipe and --generations where they are not given; returns the recipe.

    Args:
        flags: those of `add_flags`.
        kept: of the run that is resumed.
        is_sample: whether the data is the shipped sample.
    """
    of_run = kept.get("recipe")
    flags.recipe = flags.recipe or (of_run if of_run in list(RECIPES) else "cookbook")
    flags.generations = flags.generations or (SAMPLE_GENERATIONS if is_sample else GENERATIONS)
    return RECIPES[flags.recipe]


def smoothed_loss(logits: tf.Tensor, targets: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Adds the mean cross entropy with smoothed labels, so that training does not seek certainty.

    Args:
        logits: float32 [batch, classes].
        targets: int32 or int64 [batch].
        smoothing: in [0, 1), the probability that is spread evenly over all classes.

    Returns:
        float32 scalar in nats.
    """
    num_classes = logits.shape.as_list()[-1]
    labels = (1 - smoothing) * tf.one_hot(targets, num_classes) + smoothing / num_classes
    return tf.reduce_mean(
        tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits),
        name="smoothed_cross_entropy",
    )


_ITERATIONS = 5
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # Jordan's; it brings singular values near 1 fast


def orthogonalized(matrix: tf.Tensor) -> tf.Tensor:
    """Returns a matrix with the singular vectors of `matrix` and singular values near 1.

    The iteration x <- a x + b (x x') x + c (x x')^2 x, on the smaller Gram matrix alone: all its
    terms commute, so that their product is applied to `matrix` once, at the end.

    Args:
        matrix: float32 [rows, columns].

    Returns:
        float32 [rows, columns]; the singular values lie between about 0.7 and 1.2, except those
        that are smaller than the largest by orders of magnitude.
    """
    a, b, c = _POLYNOMIAL
    rows, columns = matrix.shape.as_list()
    wide = rows < columns
    scaled = matrix / (tf.norm(matrix) + 1e-7)
    gram = tf.matmul(scaled, scaled, transpose_a=not wide, transpose_b=wide)
    identity = tf.eye(min(rows, columns))
    product = identity
    for _ in range(_ITERATIONS):
        factor = a * identity + b * gram + c * tf.matmul(gram, gram)
        product = tf.matmul(product, factor)
        gram = tf.matmul(factor, tf.matmul(gram, factor))
    return tf.matmul(product, scaled) if wide else tf.matmul(scaled, product)


class MuonOptimizer(tf.train.Optimizer):
    """Muon for weight matrices and kernels, Nesterov's momentum for everything else.

    A kernel [height, width, in, out] counts as a matrix [height * width * in, out]. The class shows
    how to write an optimizer for TensorFlow's graphs: which slots it keeps for each variable, and
    the ops that change a variable once.
    """

    def __init__(
        self,
        rate: tf.Tensor,
        other_rate: tf.Tensor,
        is_matrix: Callable[[tf.Variable], bool],
        momentum: float = 0.95,
        other_momentum: float = 0.9,
        decay: float = 0.0,
    ) -> None:
        """Takes the settings.

        Args:
            rate: float32 scalar, the length of an orthogonal step.
            other_rate: float32 scalar, the learning rate of the other variables.
            is_matrix: function from a variable to whether it takes orthogonal steps.
            momentum: how much of the past a matrix's mean gradient keeps.
            other_momentum: Nesterov's, for the others.
            decay: each step takes `rate * decay` of a matrix's weights away.
        """
        super().__init__(use_locking=False, name="Muon")
        self._rate, self._is_matrix = rate, is_matrix
        self._momentum, self._decay = momentum, decay
        self._other = tf.train.MomentumOptimizer(other_rate, other_momentum, use_nesterov=True)

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]],
        global_step: tf.Variable | None = None,
        name: str | None = None,
    ) -> tf.Operation:
        """Adds the op that takes one step; see tf.train.Optimizer."""
        pairs = list(grads_and_vars)
        others = [pair for pair in pairs if not self._is_matrix(pair[1])]
        matrices = [pair for pair in pairs if self._is_matrix(pair[1])]
        # The step is counted once, when all variables have been changed.
        with tf.control_dependencies([self._other.apply_gradients(others)]):
            return super().apply_gradients(matrices, global_step, name)

    def variables(self) -> list[tf.Variable]:
        """Returns the slots of all variables."""
        return super().variables() + self._other.variables()

    def _create_slots(self, var_list: list[tf.Variable]) -> None:
        # A slot is a variable itself, named after the one that it belongs to: checkpoints keep it.
        for variable in var_list:
            self._zeros_slot(variable, "mean_gradient", self._name)

    def _resource_apply_dense(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Operation:
        slot = self.get_slot(variable, "mean_gradient")
        mean = slot.assign(self._momentum * slot + (1 - self._momentum) * gradient)
        ahead = self._momentum * mean + (1 - self._momentum) * gradient
        shape = variable.shape.as_list()
        matrix = tf.reshape(ahead, [-1, shape[-1]])
        # So that an output of a tall matrix changes as much as that of a square one.
        rows, columns = matrix.shape.as_list()
        length = max(1.0, rows / columns) ** 0.5
        step = tf.reshape(length * orthogonalized(matrix), shape)
        return variable.assign_sub(self._rate * (step + self._decay * variable))

    _apply_dense = _resource_apply_dense  # for variables that are no resources
