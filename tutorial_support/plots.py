"""Pictures for people: curves, confusion matrices, sheets of labelled images.

All functions write a PNG, replacing an older one in one step. Figures are made without pyplot,
so no global state and no screen is involved.
"""

import os
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tutorial_support import files
from tutorial_support.programs import one_line

_MOST_MISTAKES = 30  # on a sheet of misclassified images


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of `logits`, float [n, classes], computed in numpy."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def confusion_matrix(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Returns int [classes, classes]; rows are labels, columns predictions.

    Args:
        labels: int [n].
        logits: float [n, classes].
    """
    matrix = np.zeros((logits.shape[1],) * 2, int)
    np.add.at(matrix, (labels, logits.argmax(axis=1)), 1)
    return matrix


def print_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> None:
    """Prints a confusion matrix, int [classes, classes]."""
    names = [one_line(name) for name in class_names]
    width = max(6, *(len(name) + 2 for name in names))
    print("Confusion matrix (one row for each label, one column for each prediction):")
    print(" " * width + "".join(f"{name:>{width}}" for name in names))
    for name, row in zip(names, matrix, strict=True):
        print(f"{name:>{width}}" + "".join(f"{count:{width}d}" for count in row))


def draw_curves(
    folder: pathlib.Path,
    scalars: Mapping[str, tuple],
    title: str,
    mark: tuple[float, str] | None = None,
    x_axis: tuple[str, int] = ("step", 1),
) -> list[str]:
    """Draws loss.png and accuracy.png over the course of a run; returns the files' names.

    Args:
        folder: where they go.
        scalars: from `events.scalars`; the tags `loss/...` and `accuracy/...` are drawn. `loss`
            stands for `loss/train`, where that is not there.
        title: says which run it is.
        mark: (x, name) of a line across the plots; or None.
        x_axis: the unit of x, and how many steps it takes.
    """
    x_label, steps = x_axis
    drawn = []
    for quantity, y_label in (("loss", "cross entropy, nats"), ("accuracy", "share correct")):
        lines = {
            tag.partition("/")[2] or "train": (np.divide(at, steps), values)
            for tag, (at, values) in sorted(scalars.items())
            if tag.partition("/")[0] == quantity
        }
        name = f"{quantity}.png"
        curves(folder / name, lines, f"{quantity.capitalize()}: {title}", x_label, y_label, mark)
        drawn.append(name)
    return drawn


def draw_predictions(
    folder: pathlib.Path,
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    pictures: Callable[[np.ndarray], Sequence[np.ndarray]],
    title: str,
    ending: str = "",
) -> list[str]:
    """Draws confusion.png and misclassified.png; returns the files' names.

    Args:
        folder: where they go.
        labels: int [n].
        logits: float [n, classes].
        class_names: one for each class.
        pictures: function from an int array of indices to the images to draw, in [0, 1].
        title: says what was evaluated.
        ending: put at the end of the files' names.
    """
    matrix = confusion_matrix(labels, logits)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    names = [f"confusion{ending}.png", f"misclassified{ending}.png"]
    draw_confusion(folder / names[0], matrix, class_names, f"{title}, {accuracy:.2%} correct")
    probabilities = softmax(logits)
    predictions, sureness = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    surest = wrong[np.argsort(-sureness[wrong], kind="stable")][:_MOST_MISTAKES]
    picture_sheet(
        folder / names[1],
        pictures(surest) if len(surest) else [],
        [
            f"{class_names[labels[i]]} as {class_names[predictions[i]]} ({sureness[i]:.0%})"
            for i in surest
        ],
        f"{title}: {len(wrong)} of {len(labels)} misclassified, the surest mistakes first",
    )
    return names


def curves(
    path: str | os.PathLike,
    series: Mapping[str, tuple[Sequence, Sequence]],
    title: str,
    x_label: str,
    y_label: str,
    mark: tuple[float, str] | None = None,
) -> None:
    """Draws lines over a common axis.

    Args:
        path: the PNG to write.
        series: the x and y values of each line, by its name.
        title, x_label, y_label: above, below and beside the plot.
        mark: (x, name), where a line goes across the plot; or None.
    """
    figure, axes = _figure((7, 4))
    if mark is not None:
        axes.axvline(mark[0], label=mark[1], color="grey", linestyle="--", linewidth=1)
    for name, (x, y) in series.items():
        marker = "o" if len(x) < 10 else None
        axes.plot(x, y, label=one_line(name), marker=marker, linewidth=1.5)
    axes.set(title=one_line(title), xlabel=x_label, ylabel=one_line(y_label))
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend()
    _save(figure, path)


def draw_confusion(
    path: str | os.PathLike, matrix: np.ndarray, class_names: Sequence[str], title: str
) -> None:
    """Draws a confusion matrix, coloured by the share of each true class.

    Args:
        path: the PNG to write.
        matrix: from `confusion_matrix`.
        class_names: one for each class.
        title: above the plot.
    """
    size = 2.5 + 0.5 * len(class_names)
    figure, axes = _figure((size, size))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    names = [one_line(name) for name in class_names]
    axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) < 3 else 45)
    axes.set_yticks(range(len(names)), names)
    axes.set(title=one_line(title), xlabel="prediction", ylabel="label")
    _save(figure, path)


def scatter(
    path: str | os.PathLike,
    points: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    title: str,
) -> None:
    """Draws points, float [n, 2], in a plane, with one colour for each class; labels, int [n]."""
    figure, axes = _figure((7, 6))
    for label, name in enumerate(class_names):
        x, y = points[labels == label].T
        axes.scatter(x, y, s=14, alpha=0.7, label=one_line(name))
    axes.set(title=one_line(title), xticks=[], yticks=[])
    axes.legend()
    _save(figure, path)


def picture_sheet(
    path: str | os.PathLike,
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str,
    columns: int = 6,
) -> None:
    """Draws images in rows, each with a caption.

    Args:
        path: the PNG to write.
        images: n arrays [height, width] (grey: 0 black, 1 white) or [height, width, 3], in [0, 1].
        captions: n strings.
        title: above the sheet.
        columns: images in a row.
    """
    rows = max(1, -(-len(images) // columns))
    captions = [textwrap.fill(one_line(caption), 18) for caption in captions]
    lines = max((caption.count("\n") + bool(caption) for caption in captions), default=0)
    cell = 1 + 0.05 + 0.12 * lines  # high, where an image is 1 wide
    width, height = 1.05 * columns, cell * rows + 0.3
    # All in one coordinate system: one for each image would take a second to lay out.
    figure, axes = _figure((1.25 * width, 1.25 * height), layout=None)
    axes.set_position([0, 0, 1, 1])
    axes.axis("off")
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(number, columns)
        left, bottom = 1.05 * column + 0.025, cell * (rows - row) - cell + 0.025
        extent = (left, left + 1, bottom, bottom + 1)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent)
        axes.text(left + 0.5, bottom + 1.03, caption, fontsize=8, ha="center", va="bottom")
    axes.text(width / 2, height - 0.15, one_line(title), fontsize=10, ha="center", va="center")
    axes.set(xlim=(0, width), ylim=(0, height))
    _save(figure, path)


def _figure(size: tuple[float, float], layout: Any = "constrained") -> tuple[Any, Any]:
    import matplotlib  # half a second that only a plot should cost
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"text.parse_math": False}):  # "$" in a name is just a character
        figure = Figure(figsize=size, layout=layout)
        return figure, figure.subplots()


def _save(figure: Any, path: str | os.PathLike) -> None:
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}), files.replacing(path) as temporary:
        # The default level takes twice as long, for files an eighth smaller.
        figure.savefig(temporary, format="png", dpi=110, pil_kwargs={"compress_level": 2})
