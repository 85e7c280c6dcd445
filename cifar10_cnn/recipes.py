"""The two ways of training the net: the cookbook's, mended, and the best one found.

The net, the batch size of 128 and the 20,000 generations are the same in both.
"""

import dataclasses

import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, distortions
from cifar10_cnn.muon import MuonOptimizer


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        learning_rate: float, at its highest.
        schedule: "staircase" multiplies the rate by --lr_decay every --num_gens_to_wait
            generations; "cosine" raises it linearly over 500 generations, then lowers it along half
            a cosine to 0 at the last generation.
        orthogonal_share: float, the length of an orthogonal step of the hidden layers' weights as a
            share of the learning rate, with muon.MuonOptimizer; 0 is plain gradient descent.
        decay: float, what such a step takes away of the weights, times its length.
        penalty: float, L2 penalty on the weights of the last layer.
        label_smoothing: float, the probability that a target leaves to all classes together.
        dropout: float, the share of the hidden dense layers' inputs that is dropped at the last
            generation; it grows to that evenly, from 0 at the first.
        average_decay: float, of the moving average of the variables, which then takes the
            variables' place in evaluation; None for no average.
        brightness: float, largest change of the pixels, which are in [0, 255].
        contrast: (float, float), the range of the factors.
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
    contrast: tuple = (1.0, 1.0)

    def distort(self, images, seed):
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

    def rate(self, global_step, generations, lr_decay, num_gens_to_wait, learning_rate=None):
        """Returns the learning rate at `global_step` as a float32 scalar tensor.

        Args:
            global_step: int scalar tensor.
            generations: int, the length of the whole training.
            lr_decay, num_gens_to_wait: numbers, for the staircase.
            learning_rate: float in place of the recipe's, or None.
        """
        highest = self.learning_rate if learning_rate is None else learning_rate
        if self.schedule == "staircase":
            return tf.train.exponential_decay(
                highest, global_step, num_gens_to_wait, lr_decay, staircase=True
            )
        warm_up = tf.minimum(1.0, (tf.cast(global_step, tf.float32) + 1) / 500)
        return warm_up * tf.train.cosine_decay(highest, global_step, generations)

    def optimizer(self, rate):
        """Returns the tf.train.Optimizer."""
        if not self.orthogonal_share:
            return tf.train.GradientDescentOptimizer(rate)
        return MuonOptimizer(
            self.orthogonal_share * rate, rate, cifar10.is_hidden_matrix, decay=self.decay
        )

    def drop(self, global_step, generations, seed):
        """Returns the function that drops features in training, for `cifar10.inference`.

        Args:
            global_step: int scalar tensor.
            generations: int, the length of the whole training.
            seed: int; what is dropped is a function of it and of the step.
        """
        if not self.dropout:
            return tf.identity
        step = tf.cast(global_step, tf.int64)
        rate = self.dropout * tf.cast(step, tf.float32) / generations

        def drop(features):
            # Of two layers in one step, the widths differ, and so do the seeds.
            key = tf.stack([tf.constant(seed << 12 | features.shape[-1], tf.int64), step])
            return tf2.nn.experimental.stateless_dropout(features, rate, seed=key)

        return drop

    def loss(self, logits, targets):
        """Returns (cross entropy, what the optimizer minimizes), two float32 scalars."""
        cross_entropy = objective = cifar10.loss(logits, targets)
        if self.label_smoothing:
            objective = cifar10.smoothed_loss(logits, targets, self.label_smoothing)
        if self.penalty:
            objective += cifar10.weight_decay(self.penalty)
        return cross_entropy, objective

    def average(self, global_step):
        """Returns the tf.train.ExponentialMovingAverage of the variables, or None."""
        if self.average_decay is None:
            return None
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
