"""What is drawn about the photos, about a training, and about what came of it."""

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import photo_input
from tutorial_support import classification, events, plots, progress, sessions

_NINE = 9
_TEST_BATCH = 32  # images on the sheet of predictions


def draw_input(run, images, training, size, distort, seed):
    """Draws nine training images, and what augmentation makes of one of them.

    Args:
        run: runs.RunFolder; examples.png and augmentations.png go there.
        images: image_lists.ImageList.
        training: int array, the indices of the training images.
        size: pixels, height and width.
        distort: as of `photo_input.training_batches`.
        seed: int, chooses the nine.
    """
    chosen = np.random.default_rng(seed).permutation(training)[:_NINE]
    photos = load(images, chosen, size)
    with tf.Graph().as_default(), tf.Session(config=sessions.config()) as sess:
        copies = tf.constant(np.repeat(photos[:1], _NINE, axis=0) * 255)
        distorted = sess.run(distort(copies, tf.constant([seed, 0], tf.int64))) / 255
    names = [images.class_names[label] for label in images.labels[chosen]]
    _draw(run.file("examples.png"), photos, names, "Training images")
    _draw(
        run.file("augmentations.png"),
        distorted,
        [""] * _NINE,
        f"What the net may see of one of them ({names[0]})",
    )


def _draw(path, photos, captions, title, columns=3):
    plots.picture_sheet(path, np.clip(photos, 0, 1), captions, title, columns)


def load(images, chosen, size):
    """Returns photos as the net gets them, float32 [n, size, size, 3], but in [0, 1].

    Args:
        images: image_lists.ImageList.
        chosen: int array of n indices.
        size: pixels, height and width.
    """
    with tf.Graph().as_default(), tf.Session(config=sessions.config()) as sess:
        iterator = tf.data.make_initializable_iterator(
            photo_input.evaluation_batches(images, chosen, size, len(chosen))
        )
        photos, _ = iterator.get_next()
        (values,) = sessions.one_pass(sess, iterator, photos)
    return (values + 1) / 2


def draw_curves(run, steps, initial_epochs):
    """Draws accuracy.png and loss.png over the epochs, from the event files of the run.

    Args:
        run: runs.RunFolder.
        steps: int, the steps of an epoch.
        initial_epochs: int, the epochs before the start of fine-tuning.
    """
    scalars = events.scalars(run.path)
    for quantity, y_label in (("accuracy", "share correct"), ("loss", "cross entropy, nats")):
        lines = {}
        for split in ("training", "validation"):
            at, values = scalars.get(f"{quantity}/{split}", ([], []))
            lines[split] = (np.array(at) / steps, values)
        plots.curves(
            run.file(f"{quantity}.png"),
            lines,
            quantity.capitalize(),
            "epoch",
            y_label,
            (initial_epochs, "start of fine-tuning"),
        )


def report_split(folder, images, logits, size, split):
    """Prints the accuracy on a split and draws its pictures.

    Args:
        folder: pathlib.Path.
        images: image_lists.ImageList of the split.
        logits: float32 [n, classes], from `mobilenet_v2.class_logits`.
        size: pixels, height and width, of the photos to draw.
        split: its name.
    """
    predictions = logits.argmax(axis=1)
    matrix, accuracy = classification.evaluated(images.labels, logits)
    progress.say(f"Accuracy on the {split} images: {accuracy:.4f} ({len(logits)} images)")
    classification.say_confusion(matrix, images.class_names)
    title = f"{split.capitalize()} images, {accuracy:.1%} correct"
    plots.confusion_matrix(folder / "confusion.png", matrix, images.class_names, title)
    first = np.random.default_rng(0).permutation(len(logits))[:_TEST_BATCH]
    captions = []
    for label, prediction in zip(images.labels[first], predictions[first], strict=True):
        mistake = f" (is: {images.class_names[label]})" if label != prediction else ""
        captions.append(images.class_names[prediction] + mistake)
    _draw(
        folder / "predictions.png",
        load(images, first, size),
        captions,
        f"Predictions for {len(first)} {split} images",
        columns=8,
    )
    classification.draw_mistakes(
        folder / "misclassified.png",
        lambda chosen: load(images, chosen, size) if len(chosen) else [],
        images.labels,
        logits,
        images.class_names,
    )
    progress.say(f"Pictures: {folder}/predictions.png, confusion.png, misclassified.png")
