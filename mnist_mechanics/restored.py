"""A trained net, rebuilt from its checkpoint alone: for evaluation, prediction and export."""

import contextlib
import dataclasses

import tensorflow.compat.v1 as tf

from mnist_mechanics import fully_connected_feed, mnist
from tutorial_support import checkpoints, sessions

DEFAULT_UNITS = {"hidden1": 128, "hidden2": 32}


@dataclasses.dataclass(frozen=True)
class RestoredNet:
    """A net in a graph of its own, with a session that holds its trained variables.

    Attributes:
        checkpoint: string, the checkpoint's prefix.
        step: int, the global step that is stored in it; None where there is none.
        sess: tf.Session.
        images: placeholder, float32 [batch, IMAGE_PIXELS], pixels in [0, 1].
        labels: placeholder, int32 [batch].
        logits: float32 [batch, NUM_CLASSES].
    """

    checkpoint: str
    step: int | None
    sess: tf.Session
    images: tf.Tensor
    labels: tf.Tensor
    logits: tf.Tensor


@contextlib.contextmanager
def net(path):
    """Builds the net for a checkpoint and restores it; its graph is the default one meanwhile.

    The layers get the sizes that they have in the checkpoint, so that no flag need repeat them.

    Args:
        path: a run folder, for its newest checkpoint, or one checkpoint; see `checkpoints.find`.

    Yields:
        a RestoredNet.

    Raises:
        UsageError: there is no such checkpoint, or it is of another net.
    """
    prefix = checkpoints.find(path)
    shapes = checkpoints.shapes(prefix)
    with tf.Graph().as_default():
        images, labels = fully_connected_feed.placeholder_inputs()
        logits = mnist.inference(images, _units(shapes, "hidden1"), _units(shapes, "hidden2"))
        saver = tf.train.Saver()
        with tf.Session(config=sessions.config()) as sess:
            checkpoints.restore(saver, sess, prefix)
            step = checkpoints.stored_step(prefix)
            yield RestoredNet(prefix, step, sess, images, labels, logits)


def _units(shapes, layer):
    """Returns the layer's size in the checkpoint; where it has none, restoring will say so."""
    shape = shapes.get(f"{layer}/weights", [])
    return shape[1] if len(shape) == 2 else DEFAULT_UNITS[layer]
