"""What is drawn about a trained net and its predictions."""

import numpy as np

from tutorial_support import classification, events, plots, progress

EVALUATION_BATCH = 500  # images
FILTERS = "conv1/conv_kernel1"  # of the net, within its scope


def draw_run(run, class_names, filters, logits, labels, images):
    """Draws the pictures that a training ends with into its run folder.

    Args:
        run: runs.RunFolder, whose event files hold the curves.
        class_names: a string a class.
        filters: float32 [5, 5, 3, 64], the kernel of the first convolution.
        logits: float32 [n, classes], the net's output for the test images.
        labels: int32 [n].
        images: float32 [n, CROP_SIZE, CROP_SIZE, 3], the test images as the net sees them.
    """
    scalars = events.scalars(run.path)
    for tag, name, title, y_label in (
        ("loss", "loss.png", "Softmax Loss per Generation", "Softmax Loss"),
        ("test_accuracy", "accuracy.png", "Test Accuracy", "Accuracy"),
    ):
        lines = {tag: scalars[tag]} if tag in scalars else {}
        plots.curves(run.file(name), lines, title, "Generation", y_label)
    matrix, accuracy = classification.evaluated(labels, logits)
    plots.confusion_matrix(
        run.file("confusion.png"), matrix, class_names, f"Test images, {accuracy:.2%} correct"
    )
    classification.draw_mistakes(
        run.file("mistakes.png"),
        lambda chosen: brighten(images[chosen]),
        labels,
        logits,
        class_names,
    )
    plots.picture_sheet(
        run.file("filters.png"),
        brighten(filters.transpose(3, 0, 1, 2)),
        [""] * filters.shape[-1],
        "The first layer's filters, each stretched to its own range",
        columns=8,
    )
    progress.say(
        f"Pictures: {run.path}/loss.png, accuracy.png, confusion.png, mistakes.png, filters.png"
    )


def brighten(images):
    """Returns images, float [n, height, width, 3], each stretched linearly to [0, 1]."""
    low = images.min(axis=(1, 2, 3), keepdims=True)
    high = images.max(axis=(1, 2, 3), keepdims=True)
    return (images - low) / np.maximum(high - low, 1e-12)
