"""What the training program writes to the event file, beside the test accuracy."""

import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10

LAYERS = ("conv1", "conv2", "full1", "full2")


def scalars(loss, rate):
    """Adds summaries of the loss and the learning rate; returns them merged."""
    return tf.summary.merge(
        [tf.summary.scalar("loss", loss), tf.summary.scalar("learning_rate", rate)]
    )


def activations(images):
    """Adds summaries of some images as the net sees them and of each layer's activations.

    Args:
        images: float32 [batch, CROP_SIZE, CROP_SIZE, 3], standardized.

    Returns:
        the merged summary: images, and for each layer the histogram and the share of zeros.
    """
    parts = [tf.summary.image("images", images, max_outputs=6)]
    for layer in LAYERS:
        output = tf.get_default_graph().get_tensor_by_name(f"{cifar10.SCOPE}/{layer}/Relu:0")
        parts.append(tf.summary.histogram(f"activations/{layer}", output))
        parts.append(tf.summary.scalar(f"sparsity/{layer}", tf.nn.zero_fraction(output)))
    return tf.summary.merge(parts)
