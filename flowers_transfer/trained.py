"""Rebuilds a trained head and its base from a run folder: graph, inputs and data."""

import argparse
import functools
import pathlib
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, bottlenecks, head, retrain
from tutorial_support import checkpoints, runs, trained
from tutorial_support.programs import UsageError, one_line


class TrainedNet(trained.TrainedNet):
    """A head on its base; `images` are float32 [n, size, size, 3], prepared for the base."""

    tutorial = "flowers_transfer"
    default_checkpoint = retrain.TRAIN_DIR
    output = head.FINAL_TENSOR

    def __init__(self, prefix: str, flags: dict[str, Any]) -> None:
        """Reads class names and the base's image size from the run's flags."""
        super().__init__(prefix, flags)
        self.class_names = list(flags["class_names"])
        self.image_shape = (base_graph.Base(**flags["base"]).size,) * 2 + (3,)

    @staticmethod
    def add_flags(parser: argparse._ActionsContainer) -> None:
        """Adds the flag for a base that has moved."""
        parser.add_argument(
            "--base_graph",
            metavar="FILE",
            help="The frozen graph of the base, if it has moved since the training.",
        )

    @functools.cached_property
    def base(self) -> base_graph.FrozenGraph:
        """The base of the training; raises UsageError if it is missing or another graph."""
        return base_graph.find_kept(self.flags, getattr(self.options, "base_graph", None))

    def build(self) -> trained.Tensors:
        """Adds base and head: a JPEG, a decoded picture or prepared ones -> logits."""
        self._attached = base_graph.attach(self.base)
        vectors = self._attached.bottlenecks
        logits = head.inference(vectors, len(self.class_names))
        return trained.Tensors(self._attached.images, logits, vectors, self._attached.contents)

    def prepare(self, sess: tf.Session, tensors: trained.Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns a prepared picture, float32 [size, size, 3], from the training's own function."""
        return bottlenecks.prepare_picture(sess, self._attached, path)

    @staticmethod
    def add_data_flags(parser: argparse.ArgumentParser) -> None:
        """Adds the flags for images and bottlenecks."""
        group = parser.add_argument_group("data")
        one = group.add_mutually_exclusive_group()
        images = "A folder with one folder of images per class; by default that of the training."
        one.add_argument("--image_dir", help=images)
        one.add_argument("--sample", action="store_true", help="Use the shipped drawings.")
        kept = "The folder for bottlenecks; by default that of the training."
        group.add_argument("--bottleneck_dir", help=kept)

    def examples(self, flags: argparse.Namespace, split: str) -> trained.Examples:
        """Returns the examples of a split: bottlenecks, float32 [n, k], instead of images."""
        wanted = argparse.Namespace(**self.flags | vars(flags))
        images, facts = bottlenecks.create_image_lists(wanted, self.flags)
        if list(images.class_names) != self.class_names:
            names = one_line(", ".join(images.class_names))
            raise UsageError(
                f"'{images.folder}' has the classes {names}, but the head was trained on "
                f"{one_line(', '.join(self.class_names))}; use --image_dir to name a folder with "
                "these"
            )
        folder = flags.bottleneck_dir or self.flags["bottleneck_dir"]
        found = bottlenecks.get_or_create_bottleneck(self.base, images, folder)
        chosen = found.images.only(found.images.of_split(split))
        return trained.Examples(
            chosen.labels,
            functools.partial(bottlenecks.get_test_bottlenecks, found, split),
            functools.partial(bottlenecks.thumbnails, chosen),
            facts["sample"],
        )

    def logits_of(self, examples: trained.Examples) -> np.ndarray:
        """Returns the logits, float32 [n, classes]; runs only the head, on stored bottlenecks."""
        logits: list[np.ndarray] = []
        with runs.graph_to_restore().as_default(), tf.Session(config=runs.session_config()) as sess:
            for vectors in examples.batches():
                if not logits:
                    bottleneck_input, _ = head.placeholder_inputs(vectors.shape[1])
                    output = head.inference(bottleneck_input, len(self.class_names))
                    checkpoints.Saver().restore(sess, self.prefix)
                logits.append(sess.run(output, {bottleneck_input: vectors}))
        return np.concatenate(logits)

    def prediction_lines(self, path: str, probabilities: np.ndarray, top: int) -> list[str]:
        """Returns the lines to print for one picture, in the original's format."""
        places = trained.likeliest(probabilities, top)
        lines = (
            f"  {one_line(self.class_names[i])} (score = {probabilities[i]:.5f})" for i in places
        )
        return [path, *lines]
