"""A trained net: what evaluation, prediction and export need to know of it.

Each tutorial describes its net in a subclass of `TrainedNet`: how to rebuild it from a checkpoint,
what its classes are called, and how a picture becomes its input. `drivers.py` does the rest.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints, plots, runs
from tutorial_support.programs import UsageError, one_line


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one split.

    Attributes:
        labels: int [n].
        batches: function that returns the images in the same order, each batch as of
            `TrainedNet.images`.
        pictures: function from an int array of indices to images to look at, in [0, 1].
        is_sample: whether they come from the shipped sample.
    """

    labels: np.ndarray
    batches: Callable[[], Iterable[np.ndarray]]
    pictures: Callable[[np.ndarray], Sequence[np.ndarray]]
    is_sample: bool


@dataclasses.dataclass(frozen=True)
class Tensors:
    """The tensors of a net that was rebuilt.

    Attributes:
        images: float32 [n, *image_shape], the input.
        logits: float32 [n, classes].
        bottleneck: float32 [n, k], what the last layer sees; None if the net has no use for it.
        jpeg: string scalar, a second entrance for the bytes of one JPEG; None if it has none.
    """

    images: tf.Tensor
    logits: tf.Tensor
    bottleneck: tf.Tensor | None = None
    jpeg: tf.Tensor | None = None


class TrainedNet:
    """A checkpoint and how to use it.

    Attributes:
        tutorial: name of its package.
        default_checkpoint: the folder of a training with default flags.
        image_shape: of one image, as the net takes it.
        output: name of the op whose output is the probabilities, in a frozen graph.
        prefix: the checkpoint.
        step: how many steps it was trained; None where the checkpoint does not say.
        flags: those of its run, and facts on it; empty for a checkpoint without a run.
        class_names: one for each class.
        options: the values of the flags that `add_flags` adds; empty where nobody gave any.
    """

    tutorial: ClassVar[str]
    default_checkpoint: ClassVar[str]
    output: ClassVar[str] = "probabilities"
    image_shape: tuple[int, ...]
    class_names: list[str]

    def __init__(self, prefix: str, flags: dict[str, Any]) -> None:
        """Takes a checkpoint and its run's flags; subclasses read what they need of them.

        Raises:
            KeyError, TypeError, ValueError: the flags do not hold it.
        """
        self.prefix, self.flags = prefix, flags
        self.step = checkpoints.stored_step(prefix)
        self.options = argparse.Namespace()

    @staticmethod
    def add_flags(parser: argparse.ArgumentParser) -> None:
        """Adds flags that all programs with this net have, such as where a part of it has moved."""

    @property
    def settings(self) -> dict[str, Any]:
        """What flags of `add_flags` change about results, by which these are then named."""
        return {}

    @classmethod
    def find(
        cls, path: str | os.PathLike, options: argparse.Namespace | None = None
    ) -> "TrainedNet":
        """Returns the net that `path`, a run folder or one checkpoint, names.

        Args:
            options: with the flags of `add_flags`.

        Raises:
            UsageError: there is none, or it is of another tutorial.
        """
        prefix = checkpoints.find(path)
        folder = pathlib.Path(prefix).parent
        flags = runs.read_flags(folder)
        if (tutorial := flags.get("program", cls.tutorial)) != cls.tutorial:
            raise UsageError(
                f"'{prefix}' is a net of {one_line(str(tutorial))}, not {cls.tutorial}"
            )
        try:
            net = cls(prefix, flags)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"'{folder / runs.FLAGS_FILE}' does not say {error} of '{prefix}'; name a run of "
                f"{cls.tutorial}"
            ) from error
        net.options = options or net.options
        return net

    def build(self) -> Tensors:
        """Adds the net to the default graph: placeholder, net, and a JPEG's way in if it has one.

        Whatever the net takes can be fed to `images`. Where it is not, and a JPEG is, the picture
        comes from there.
        """
        shape = (None, *self.image_shape)
        jpeg = None
        if type(self).decoded is TrainedNet.decoded:
            images = tf.placeholder(tf.float32, shape, "images")
        else:
            jpeg = tf.placeholder(tf.string, (), "DecodeJpeg/contents")
            images = tf.placeholder_with_default(self.decoded(jpeg), shape, "images")
        logits, bottleneck = self.inference(images)
        return Tensors(images, logits, bottleneck, jpeg)

    def inference(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Adds the net; returns its logits, [n, classes], and its bottleneck, if it has one."""
        raise NotImplementedError

    def decoded(self, contents: tf.Tensor) -> tf.Tensor:
        """Adds the way from a picture's bytes, a string scalar, to `images`, [1, *image_shape]."""
        raise NotImplementedError

    def variables(self) -> Mapping[str, tf.Variable] | None:
        """Returns the variables to restore, by their names in the checkpoint; None for all."""
        return None

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[tf.Session, Tensors]]:
        """Rebuilds the net in a graph of its own and restores it; yields a session and tensors.

        Raises:
            UsageError: the checkpoint does not fit or is damaged.
        """
        with tf.Graph().as_default(), tf.Session(config=runs.session_config()) as sess:
            tensors = self.build()
            checkpoints.Saver(self.variables()).restore(sess, self.prefix)
            yield sess, tensors

    def prepare(self, sess: tf.Session, tensors: Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns a picture file as the net takes it, float32 [*image_shape].

        Raises:
            UsageError: the file holds no picture that can be used.
        """
        raise NotImplementedError

    @staticmethod
    def add_data_flags(parser: argparse.ArgumentParser) -> None:
        """Adds the flags that name data to evaluate on."""
        raise NotImplementedError

    def examples(self, flags: argparse.Namespace, split: str) -> Examples:
        """Returns the examples of a split of the data that the flags name, or else of the run's.

        Args:
            flags: with those of `add_data_flags`.
            split: one of tutorial_support.SPLITS.

        Raises:
            UsageError: the data cannot be used, or has other classes.
        """
        raise NotImplementedError

    def logits_of(self, examples: Examples) -> np.ndarray:
        """Returns the net's output for examples, float32 [n, classes]."""
        with self.opened() as (sess, tensors):
            batches = examples.batches()
            return np.concatenate([sess.run(tensors.logits, {tensors.images: x}) for x in batches])

    def accuracy_line(self, split: str, correct: int, count: int) -> str:
        """Returns what is printed about an accuracy."""
        return f"Accuracy on the {split} images = {correct / count:.1%} (N={count})"

    def prediction_lines(self, path: str, probabilities: np.ndarray, top: int) -> list[str]:
        """Returns what is printed about a picture; probabilities, float [classes]."""
        places = likeliest(probabilities, top)
        return [path] + [
            f"  {probabilities[i]:7.2%}  {one_line(self.class_names[i])}" for i in places
        ]


def likeliest(probabilities: np.ndarray, top: int) -> np.ndarray:
    """Returns the indices of the `top` largest probabilities, the largest first."""
    return np.argsort(-probabilities, kind="stable")[:top]


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax of logits, float [n, classes]."""
    return plots.softmax(logits)
