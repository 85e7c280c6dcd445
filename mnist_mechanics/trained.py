"""The trained MNIST net: how to rebuild it, prepare its input and find its data."""

import argparse
import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import fully_connected_feed, input_data, mnist, pictures
from tutorial_support import checkpoints, trained

_BATCH = 1000  # images
_UNITS = {"hidden1": 128, "hidden2": 32}  # the original's, if flags and checkpoint give no size


class TrainedNet(trained.TrainedNet):
    """A trained.TrainedNet whose images are float32 [n, IMAGE_PIXELS] in [0, 1]; ink is 1."""

    tutorial = "mnist_mechanics"
    default_checkpoint = fully_connected_feed.LOG_DIR
    image_shape = (mnist.IMAGE_PIXELS,)
    class_names = input_data.CLASS_NAMES
    add_data_flags = staticmethod(input_data.add_flags)

    def inference(self, images: tf.Tensor) -> tuple[tf.Tensor, None]:
        """Adds the net; the layer sizes come from the run's flags, or else the checkpoint."""
        shapes = checkpoints.shapes(self.prefix)

        def units(layer: str) -> int:
            shape = shapes.get(f"{layer}/weights", [])
            return self.flags.get(layer) or (shape[1] if len(shape) == 2 else _UNITS[layer])

        return mnist.inference(images, units("hidden1"), units("hidden2")), None

    def prepare(self, sess: tf.Session, tensors: trained.Tensors, path: pathlib.Path) -> np.ndarray:
        """Returns a picture as float32 [IMAGE_PIXELS] in [0, 1]; see `pictures.prepare`."""
        return pictures.prepare(path)

    def examples(self, flags: argparse.Namespace, split: str) -> trained.Examples:
        """Returns the examples of a split."""
        data_sets, facts = input_data.load(flags, self.flags)
        data_set = getattr(data_sets, split)

        def batches():
            return (images for images, _ in data_set.batches(_BATCH))

        return trained.Examples(
            data_set.labels, batches, data_set.pictures, facts.get("sample", False)
        )

    def accuracy_line(self, split: str, correct: int, count: int) -> str:
        """Returns the original's two evaluation lines."""
        return (
            f"{input_data.TITLES[split]} Data Eval:\nNum examples: {count}  "
            f"Num correct: {correct}  Precision @ 1: {correct / count:0.04f}"
        )

    def prediction_lines(self, path: str, probabilities: np.ndarray, top: int) -> list[str]:
        """Returns a line with the most likely digit and a line with all ten probabilities."""
        best = int(np.argmax(probabilities))
        pairs = zip(self.class_names, probabilities, strict=True)
        every = "  ".join(f"{name}: {probability:.4f}" for name, probability in pairs)
        return [f"{path}: {best} ({probabilities[best]:.1%})", f"  {every}"]
