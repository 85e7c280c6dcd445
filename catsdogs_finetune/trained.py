"""Rebuilds the trained classifier from a run folder: graph, inputs and data."""

import argparse
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, photo_input, train
from tutorial_support import trained
from tutorial_support.programs import UsageError, one_line


class TrainedNet(trained.TrainedNet):
    """A trained classifier; its `images` are float32 [n, size, size, 3] in [0, 255]."""

    tutorial = "catsdogs_finetune"
    default_checkpoint = train.TRAIN_DIR

    def __init__(self, prefix: str, flags: dict[str, Any]) -> None:
        """Reads class names, image size and width from the run's flags."""
        super().__init__(prefix, flags)
        self.class_names = list(flags["class_names"])
        self._size = int(flags["image_size"])
        self._alpha = float(flags["alpha"])
        self.image_shape = (self._size, self._size, 3)

    def inference(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the net without dropout; returns class logits [n, classes], bottlenecks [n, k]."""
        with tf.name_scope("scaling"):
            scaled = photo_input.scale(images)
        features, self._layers = mobilenet_v2.features(scaled, self._alpha)
        bottlenecks = mobilenet_v2.bottlenecks(features)
        logits = mobilenet_v2.inference(bottlenecks, len(self.class_names))
        return mobilenet_v2.class_logits(logits), bottlenecks

    def variables(self) -> Mapping[str, tf.Variable]:
        """Returns the net's variables by their names in checkpoints, the same as in Keras."""
        return mobilenet_v2.names_in_checkpoints(self._layers)

    def decoded(self, contents: tf.Tensor) -> tf.Tensor:
        """Adds the training's decoding of a picture's bytes: float32 [1, size, size, 3]."""
        with tf.name_scope("decoding"):
            return photo_input.decode(contents, self._size)[None]

    def prepare(self, sess: tf.Session, tensors: trained.Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns a picture prepared for the net, float32 [size, size, 3] in [0, 255]."""
        return photo_input.run_on_picture(sess, tensors.images, tensors.jpeg, path)[0]

    @staticmethod
    def add_data_flags(parser: argparse.ArgumentParser) -> None:
        """Adds the flags for the data."""
        photo_input.add_flags(parser)

    def examples(self, flags: argparse.Namespace, split: str) -> trained.Examples:
        """Returns the examples of a split without unreadable pictures."""
        images = photo_input.find(flags, self.flags)
        if list(images.class_names) != self.class_names:
            here, there = (
                one_line(", ".join(names)) for names in (images.class_names, self.class_names)
            )
            raise UsageError(
                f"'{images.folder}' has the classes {here}, but the net was trained on {there}; "
                "use --data_dir to name a folder with these"
            )
        images, _ = photo_input.readable(images.only(images.of_split(split)))
        everything = np.arange(len(images.paths))

        def batches() -> Iterator[np.ndarray]:
            return photo_input.photos(images, everything, self._size)

        def pictures(chosen: np.ndarray) -> list[np.ndarray]:
            return photo_input.to_draw(images, chosen, self._size)

        return trained.Examples(images.labels, batches, pictures, flags.sample)

    def accuracy_line(self, split: str, correct: int, count: int) -> str:
        """Returns the line that reports the accuracy, as training prints it."""
        return photo_input.accuracy_line(split, correct / count, count)
