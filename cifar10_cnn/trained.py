"""The trained CIFAR-10 net: how to rebuild it, what it takes, what it was trained on."""

import argparse
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, distortions, train
from tutorial_support import TEST, TRAIN, checkpoints, pictures, trained
from tutorial_support.programs import UsageError

_LAST_BIASES = f"{cifar10.SCOPE}/full3/full_bias3"  # one for each class
_AVERAGE = "/ExponentialMovingAverage"  # what tf.train.ExponentialMovingAverage appends to a name


class TrainedNet(trained.TrainedNet):
    """See trained.TrainedNet; images are float32 [n, 32, 32, 3] in [0, 255]."""

    tutorial = "cifar10_cnn"
    default_checkpoint = train.TRAIN_DIR
    image_shape = (cifar10_input.IMAGE_SIZE, cifar10_input.IMAGE_SIZE, 3)

    def __init__(self, prefix: str, flags: dict[str, Any]) -> None:
        """Takes the class names from the run; a checkpoint without a run gets numbers.

        Raises:
            UsageError: there is no run, and the checkpoint is not of this net.
        """
        super().__init__(prefix, flags)
        names = flags.get("class_names")
        if names is None:
            shape = checkpoints.shapes(prefix).get(_LAST_BIASES, [])
            if len(shape) != 1:
                raise UsageError(
                    f"the checkpoint '{prefix}' has no variable {_LAST_BIASES} with one value for "
                    "each class; name a checkpoint of the CIFAR-10 net"
                )
            names = range(shape[0])
        self.class_names = list(map(str, names))
        self._validation_size = int(flags.get("validation_size", 0))

    @staticmethod
    def add_flags(parser: argparse.ArgumentParser) -> None:
        """Adds the flag that says how many views of an image the net sees."""
        parser.add_argument(
            "--views",
            type=int,
            choices=distortions.VIEWS,
            default=1,
            help="Views of an image whose probabilities are averaged: 1 is its middle; 2, with the "
            "mirror image, take twice the time; 10, with the corners too, ten times.",
        )

    @property
    def settings(self) -> dict[str, int]:
        """The views, where there are several."""
        views = getattr(self.options, "views", 1)
        return {"views": views} if views > 1 else {}

    def inference(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the net and what prepares images for it."""
        views = self.settings.get("views", 1)
        prepared = distortions.views(images, views)
        with tf.variable_scope(cifar10.SCOPE):
            net = cifar10.inference(prepared, len(self.class_names))
        if views == 1:
            return net.logits, net.bottleneck
        bottlenecks = tf.reshape(net.bottleneck, [-1, views, net.bottleneck.shape.as_list()[-1]])
        return cifar10.mean_of_views(net.logits, views), tf.reduce_mean(bottlenecks, axis=1)

    def decoded(self, contents: tf.Tensor) -> tf.Tensor:
        """Adds the way from a JPEG's bytes to a picture of the net's size."""
        picture = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
        return tf.image.resize_bilinear(tf.cast(picture, tf.float32)[None], self.image_shape[:2])

    def variables(self) -> Mapping[str, tf.Variable]:
        """Returns the variables by the names of their moving averages, where the run kept them."""
        variables = {variable.op.name: variable for variable in tf.trainable_variables()}
        averages = {name + _AVERAGE: variable for name, variable in variables.items()}
        has_averages = averages.keys() <= checkpoints.shapes(self.prefix).keys()
        print(  # not on standard output, which may hold JSON
            f"Restoring the moving averages of the variables from '{self.prefix}'."
            if has_averages
            else f"'{self.prefix}' holds no moving averages; restoring the variables themselves.",
            file=sys.stderr,
        )
        return averages if has_averages else variables

    def prepare(self, sess: tf.Session, tensors: trained.Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns the middle square of a picture, in the size of CIFAR-10's images."""
        square = pictures.middle_square(pictures.read(path), cifar10_input.IMAGE_SIZE)
        return np.asarray(square, np.float32)

    @staticmethod
    def add_data_flags(parser: argparse.ArgumentParser) -> None:
        """Adds the flags that name data."""
        cifar10_input.add_flags(parser)

    def examples(self, flags: argparse.Namespace, split: str) -> trained.Examples:
        """Returns the examples of a split; those for validation are what the run held out."""
        folder, is_sample = cifar10_input.find(flags, self.flags)
        if split == TEST:
            records = cifar10_input.test_records(folder, flags.labels)
        else:
            every = cifar10_input.training_records(folder, flags.labels)
            parts = every.hold_out(self._validation_size)
            records = parts[0] if split == TRAIN else parts[1]
        if len(records.class_names) != len(self.class_names):
            raise UsageError(
                f"the net in '{self.prefix}' has {len(self.class_names)} classes, the data has "
                f"{len(records.class_names)}; name the data that it was trained on with --data_dir"
            )

        def batches() -> Iterator[np.ndarray]:
            size = cifar10_input.EVALUATION_BATCH // self.settings.get("views", 1)
            for start in range(0, records.num_examples, size):
                yield records.images(range(start, min(start + size, records.num_examples)))

        return trained.Examples(records.labels, batches, records.pictures, is_sample)

    def accuracy_line(self, split: str, correct: int, count: int) -> str:
        """Returns the original's line on an accuracy, and the numbers behind it."""
        views = f", by {self.settings['views']} views of each" if self.settings else ""
        return (
            f"Generation {self.step}: {correct} of {count} images right{views}\n"
            f" --- {split.capitalize()} Accuracy= {100 * correct / count:.2f}%."
        )
