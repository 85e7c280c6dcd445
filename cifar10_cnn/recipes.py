"""Two recipes for training the net: the cookbook's, with its defects fixed, and a better one.

Both use the same net, a batch size of 128 and 20,000 generations. The better recipe trains with
Muon (K. Jordan, 2024, "Muon: an optimizer for hidden layers in neural networks"). Gradient descent
takes large steps along the few directions in which a layer's gradient is large, and tiny steps
along the others. Muon makes all of them equally long: if the mean gradient of a weight matrix is
U S V', it steps along U V'. That costs a few matrix products.
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
SAMPLE_GENERATIONS = 1000  # enough for the small sample


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    Attributes:
        learning_rate: the peak learning rate.
        schedule: "staircase" multiplies the rate by --lr_decay every --num_gens_to_wait
            generations. "cosine" warms up linearly over 500 generations and follows half a cosine
            down to 0 at the last generation.
        orthogonal_share: the learning rate of the hidden layers' weights with MuonOptimizer,
            relative to `learning_rate`; 0 selects plain gradient descent.
        decay: weight decay of the hidden layers' weights with MuonOptimizer.
        penalty: L2 penalty on the weights of the last layer.
        label_smoothing: the probability that is moved from the target to all classes evenly.
        dropout: the dropout rate of the hidden dense layers' inputs at the last generation; it
            grows linearly from 0.
        average_decay: decay of the moving averages of the variables, which evaluation then uses;
            None for no averages.
        brightness: largest brightness change; pixels are in [0, 255].
        contrast: the range of the contrast factor.
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
        """The names of the flags that a resumed run may change with this recipe."""
        # A finished run may train longer, unless the schedule has decayed its rate to 0.
        return ("generations",) if self.schedule == "staircase" else ()

    def distort(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Distorts and standardizes a batch of training images.

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
            global_step: int scalar.
            flags: those of `add_flags`, after `choose`.
        """
        highest = self.learning_rate if flags.learning_rate is None else flags.learning_rate
        with tf.name_scope("schedule"):
            # The rate is a tensor: every Session.run computes it from the current global_step.
            if self.schedule == "staircase":
                every, decay = flags.num_gens_to_wait, flags.lr_decay
                rate = tf.train.exponential_decay(
                    highest, global_step, every, decay, staircase=True
                )
            else:
                warm_up = tf.minimum(1.0, (tf.cast(global_step, tf.float32) + 1) / 500)
                rate = warm_up * tf.train.cosine_decay(highest, global_step, flags.generations)
        tf.summary.scalar("learning_rate", rate)
        return rate

    def optimizer(self, rate: tf.Tensor, last_weights: tf.Variable) -> tf.train.Optimizer:
        """Returns the optimizer; Muon leaves out `last_weights`, from `cifar10.Net`."""
        if not self.orthogonal_share:
            return tf.train.GradientDescentOptimizer(rate)

        def is_hidden_matrix(variable: tf.Variable) -> bool:
            return len(variable.shape.as_list()) > 1 and variable is not last_weights

        length = tf.multiply(self.orthogonal_share, rate, name="orthogonal_rate")
        return MuonOptimizer(length, rate, is_hidden_matrix, decay=self.decay)

    def drop(
        self, global_step: tf.Tensor, generations: int, seed: int, part: int = 0
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns the dropout function, from and to float32 [batch, n].

        Each layer has its own masks. If several nets share the function, like towers, each net has
        its own masks too; otherwise the towers would always drop the same features.

        Args:
            global_step: int scalar.
            generations: length of the whole training.
            seed: the masks are a function of the seed, the step, the layer and `part`.
            part: index of the process if several share a batch; below 512.
        """
        if not self.dropout:
            return tf.identity
        # The rate is a tensor, too: it grows with the global step.
        with tf.name_scope("dropout"):
            step = tf.cast(global_step, tf.int64)
            rate = self.dropout * tf.cast(step, tf.float32) / generations
        widths: list[int] = []  # widths of the layers so far

        def drop(features: tf.Tensor) -> tf.Tensor:
            # The key identifies a layer by its width and by the number of earlier ones that wide.
            width = features.shape.as_list()[-1]
            layer = part << 54 | widths.count(width) << 44 | seed << 12 | width
            widths.append(width)
            key = tf.stack([tf.constant(layer, tf.int64), step])
            return tf2.nn.experimental.stateless_dropout(features, rate, seed=key)

        return drop

    def loss(self, net: cifar10.Net, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the losses of a batch.

        Args:
            net: the net on the training images.
            targets: int32 [batch].

        Returns:
            (cross entropy in nats, objective that the optimizer minimizes), both float32 scalars.
        """
        with tf.name_scope("losses"):
            cross_entropy = objective = cifar10.loss(net.logits, targets)
            if self.label_smoothing:
                objective = smoothed_loss(net.logits, targets, self.label_smoothing)
            if self.penalty:
                objective += self.penalty * tf.nn.l2_loss(net.last_weights)
            return cross_entropy, objective

    def average(self, global_step: tf.Tensor) -> tf.train.ExponentialMovingAverage | None:
        """Returns the moving averages of the variables, or None if the recipe has none."""
        if self.average_decay is None:
            return None
        # Given the step, the average limits the decay to (1 + step) / (10 + step). Otherwise the
        # averages would stay close to the initial weights for the first thousand steps.
        return tf.train.ExponentialMovingAverage(self.average_decay, global_step)


RECIPES = {
    # The cookbook's settings, which take effect here. In the original the rate never decayed, the
    # crop was always central, and the test images were distorted as well.
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
    """Adds the training flags."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--recipe",
        choices=list(RECIPES),
        help="Training recipe. By default that of the run to resume, or cookbook for a new run.",
    )
    add(
        "--generations",
        type=number(int, 1),
        help="Train up to this generation, which is one step. "
        f"By default {GENERATIONS}, or {SAMPLE_GENERATIONS} on the sample.",
    )
    add("--batch_size", type=number(int, 1), default=128, help="Images per training batch.")
    add(
        "--learning_rate",
        type=number(float, 0),
        help="Peak learning rate. By default "
        + ", ".join(f"{recipe.learning_rate} for {name}" for name, recipe in RECIPES.items())
        + ".",
    )
    add(
        "--lr_decay",
        type=number(float, 0, 1),
        default=0.9,
        help="The cookbook recipe multiplies its learning rate by this factor.",
    )
    add(
        "--num_gens_to_wait",
        type=number(int, 1),
        default=250,
        help="Generations between two such decays of the learning rate.",
    )
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="Seed for weights and batches.")


def choose(flags: argparse.Namespace, kept: dict[str, Any], is_sample: bool) -> Recipe:
    """Returns the recipe; sets the defaults of --recipe and --generations.

    Args:
        flags: those of `add_flags`.
        kept: the flags of the run that is resumed; empty for a new run.
        is_sample: whether the data is the shipped sample.
    """
    earlier = kept.get("recipe")
    flags.recipe = flags.recipe or (earlier if earlier in list(RECIPES) else "cookbook")
    flags.generations = flags.generations or (SAMPLE_GENERATIONS if is_sample else GENERATIONS)
    return RECIPES[flags.recipe]


def smoothed_loss(logits: tf.Tensor, targets: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Adds the mean cross entropy with label smoothing, which discourages overconfidence.

    Args:
        logits: float32 [batch, classes].
        targets: int32 or int64 [batch].
        smoothing: in [0, 1), the probability that is spread evenly over all classes.

    Returns:
        float32 scalar in nats.
    """
    num_classes = logits.shape.as_list()[-1]
    # The sparse cross entropy takes class numbers; smoothed labels need the dense one, which takes
    # a probability per class. Its _v2 differentiates with respect to the labels as well.
    labels = (1 - smoothing) * tf.one_hot(targets, num_classes) + smoothing / num_classes
    return tf.reduce_mean(
        tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits),
        name="smoothed_cross_entropy",
    )


_ITERATIONS = 5
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # Jordan's; quickly moves singular values close to 1


def orthogonalized(matrix: tf.Tensor) -> tf.Tensor:
    """Returns a matrix with the singular vectors of `matrix` and singular values close to 1.

    It iterates x <- a x + b (x x') x + c (x x')^2 x, but only on the smaller Gram matrix. The
    factors commute, so their product is applied to `matrix` once, at the end.

    Args:
        matrix: float32 [rows, columns].

    Returns:
        float32 [rows, columns]. The singular values are about 0.7 to 1.2, except those that were
        orders of magnitude smaller than the largest.
    """
    a, b, c = _POLYNOMIAL
    rows, columns = matrix.shape.as_list()
    wide = rows < columns
    scaled = matrix / (tf.norm(matrix) + 1e-7)
    # tf.matmul can read a matrix as its transpose without copying it.
    gram = tf.matmul(scaled, scaled, transpose_a=not wide, transpose_b=wide)
    identity = tf.eye(min(rows, columns))
    product = identity
    # This Python loop runs while the graph is built and adds the ops of all five iterations.
    for _ in range(_ITERATIONS):
        factor = a * identity + b * gram + c * tf.matmul(gram, gram)
        product = tf.matmul(product, factor)
        gram = tf.matmul(factor, tf.matmul(gram, factor))
    return tf.matmul(product, scaled) if wide else tf.matmul(scaled, product)


class MuonOptimizer(tf.train.Optimizer):
    """Muon for weight matrices and kernels, Nesterov momentum for all other variables.

    A kernel [height, width, in, out] is treated as a matrix [height * width * in, out]. The class
    also shows how to write an optimizer for TensorFlow graphs: it defines the slots of each
    variable and the ops that update a variable.
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
            rate: float32 scalar, the learning rate of the matrices.
            other_rate: float32 scalar, the learning rate of the other variables.
            is_matrix: function from a variable to whether Muon trains it.
            momentum: decay of a matrix's mean gradient.
            other_momentum: Nesterov momentum of the other variables.
            decay: weight decay; each step subtracts `rate * decay` times a matrix's weights.
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
        """Adds the op that updates all variables once; see tf.train.Optimizer."""
        pairs = list(grads_and_vars)
        others = [pair for pair in pairs if not self._is_matrix(pair[1])]
        matrices = [pair for pair in pairs if self._is_matrix(pair[1])]
        # The control dependency counts the step once, after all variables have been updated.
        with tf.control_dependencies([self._other.apply_gradients(others)]):
            return super().apply_gradients(matrices, global_step, name)

    def variables(self) -> list[tf.Variable]:
        """Returns the slot variables."""
        return super().variables() + self._other.variables()

    def _create_slots(self, var_list: list[tf.Variable]) -> None:
        # A slot is a variable too, named after the variable it belongs to, and is in checkpoints.
        for variable in var_list:
            self._zeros_slot(variable, "mean_gradient", self._name)

    def _resource_apply_dense(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Operation:
        # The base class calls this once per variable to add its update ops. Reading the result of
        # an assign op makes the order certain: the slot is updated first.
        slot = self.get_slot(variable, "mean_gradient")
        mean = slot.assign(self._momentum * slot + (1 - self._momentum) * gradient)
        ahead = self._momentum * mean + (1 - self._momentum) * gradient
        shape = variable.shape.as_list()
        matrix = tf.reshape(ahead, [-1, shape[-1]])
        # Scale up for tall matrices, so that their outputs change as much as a square matrix's.
        rows, columns = matrix.shape.as_list()
        length = max(1.0, rows / columns) ** 0.5
        step = tf.reshape(length * orthogonalized(matrix), shape)
        return variable.assign_sub(self._rate * (step + self._decay * variable))

    _apply_dense = _resource_apply_dense  # for reference variables
