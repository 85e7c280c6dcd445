"""Draws curves, confusion matrices and sheets of labelled images.

All functions write a PNG and replace an older file atomically. They do not use pyplot, so they
need no global state and no screen.
"""

import contextlib
import os
import pathlib
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tutorial_support import SPLITS, files, user_text

_MOST_MISTAKES = 25  # on a sheet of misclassified images
_MOST_PAIRS = 20  # of confused classes
_MOST_NAMED = 30  # classes; a table with the names of more is unreadable
_LONGEST_LABEL = 90  # characters
_LONGEST_TITLE = 160  # characters, over several lines
# A figure is about this wide, so that a page can show it at half its size and text stays readable.
_WIDTH = 6.0  # inches
_DPI = 140
_CAPTION = 9  # points


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


def most_confused(matrix: np.ndarray) -> list[tuple[int, int, int]]:
    """Returns the most frequent mistakes as (label, prediction, count), most frequent first.

    Args:
        matrix: from `confusion_matrix`.
    """
    mistakes = matrix - np.diag(np.diag(matrix))
    places = np.argsort(-mistakes, axis=None, kind="stable")[:_MOST_PAIRS]
    pairs = zip(*np.unravel_index(places, matrix.shape), strict=True)
    return [(int(i), int(j), int(matrix[i, j])) for i, j in pairs if mistakes[i, j]]


def print_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> None:
    """Prints a confusion matrix, or for many classes only the most frequent mistakes.

    Args:
        matrix: from `confusion_matrix`.
        class_names: one name per class.
    """
    names = list(map(user_text.short, class_names))
    if len(names) > _MOST_NAMED:
        print(f"Most frequent mistakes among {len(names)} classes (label as prediction: images):")
        pairs = [f"  {names[i]} as {names[j]}: {count}" for i, j, count in most_confused(matrix)]
        print("\n".join(pairs or ["  none"]))
        return
    width = max(6, len(str(matrix.max())) + 1, *(user_text.columns(name) + 2 for name in names))
    print("Confusion matrix (one row per label, one column per prediction):")
    print(" " * width + "".join(user_text.right_aligned(name, width) for name in names))
    for name, row in zip(names, matrix, strict=True):
        print(user_text.right_aligned(name, width) + "".join(f"{count:{width}d}" for count in row))


