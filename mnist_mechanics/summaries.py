"""What the training programs write to the event file beside the original's scalar."""

import tensorflow.compat.v1 as tf

from mnist_mechanics import mnist


def add_full(images):
    """Adds histograms of every weight, bias and hidden activation, and a few of the images.

    Call it after `mnist.inference`; `tf.summary.merge_all` then finds them.

    Args:
        images: float32 [batch, IMAGE_PIXELS] in [0, 1], what the net is given.
    """
    for variable in tf.trainable_variables():
        tf.summary.histogram(f"variables/{variable.op.name}", variable)
    for layer in ("hidden1", "hidden2"):
        activations = tf.get_default_graph().get_tensor_by_name(f"{layer}/Relu:0")
        tf.summary.histogram(f"activations/{layer}", activations)
        tf.summary.scalar(f"sparsity/{layer}", tf.nn.zero_fraction(activations))
    pictures = tf.reshape(images, [-1, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE, 1])
    tf.summary.image("images", pictures, max_outputs=6)
