"""The description of a trained net that evaluation, prediction and export use.

Each tutorial describes its net in a subclass of `TrainedNet`: how to rebuild it from a checkpoint,
its class names, and how to prepare a picture as its input. `drivers.py` does the rest.
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

from tutorial_support import checkpoints, runs
from tutorial_support.programs import UsageError, one_line


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one split.

    Attributes:
        labels: int [n].
        batches: function that returns the images in the same order, in batches as for
            `Tensors.images`.
        pictures: function from an int array of indices to images for drawing, in [0, 1].
        is_sample: whether the examples come from the shipped sample.
    """

    labels: np.ndarray
    batches: Callable[[], Iterable[np.ndarray]]
    pictures: Callable[[np.ndarray], Sequence[np.ndarray]]
    is_sample: bool


@dataclasses.dataclass(frozen=True)
class Tensors:
    """The tensors of a rebuilt net.

    Attributes:
        images: float32 [n, *image_shape], the input.
        logits: float32 [n, classes].
        bottleneck: float32 [n, k], the input of the last layer; None if it is not exported.
        jpeg: string scalar, an alternative input for the bytes of one JPEG; None if there is none.
    """

    images: tf.Tensor
    logits: tf.Tensor
    bottleneck: tf.Tensor | None = None
    jpeg: tf.Tensor | None = None


class TrainedNet:
    """A checkpoint and how to use it.

    Attributes:
        tutorial: name of the tutorial's package.
        default_checkpoint: the run folder of a training with default flags.
        image_shape: shape of one image as the net takes it.
        output: name of the frozen graph's op that outputs the probabilities.
        prefix: the checkpoint.
        step: the checkpoint's global step; None if it does not contain one.
        flags: flags and facts of its run; empty for a checkpoint without a run.
        class_names: one name per class.
        options: values of the flags that `add_flags` adds; empty if none were given.
    """

    tutorial: ClassVar[str]
    default_checkpoint: ClassVar[str]
    output: ClassVar[str] = "probabilities"
    image_shape: tuple[int, ...]
    class_names: list[str]

    def __init__(self, prefix: str, flags: dict[str, Any]) -> None:
        """Takes a checkpoint and the flags of its run; subclasses read what they need from them.

        Raises:
            KeyError, TypeError, ValueError: the flags do not contain it.
        """
        self.prefix, self.flags = prefix, flags
        self.step = checkpoints.stored_step(prefix)
        self.options = argparse.Namespace()

    @staticmethod
    def add_flags(parser: argparse._ActionsContainer) -> None:
        """Adds flags for all programs that use this net, such as the new place of a moved file."""

    @property
    def settings(self) -> dict[str, Any]:
        """The options that affect results, by name; they become part of the results' names."""
        return {}

    @classmethod
    def find(
        cls, path: str | os.PathLike, options: argparse.Namespace | None = None
    ) -> "TrainedNet":
        """Returns the net of a checkpoint.

        Args:
            path: a run folder or a checkpoint, as for `checkpoints.find`.
            options: with the flags of `add_flags`.

        Raises:
            UsageError: there is no checkpoint, or it belongs to another tutorial.
        """
        prefix = checkpoints.find(path)
        folder = pathlib.Path(prefix).parent
        flags = runs.read_flags(folder)
        if (tutorial := flags.get("program", cls.tutorial)) != cls.tutorial:
            raise UsageError(
                f"'{prefix}' is a net of {one_line(str(tutorial))}, not {cls.tutorial}; use that "
                "tutorial's program or name another checkpoint"
            )
        try:
            net = cls(prefix, flags)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"'{folder / runs.FLAGS_FILE}' has no usable entry {error}, which is needed to "
                f"rebuild the net of '{prefix}'; name a run of {cls.tutorial}"
            ) from error
        net.options = options or net.options
        return net

    def build(self) -> Tensors:
        """Adds the placeholder, the net and, if `decoded` exists, the JPEG input to the graph.

        The input is fed to `images`. If a JPEG is fed instead, `images` defaults to its picture.
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
        """Adds the net; returns (logits [n, classes], bottleneck [n, k] or None)."""
        raise NotImplementedError

    def decoded(self, contents: tf.Tensor) -> tf.Tensor:
        """Adds the ops that turn a picture's bytes, a string scalar, into [1, *image_shape]."""
        raise NotImplementedError

    def variables(self) -> Mapping[str, tf.Variable] | None:
        """Returns the variables to restore, by their names in the checkpoint; None means all."""
        return None

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[tf.Session, Tensors]]:
        """Rebuilds the net in a new graph and restores it; yields a session and the tensors.

        Raises:
            UsageError: the checkpoint does not fit or is damaged.
        """
        with runs.graph_to_restore().as_default(), tf.Session(config=runs.session_config()) as sess:
            tensors = self.build()
            checkpoints.Saver(self.variables()).restore(sess, self.prefix)
            yield sess, tensors

    def prepare(self, sess: tf.Session, tensors: Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns a picture file prepared as input of the net: float32 [*image_shape].

        Raises:
            UsageError: the file is not a usable picture.
        """
        raise NotImplementedError

    @staticmethod
    def add_data_flags(parser: argparse.ArgumentParser) -> None:
        """Adds the data flags of the evaluation."""
        raise NotImplementedError

    def examples(self, flags: argparse.Namespace, split: str) -> Examples:
        """Returns the examples of a split of the data that the flags name, or else the run's data.

        Args:
            flags: with those of `add_data_flags`.
            split: one of tutorial_support.SPLITS.

        Raises:
            UsageError: the data cannot be used or has other classes.
        """
        raise NotImplementedError

    def logits_of(self, examples: Examples) -> np.ndarray:
        """Returns the net's logits for the examples, float32 [n, classes]."""
        with self.opened() as (sess, tensors):
            batches = examples.batches()
            return np.concatenate([sess.run(tensors.logits, {tensors.images: x}) for x in batches])

    def accuracy_line(self, split: str, correct: int, count: int) -> str:
        """Returns the line or lines to print for an evaluation."""
        return f"Accuracy on the {split} images = {correct / count:.1%} (N={count})"

    def prediction_lines(self, path: str, probabilities: np.ndarray, top: int) -> list[str]:
        """Returns the lines to print for a picture with these probabilities, float [classes]."""
        best = likeliest(probabilities, top)
        return [path] + [
            f"  {probabilities[i]:7.2%}  {one_line(self.class_names[i])}" for i in best
        ]


def likeliest(probabilities: np.ndarray, top: int) -> np.ndarray:
    """Returns the indices of the `top` largest probabilities, largest first."""
    return np.argsort(-probabilities, kind="stable")[:top]
