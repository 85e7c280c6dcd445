"""A trained net, for evaluation, prediction and export."""

import dataclasses
import pathlib

import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2
from tutorial_support import checkpoints, runs
from tutorial_support.programs import UsageError


@dataclasses.dataclass(frozen=True)
class TrainedNet:
    """What is known of a trained net.

    Attributes:
        prefix: its checkpoint.
        step: int, how many steps it was trained.
        class_names: list of strings.
        alpha: float, its width.
        image_size: pixels, height and width of its photos.
        flags: dict of the run's flags.
    """

    prefix: str
    step: int
    class_names: list
    alpha: float
    image_size: int
    flags: dict

    def inference(self, images):
        """Adds the net to the default graph.

        Args:
            images: float32 [batch, image_size, image_size, 3] in [-1, 1].

        Returns:
            (bottlenecks, float32 [batch, channels]; class logits, float32 [batch, classes]).
        """
        bottlenecks = mobilenet_v2.bottlenecks(mobilenet_v2.features(images, self.alpha))
        logits = mobilenet_v2.inference(bottlenecks, len(self.class_names))
        return bottlenecks, mobilenet_v2.class_logits(logits)

    def restore(self, sess):
        """Restores the net's variables, which must be all of the session's graph."""
        checkpoints.restore(tf.train.Saver(), sess, self.prefix)


def find(path):
    """Returns the TrainedNet that `path`, a run folder or one checkpoint, names.

    Raises:
        UsageError: there is none, or its flags.json does not go with it.
    """
    prefix = checkpoints.find(path)
    folder = pathlib.Path(prefix).parent
    flags = runs.read_flags(folder)
    try:
        return TrainedNet(
            prefix,
            checkpoints.stored_step(prefix),
            flags["class_names"],
            flags["alpha"],
            flags["image_size"],
            flags,
        )
    except KeyError as error:
        raise UsageError(
            f"'{folder / runs.FLAGS_FILE}' does not tell {error} of '{prefix}'; name a run of "
            "python -m catsdogs_finetune.train"
        ) from error
