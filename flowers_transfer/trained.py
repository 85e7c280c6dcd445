"""A trained head and its base: how to join them, what they take, what they were trained on."""

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
    """See trained.TrainedNet; images are float32 [n, size, size, 3], prepared for the base."""

    tutorial = "flowers_transfer"
    default_checkpoint = retrain.TRAIN_DIR
    output = head.FINAL_TENSOR

    def __init__(self, prefix: str, flags: dict[str, Any]) -> None:
        """See trained.TrainedNet."""
        super().__init__(prefix, flags)
        self.class_names = list(flags["class_names"])
        self.image_shape = (base_graph.Base(**flags["base"]).size,) * 2 + (3,)

    @staticmethod
    def add_flags(parser: argparse._ActionsContainer) -> None:
        """Adds the flag that says where the base is now."""
        parser.add_argument(
            "--base_graph", help="The base's frozen graph, where it has moved since the training."
        )

    @functools.cached_property
    def base(self) -> base_graph.FrozenGraph:
        """The base, checked to be that of the training."""
        return base_graph.find_kept(self.flags, getattr(self.options, "base_graph", None))

    def build(self) -> trained.Tensors:
        """Adds base and head: from a JPEG, a decoded or a prepared picture to logits."""
        self._attached = base_graph.attach(self.base)
        vectors = self._attached.bottlenecks
        logits = head.inference(vectors, len(self.class_names))
        return trained.Tensors(self._attached.images, logits, vectors, self._attached.contents)

    def prepare(self, sess: tf.Session, tensors: trained.Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns a picture prepared by the very function that the training used."""
        return bottlenecks.prepare_picture(sess, self._attached, path)

    @staticmethod
    def add_data_flags(parser: argparse.ArgumentParser) -> None:
        """Adds the flags that name images."""
        group = parser.add_argument_group("data")
        one = group.add_mutually_exclusive_group()
        one.add_argument("--image_dir", help="Folder of class folders; else that of the training.")
        one.add_argument("--sample", action="store_true", help="Use the shipped drawings.")
        group.add_argument("--bottleneck_dir", help="Where bottlenecks are kept; else as before.")

    def examples(self, flags: argparse.Namespace, split: str) -> trained.Examples:
        """Returns the bottlenecks of a split, in the place of its images."""
        wanted = argparse.Namespace(**self.flags | vars(flags))
        images, facts = bottlenecks.create_image_lists(wanted, self.flags)
        if list(images.class_names) != self.class_names:
            names = one_line(", ".join(images.class_names))
            raise UsageError(
                f"'{images.folder}' has the classes {names}, the head was trained on "
                f"{one_line(', '.join(self.class_names))}; name a folder of those with --image_dir"
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
        """Returns the head's output for bottlenecks; the base has no part in it."""
        logits: list[np.ndarray] = []
        with tf.Graph().as_default(), tf.Session(config=runs.session_config()) as sess:
            for vectors in examples.batches():
                if not logits:
                    bottleneck_input, _ = head.placeholder_inputs(vectors.shape[1])
                    output = head.inference(bottleneck_input, len(self.class_names))
                    checkpoints.Saver().restore(sess, self.prefix)
                logits.append(sess.run(output, {bottleneck_input: vectors}))
        return np.concatenate(logits)

    def prediction_lines(self, path: str, probabilities: np.ndarray, top: int) -> list[str]:
        """Returns the original's lines."""
        places = trained.likeliest(probabilities, top)
        lines = (
            f"  {one_line(self.class_names[i])} (score = {probabilities[i]:.5f})" for i in places
        )
        return [path, *lines]
