"""What is drawn about a trained head, and about the bottlenecks that it sees."""

import csv
import io

import numpy as np
from tensorboard.plugins import projector

from tutorial_support import classification, events, files, pictures, plots, progress

MOST_POINTS = 2000  # bottlenecks in the projections
_THUMBNAIL = 160  # pixels


def report_run(run, found, testing, logits, list_mistakes):
    """Prints the final test accuracy and draws what a run ends with into its folder.

    Args:
        run: runs.RunFolder, whose event files hold the curves.
        found: bottlenecks.Bottlenecks of all images.
        testing: int array, the indices of the test images.
        logits: float32 [len(testing), classes], the head's output for them.
        list_mistakes: whether to print which images are misclassified.
    """
    _draw_curves(run)
    draw_bottlenecks(run, found)
    drawn = ["accuracy.png", "cross_entropy.png", "bottlenecks.png"]
    if len(testing):
        images = found.images.only(testing)
        matrix, accuracy = classification.evaluated(images.labels, logits)
        progress.say(f"Final test accuracy = {accuracy:.1%} (N={len(testing)})")
        if list_mistakes:
            _say_mistakes(images, logits)
        draw_test(run.path, images, logits, matrix, f"Test images, {accuracy:.1%} correct")
        drawn += ["confusion.png", "misclassified.png"]
    if found.bad:
        progress.say(f"Pictures that could not be read and were left out: {len(found.bad)}")
        progress.say("\n".join(f"  {sentence}" for sentence in found.bad))
    progress.say(f"Pictures: {run.path}/{', '.join(drawn)}")


def draw_test(folder, images, logits, matrix, title):
    """Draws confusion.png and misclassified.png.

    Args:
        folder: pathlib.Path.
        images: image_lists.ImageList.
        logits: float32 [n, classes], the head's output for them.
        matrix: from `classification.evaluated`.
        title: above the matrix.
    """
    plots.confusion_matrix(folder / "confusion.png", matrix, images.class_names, title)
    classification.draw_mistakes(
        folder / "misclassified.png",
        lambda chosen: [thumbnail(path) for path in images.files(chosen)],
        images.labels,
        logits,
        images.class_names,
    )


def _draw_curves(run):
    scalars = events.scalars(run.path)
    for quantity, y_label in (("accuracy", "share correct"), ("cross_entropy", "nats")):
        lines = {
            tag.partition("/")[2]: line
            for tag, line in scalars.items()
            if tag.startswith(f"{quantity}/")
        }
        title = quantity.replace("_", " ").capitalize()
        plots.curves(run.file(f"{quantity}.png"), lines, title, "step", y_label)


def _say_mistakes(images, logits):
    predictions = logits.argmax(axis=1)
    progress.say("=== MISCLASSIFIED TEST IMAGES ===")
    for i in np.flatnonzero(predictions != images.labels):
        progress.say(f"{images.paths[i]}  {images.class_names[predictions[i]]}")


def thumbnail(path):
    """Returns the middle square of a picture file, float [side, side, 3] in [0, 1]."""
    image = pictures.read(path, largest=2 * _THUMBNAIL)
    return np.asarray(pictures.middle_square(image, _THUMBNAIL)) / 255


def draw_bottlenecks(run, found):
    """Draws the bottlenecks in a plane, and writes them out for TensorBoard's projector.

    Args:
        run: runs.RunFolder.
        found: bottlenecks.Bottlenecks; of more than MOST_POINTS, evenly spread ones are taken.
    """
    count = len(found.images.paths)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))
    vectors, images = found.read(chosen), found.images.only(chosen)
    points, share = principal_plane(vectors)
    plots.scatter(
        run.file("bottlenecks.png"),
        points,
        images.labels,
        images.class_names,
        f"{len(chosen)} bottlenecks in the plane of their widest spread ({share:.0%} of it)",
    )
    # One row at a time: all the numbers as strings at once take a quarter of a gigabyte.
    _write_table(run.file("bottlenecks.tsv"), ([f"{x:.6g}" for x in row] for row in vectors))
    rows = [
        [images.class_names[label], path]
        for label, path in zip(images.labels, images.paths, strict=True)
    ]
    _write_table(run.file("bottlenecks_labels.tsv"), [["class", "image"], *rows])
    config = projector.ProjectorConfig()
    config.embeddings.add(
        tensor_name="bottlenecks",
        tensor_path="bottlenecks.tsv",
        metadata_path="bottlenecks_labels.tsv",
    )
    files.write_text(run.file("projector_config.pbtxt"), str(config))


def principal_plane(vectors):
    """Returns the vectors' coordinates along their two principal axes.

    Args:
        vectors: float [n, k], n at least 2.

    Returns:
        (float [n, 2], the share of the variance that lies in this plane).
    """
    centred = vectors - vectors.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    points = (left * spread)[:, :2]
    return points, float(np.sum(spread[:2] ** 2) / max(np.sum(spread**2), 1e-30))


def _write_table(path, rows):
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    files.write_text(path, text.getvalue().encode("utf-8", "replace").decode())
