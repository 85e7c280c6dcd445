"""The trained CIFAR-10 net: how to rebuild it, prepare its input and find its data."""

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

_LAST_BIASES = f"{cifar10.SCOPE}/full3/full_bias3"  # one per class
_AVERAGE = "/ExponentialMovingAverage"  # what tf.train.ExponentialMovingAverage appends to a name


class TrainedNet(trained.TrainedNet):
    """A trained.TrainedNet whose images are float32 [n, 32, 32, 3] in [0, 255]."""

    tutorial = "cifar10_cnn"
    default_checkpoint = train.TRAIN_DIR
    image_shape = (cifar10_input.IMAGE_SIZE, cifar10_input.IMAGE_SIZE, 3)
    add_data_flags = staticmethod(cifar10_input.add_flags)

    def __init__(self, prefix: str, flags: dict[str, Any]) -> None:
        """Takes the class names from the run's flags; without a run, classes are numbered.

        Raises:
            UsageError: there is no run, and the checkpoint is not of this net.
        """
        super().__init__(prefix, flags)
        names = flags.get("class_names")
        if names is None:
            shape = checkpoints.shapes(prefix).get(_LAST_BIASES, [])
            if len(shape) != 1:
                raise UsageError(
                    f"the checkpoint '{prefix}' has no variable {_LAST_BIASES} with one value per "
                    "class; name a checkpoint of the CIFAR-10 net"
                )
            names = range(shape[0])
        self.class_names = list(map(str, names))
        self._validation_size = int(flags.get("validation_size", 0))

    @staticmethod
    def add_flags(parser: argparse._ActionsContainer) -> None:
        """Adds --views, the number of views per image."""
        parser.add_argument(
            "--views",
            type=int,
            choices=distortions.VIEWS,
            default=1,
            help="Average the probabilities over this many views of each image: 1 is the centre "
            "crop, 2 adds its mirror image, 10 adds the four corners and their mirror images. The "
            "time grows with the number of views.",
        )

    @property
    def settings(self) -> dict[str, int]:
        """{"views": n} if there are several views, else {}."""
        views = getattr(self.options, "views", 1)
        return {"views": views} if views > 1 else {}

    def inference(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the preprocessing and the net; returns (logits, bottleneck)."""
        views = self.settings.get("views", 1)
        with tf.variable_scope(cifar10.SCOPE):
            prepared = distortions.views(images, views)
            net = cifar10.inference(prepared, len(self.class_names))
        if views == 1:
            return net.logits, net.bottleneck
        bottlenecks = tf.reshape(net.bottleneck, [-1, views, net.bottleneck.shape.as_list()[-1]])
        return cifar10.mean_of_views(net.logits, views), tf.reduce_mean(bottlenecks, axis=1)

    def decoded(self, contents: tf.Tensor) -> tf.Tensor:
        """Adds the ops that decode a JPEG and resize it: float32 [1, 32, 32, 3] in [0, 255]."""
        picture = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
        return tf.image.resize_bilinear(tf.cast(picture, tf.float32)[None], self.image_shape[:2])

    def variables(self) -> Mapping[str, tf.Variable]:
        """Returns the variables to restore, by their names in the checkpoint.

        These are the names of the moving averages if the checkpoint contains them.
        """
        variables = {variable.op.name: variable for variable in tf.trainable_variables()}
        averages = {name + _AVERAGE: variable for name, variable in variables.items()}
        has_averages = averages.keys() <= checkpoints.shapes(self.prefix).keys()
        print(  # not on standard output, which may hold JSON
            f"Restoring the moving averages of the variables from '{self.prefix}'."
            if has_averages
            else f"'{self.prefix}' has no moving averages; restoring the variables themselves.",
            file=sys.stderr,
        )
        return averages if has_averages else variables

    def prepare(self, sess: tf.Session, tensors: trained.Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns the middle square of a picture, float32 [32, 32, 3] in [0, 255]."""
        square = pictures.middle_square(pictures.read(path), cifar10_input.IMAGE_SIZE)
        return np.asarray(square, np.float32)

    def examples(self, flags: argparse.Namespace, split: str) -> trained.Examples:
        """Returns the examples of a split; the validation split is what the run held out.

        Raises:
            UsageError: the data cannot be used or has another number of classes than the net.
        """
        folder, is_sample = cifar10_input.find(flags, self.flags)
        if split == TEST:
            records = cifar10_input.test_records(folder, flags.labels)
        else:
            every = cifar10_input.training_records(folder, flags.labels)
            parts = every.hold_out(self._validation_size)
            records = parts[0] if split == TRAIN else parts[1]
        if len(records.class_names) != len(self.class_names):
            raise UsageError(
                f"the net in '{self.prefix}' has {len(self.class_names)} classes, but the data has "
                f"{len(records.class_names)}; name the data that it was trained on with --data_dir"
            )

        def batches() -> Iterator[np.ndarray]:
            size = cifar10_input.EVALUATION_BATCH // self.settings.get("views", 1)
            for start in range(0, records.num_examples, size):
                yield records.images(range(start, min(start + size, records.num_examples)))

        return trained.Examples(records.labels, batches, records.pictures, is_sample)

    def accuracy_line(self, split: str, correct: int, count: int) -> str:
        """Returns the original's accuracy line, preceded by the counts."""
        views = f", with {self.settings['views']} views of each" if self.settings else ""
        return (
            f"Generation {self.step}: {correct} of {count} images correct{views}\n"
            f" --- {split.capitalize()} Accuracy= {100 * correct / count:.2f}%."
        )