def draw_curves(
    folder: pathlib.Path,
    scalars: Mapping[str, tuple],
    title: str,
    mark: tuple[float, str] | None = None,
    x_axis: tuple[str, int] = ("step", 1),
) -> list[str]:
    """Draws loss.png and accuracy.png, the curves of a run; returns the files' names.

    Args:
        folder: the folder for the files.
        scalars: from `event_files.scalars`; the tags `loss/...` and `accuracy/...` are drawn. The
            tag `loss` counts as `loss/train` if that is missing.
        title: names the run.
        mark: (x, name) of a vertical line in both plots, or None.
        x_axis: the unit of x, and the number of steps per unit.
    """
    x_label, steps = x_axis
    drawn = []
    for quantity, y_label in (("loss", "cross entropy, nats"), ("accuracy", "share correct")):
        found = {
            tag.partition("/")[2] or "train": (np.divide(at, steps), values)
            for tag, (at, values) in sorted(scalars.items())
            if tag.partition("/")[0] == quantity
        }
        # This order gives each split the same colour in both plots.
        lines = {name: found[name] for name in sorted(found, key=[*SPLITS, *found].index)}
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
        folder: the folder for the files.
        labels: int [n].
        logits: float [n, classes].
        class_names: one name per class.
        pictures: function from an int array of indices to the images to draw, in [0, 1].
        title: says what was evaluated.
        ending: appended to the files' names.
    """
    matrix = confusion_matrix(labels, logits)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    names = [f"confusion{ending}.png", f"misclassified{ending}.png"]
    draw_confusion(folder / names[0], matrix, class_names, f"{title}, {accuracy:.2%} correct")
    predictions = logits.argmax(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    sureness = softmax(logits[wrong]).max(axis=1)
    surest = np.argsort(-sureness, kind="stable")[:_MOST_MISTAKES]
    captions = []
    for i, sure in zip(wrong[surest], sureness[surest], strict=True):
        label, prediction = (user_text.short(class_names[k]) for k in (labels[i], predictions[i]))
        captions.append(f"{label} as {prediction} ({sure:.0%})")
    picture_sheet(
        folder / names[1],
        pictures(wrong[surest]) if len(surest) else [],
        captions,
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
    """Draws lines over a common x axis.

    Args:
        path: the PNG to write.
        series: (x values, y values) of each line, by name.
        title, x_label, y_label: the texts above, below and next to the plot.
        mark: (x, name) of a vertical line, or None.
    """
    with _drawing(path, title, (_WIDTH, 3.6)) as axes:
        if mark is not None:
            axes.axvline(mark[0], label=mark[1], color="grey", linestyle="--", linewidth=1)
        for name, (x, y) in series.items():
            marker = "o" if len(x) < 10 else None
            label = user_text.drawable(name, _LONGEST_LABEL)
            axes.plot(x, y, label=label, marker=marker, linewidth=1.5)
        axes.set(xlabel=x_label, ylabel=user_text.drawable(y_label, _LONGEST_LABEL))
        axes.grid(alpha=0.3)
        if series:
            axes.legend()


def draw_confusion(
    path: str | os.PathLike, matrix: np.ndarray, class_names: Sequence[str], title: str
) -> None:
    """Draws a confusion matrix, coloured by the share of each true class.

    For many classes, it omits names and numbers and draws the most frequent mistakes next to it.

    Args:
        path: the PNG to write.
        matrix: from `confusion_matrix`.
        class_names: one name per class.
        title: the text above the plot.
    """
    names = list(map(user_text.drawable, class_names))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    if len(names) > _MOST_NAMED:
        _draw_many_classes(path, matrix, shares, names, title)
        return
    longest = max(map(len, names))
    size = max(4, 1.4 + 0.4 * len(names) + 0.06 * longest)
    with _drawing(path, title, (size, size)) as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                style = {"ha": "center", "va": "center", "color": colour, "fontsize": 8}
                axes.text(column, row, str(count), **style)
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if longest > 2 else {}
        axes.set_xticks(range(len(names)), names, **slanted)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="prediction", ylabel="label")


def _draw_many_classes(
    path: str | os.PathLike,
    matrix: np.ndarray,
    shares: np.ndarray,
    names: Sequence[str],
    title: str,
) -> None:
    pairs = most_confused(matrix)
    with _drawing(path, title, (1.5 * _WIDTH, 5), columns=2) as (left, right):
        left.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        left.set(xlabel="prediction (class number)", ylabel="label")
        right.barh(range(len(pairs)), [count for *_, count in pairs])
        right.set_yticks(range(len(pairs)), [f"{names[i]} as {names[j]}" for i, j, _ in pairs])
        right.invert_yaxis()
        right.set(title="most frequent mistakes", xlabel="images")


def scatter(
    path: str | os.PathLike,
    points: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    title: str,
) -> None:
    """Draws points, float [n, 2], with one colour per class; labels are int [n].

    For many classes, it writes the names of the largest classes at the median of their points.
    """
    few = len(class_names) <= _MOST_NAMED // 3  # matplotlib has that many colours
    with _drawing(path, title, (_WIDTH, 5)) as axes:
        axes.set(xticks=[], yticks=[])
        if few:
            for label, name in enumerate(class_names):
                x, y = points[labels == label].T
                axes.scatter(x, y, s=14, alpha=0.7, label=user_text.drawable(name))
            axes.legend()
            return
        axes.scatter(*points.T, c=labels, cmap="turbo", s=14, alpha=0.7)
        sizes = np.bincount(labels, minlength=len(class_names))
        for label in np.argsort(-sizes, kind="stable")[:_MOST_NAMED]:
            if sizes[label]:
                x, y = np.median(points[labels == label], axis=0)
                axes.text(x, y, user_text.drawable(class_names[label]), fontsize=8, ha="center")


def picture_sheet(
    path: str | os.PathLike,
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str,
    columns: int = 5,
) -> None:
    """Draws rows of images with captions.

    Args:
        path: the PNG to write.
        images: n arrays [height, width] (grey: 0 black, 1 white) or [height, width, 3], in [0, 1].
        captions: n strings.
        title: the text above the sheet.
        columns: images per row.
    """
    rows = max(1, -(-len(images) // columns))
    # In the sheet's coordinates an image has a width of 1; that is `inch` inches on paper.
    width = 1.05 * columns
    inch = min(1.4, _WIDTH / width)
    in_a_line = int(inch * 72 / (0.6 * _CAPTION))
    captions = [
        textwrap.fill(user_text.drawable(caption, 80), in_a_line, max_lines=5, placeholder="...")
        for caption in captions
    ]
    lines = max((caption.count("\n") + bool(caption) for caption in captions), default=0)
    line = 1.25 * _CAPTION / 72 / inch
    cell = 1.05 + line * (lines + 0.3 * bool(lines))
    title = _title(title, inch * width)
    above = 1.4 * line * (title.count("\n") + 1.5)
    height = cell * rows + above
    # Use one coordinate system for all images; laying out one per image would take a second.
    with _drawing(path, "", (inch * width, inch * height), layout=None) as axes:
        axes.set_position([0, 0, 1, 1])
        axes.axis("off")
        for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
            row, column = divmod(number, columns)
            left, bottom = 1.05 * column + 0.025, cell * (rows - row) - cell + 0.025
            extent = (left, left + 1, bottom, bottom + 1)
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent)
            below = {"ha": "center", "va": "bottom", "fontsize": _CAPTION}
            axes.text(left + 0.5, bottom + 1.03, caption, **below)
        axes.text(width / 2, height - above / 2, title, fontsize=11, ha="center", va="center")
        axes.set(xlim=(0, width), ylim=(0, height))


def _title(text: str, inches: float) -> str:
    """Returns a title, wrapped to the width of a figure."""
    return textwrap.fill(user_text.drawable(text, _LONGEST_TITLE), int(11 * inches))


@contextlib.contextmanager
def _drawing(
    path: str | os.PathLike,
    title: str,
    size: tuple[float, float],
    columns: int = 1,
    layout: Any = "constrained",
) -> Iterator[Any]:
    """Yields the axes of a figure (an array of axes if `columns` is above 1), then saves it."""
    import matplotlib  # takes half a second, so only when something is drawn
    from matplotlib.figure import Figure

    # Do not parse "$" in names as mathematics. A text takes this setting when it is created.
    settings: Any = {"text.parse_math": False, "font.family": user_text.fonts()}
    with matplotlib.rc_context(), files.replacing(path) as temporary:
        matplotlib.rcdefaults()  # a user's settings may need LaTeX, or make pictures huge
        matplotlib.rcParams.update(settings)
        title = _title(title, size[0])
        further_lines = 0.25 * title.count("\n")  # inches
        figure = Figure(figsize=(size[0], size[1] + further_lines), dpi=_DPI, layout=layout)
        axes = figure.subplots(ncols=columns)
        # Centre the title over the figure; centred over the axes, it could exceed an edge.
        figure.suptitle(title, fontsize=11)
        yield axes
        # The default level takes twice as long and makes the files only an eighth smaller.
        figure.savefig(temporary, format="png", pil_kwargs={"compress_level": 2})
