"""Judging a classifier's output: probabilities, confusion matrices, its surest mistakes."""

import numpy as np

from tutorial_support import plots


def softmax(logits):
    """Returns the probabilities of `logits`, float [n, classes], computed in numpy."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def confusion_matrix(labels, predictions, num_classes):
    """Returns int [num_classes, num_classes]; rows are labels, columns predictions."""
    matrix = np.zeros((num_classes, num_classes), int)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def evaluated(labels, logits):
    """Returns (confusion matrix, accuracy).

    Args:
        labels: int [n].
        logits: float [n, classes].
    """
    matrix = confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1])
    return matrix, np.trace(matrix) / matrix.sum()


def say_likeliest(probabilities, class_names, top):
    """Prints the `top` likeliest classes of one example; probabilities, float [classes]."""
    for place in np.argsort(-probabilities, kind="stable")[:top]:
        print(f"  {probabilities[place]:7.2%}  {class_names[place]}")


def say_confusion(matrix, class_names):
    """Prints a confusion matrix."""
    width = max(6, *(len(name) + 2 for name in class_names))
    print("Confusion matrix (a row a label, a column a prediction):")
    print(" " * width + "".join(f"{name:>{width}}" for name in class_names))
    for name, row in zip(class_names, matrix, strict=True):
        print(f"{name:>{width}}" + "".join(f"{count:{width}d}" for count in row))


def draw_mistakes(path, pictures, labels, logits, class_names, most=30):
    """Draws the wrong predictions of which the net was surest, the surest first.

    Args:
        path: the PNG to write.
        pictures: function from an int array of indices to the images to draw, in [0, 1].
        labels: int [n].
        logits: float [n, classes].
        class_names: a string a class.
        most: how many to draw at most.
    """
    probabilities = softmax(logits)
    predictions, sureness = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    surest = wrong[np.argsort(-sureness[wrong], kind="stable")][:most]
    plots.picture_sheet(
        path,
        pictures(surest),
        [
            f"{class_names[labels[i]]} as {class_names[predictions[i]]} ({sureness[i]:.0%})"
            for i in surest
        ],
        f"{len(wrong)} of {len(labels)} images misclassified; the surest mistakes",
    )
