"""Pictures for people: curves, confusion matrices, sheets of labelled images.

All functions write a PNG, replacing an older one in one step. Figures are made without pyplot,
so no global state and no screen is involved.
"""

import textwrap

import numpy as np

from tutorial_support import files


def curves(path, series, title, x_label, y_label, mark=None):
    """Draws lines over a common axis.

    Args:
        path: the PNG to write.
        series: dict from the line's name to a pair (x values, y values).
        title: above the plot.
        x_label: below the plot.
        y_label: beside the plot.
        mark: (x, name), where a line goes across the plot; or None.
    """
    figure, axes = _figure((7, 4))
    if mark is not None:
        axes.axvline(mark[0], label=mark[1], color="grey", linestyle="--", linewidth=1)
    for name, (x, y) in series.items():
        axes.plot(x, y, label=name, marker="o" if len(x) < 10 else None, linewidth=1.5)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend()
    _save(figure, path)


def confusion_matrix(path, matrix, class_names, title):
    """Draws a confusion matrix, coloured by the share of each true class.

    Args:
        path: the PNG to write.
        matrix: int array [classes, classes]; rows are labels, columns predictions.
        class_names: a string a class.
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
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=0 if max(map(len, class_names)) < 3 else 45)
    axes.set_yticks(ticks, class_names)
    axes.set(title=title, xlabel="prediction", ylabel="label")
    _save(figure, path)


def scatter(path, points, labels, class_names, title):
    """Draws points in a plane, a colour a class.

    Args:
        path: the PNG to write.
        points: float [n, 2].
        labels: int [n].
        class_names: a string a class.
        title: above the plot.
    """
    figure, axes = _figure((7, 6))
    for label, name in enumerate(class_names):
        x, y = points[labels == label].T
        axes.scatter(x, y, s=14, alpha=0.7, label=name)
    axes.set(title=title, xticks=[], yticks=[])
    axes.legend()
    _save(figure, path)


def picture_sheet(path, images, captions, title, columns=6):
    """Draws images in rows, each with a caption.

    Args:
        path: the PNG to write.
        images: n arrays [height, width] (grey: 0 black, 1 white) or [height, width, 3], in [0, 1].
        captions: n strings.
        title: above the sheet.
        columns: images in a row.
    """
    rows = max(1, -(-len(images) // columns))
    captions = [textwrap.fill(caption, 18) for caption in captions]
    lines = max((caption.count("\n") + bool(caption) for caption in captions), default=0)
    cell = 1 + 0.05 + 0.12 * lines  # high, where an image is 1 wide
    width, height = 1.05 * columns, cell * rows + 0.3
    # All in one coordinate system: laying out a system an image takes a second.
    figure, axes = _figure((1.25 * width, 1.25 * height), layout=None)
    axes.set_position([0, 0, 1, 1])
    axes.axis("off")
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(number, columns)
        left, bottom = 1.05 * column + 0.025, cell * (rows - row) - cell + 0.025
        extent = (left, left + 1, bottom, bottom + 1)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent)
        axes.text(left + 0.5, bottom + 1.03, caption, fontsize=8, ha="center", va="bottom")
    axes.text(width / 2, height - 0.15, title, fontsize=10, ha="center", va="center")
    axes.set(xlim=(0, width), ylim=(0, height))
    _save(figure, path)


def _figure(size, layout="constrained"):
    from matplotlib.figure import Figure  # half a second that only a plot should cost

    figure = Figure(figsize=size, layout=layout)
    return figure, figure.subplots()


def _save(figure, path):
    with files.replacing(path) as temporary:
        # The default level takes twice as long, for files an eighth smaller.
        figure.savefig(temporary, format="png", dpi=110, pil_kwargs={"compress_level": 2})
