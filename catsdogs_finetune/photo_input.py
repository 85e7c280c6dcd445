"""From class folders to batches of photos, with tf.data.

What the net sees in step k, and how it is distorted, is a pure function of (seed, k). Pictures are
decoded and resized as Keras' `image_dataset_from_directory` does, to the last bit.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from tutorial_support import SPLITS, TEST, archives, files, image_lists, pictures, plots, runs
from tutorial_support.programs import LOG, UsageError, number, reason

# AutoGraph would translate each function of a pipeline first, which takes longer than to trace it.
_as_it_is = tf.autograph.experimental.do_not_convert

FOLDER, SAMPLE = "cats_and_dogs_filtered", "drawn_cats_and_dogs"
ARCHIVE = files.RemoteFile(
    f"{FOLDER}.zip",
    68_606_236,
    None,  # none is published; a zip holds a CRC-32 of each file
    (f"https://storage.googleapis.com/mledu-datasets/{FOLDER}.zip",),
)
TRAIN, HELD_OUT = "train", "validation"  # folders of class folders
TITLES = {"train": "training", "validation": "validation", "test": "testing"}  # of the splits
# Percent of the images held out, as in the original: what training validates on is never tested on.
TESTING_OF_HELD_OUT = 20
# Percent of all images, where nothing is held out in a folder of its own.
TESTING, VALIDATION = 10, 20
IMAGE_SIZE, SAMPLE_IMAGE_SIZE = 160, 96  # pixels: the original's, and what is enough for drawings
_THREADS = min(16, os.cpu_count() or 1)  # each may hold a picture of several megapixels
_EVALUATION_BATCH = 32  # images

# A function that distorts pictures, float32 [batch, size, size, 3], in the way that a seed,
# int64 [2], chooses.
Distort = Callable[[tf.Tensor, Any], tf.Tensor]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where the images come from, of which at most one can be given."""
    group = parser.add_argument_group("data").add_mutually_exclusive_group()
    group.add_argument(
        "--data_dir",
        help="A folder with the folders train and validation, each with a folder for each class; "
        "or a folder with a folder for each class; by default the published photos are downloaded "
        "once.",
    )
    group.add_argument("--sample", action="store_true", help="Use the shipped drawings.")


def add_augmentation_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how training images are distorted."""
    add = parser.add_argument_group("augmentation").add_argument
    add("--rotation", type=number(float, 0, 0.5), default=0.2, help="Largest part of a whole turn.")
    add(
        "--no_augmentation",
        action="store_true",
        help="Neither turn nor mirror training images; the frozen base then sees each only once.",
    )


def distortion(flags: argparse.Namespace) -> Distort:
    """Returns what these flags ask for."""
    if flags.no_augmentation:
        return no_distortion
    return functools.partial(rotate_and_flip, flags.rotation)


def report_accuracy(images: image_lists.ImageList, logits: np.ndarray) -> float:
    """Prints and returns the accuracy on the test images, and prints the confusion matrix."""
    matrix = plots.confusion_matrix(images.labels, logits)
    accuracy = np.trace(matrix) / len(logits)
    runs.print_line(accuracy_line(TEST, accuracy, len(logits)))
    plots.print_confusion(matrix, images.class_names)
    return accuracy


def accuracy_line(split: str, accuracy: float, count: int) -> str:
    """Returns what is printed about the accuracy on `count` images of a split."""
    return f"Accuracy on the {TITLES[split]} images: {accuracy:.4f} ({count} images)"


def find(flags: argparse.Namespace, kept: dict[str, Any]) -> image_lists.ImageList:
    """Lists the images that the flags name, or else those of the run whose flags were kept.

    Settles `flags.data_dir`, which is None unless it was named, and `flags.sample`.
    """
    if not (flags.data_dir or flags.sample):
        flags.sample = kept.get("sample", False)
        flags.data_dir = None if flags.sample else kept.get("data_dir")
    what = "drawings of cats and dogs, not photos"
    folder, flags.sample = archives.find_images(
        flags.data_dir, flags.sample, ARCHIVE, FOLDER, SAMPLE, what
    )
    if flags.data_dir:
        flags.data_dir = str(folder.resolve())
    return find_images(folder)


def load(
    flags: argparse.Namespace, kept: dict[str, Any]
) -> tuple[image_lists.ImageList, dict[str, Any]]:
    """Finds the images as `find` does and leaves out the bad ones; says how many there are.

    Settles `flags.image_size`, too.

    Returns:
        the images, and the facts about them that a run keeps.

    Raises:
        UsageError: the images cannot be used.
    """
    found = find(flags, kept)
    if flags.image_size is None:
        flags.image_size = SAMPLE_IMAGE_SIZE if flags.sample else IMAGE_SIZE
    images, bad = readable(found)
    found.check_training(bad)
    counts = {split: len(images.of_split(split)) for split in SPLITS}
    for split, count in counts.items():
        if not count:
            why = bad[found.paths[found.of_split(split)[0]]]
            raise UsageError(f"no {TITLES[split]} image of '{images.folder}' can be read: {why}")
    described = ", ".join(f"{count} {TITLES[split]}" for split, count in counts.items())
    runs.print_line(f"{described} images in '{images.folder}'.")
    return images, {"images": images.fingerprint(), "class_names": list(images.class_names)}


def find_images(folder: str | os.PathLike) -> image_lists.ImageList:
    """Lists the images of a folder and divides them into training, validation and test images.

    Args:
        folder: with the folders `train` and `validation`, each with a folder for each class; the
            test images are then a fifth of the held-out ones. Or with a folder for each class: then
            the images are divided. A hash of its path says where an image belongs.

    Returns:
        image_lists.ImageList.

    Raises:
        UsageError: the folder does not hold that.
    """
    folder = pathlib.Path(folder)
    if not all((folder / part).is_dir() for part in (TRAIN, HELD_OUT)):
        return image_lists.create(folder, TESTING, VALIDATION, flag="--data_dir")
    parts = {
        TRAIN: image_lists.create(folder / TRAIN, 0, 0, flag="--data_dir"),
        HELD_OUT: image_lists.create(
            folder / HELD_OUT, TESTING_OF_HELD_OUT, 100 - TESTING_OF_HELD_OUT, flag="--data_dir"
        ),
    }
    class_names = [images.class_names for images in parts.values()]
    if class_names[0] != class_names[1]:
        raise UsageError(
            f"--data_dir: '{folder / TRAIN}' has the classes {', '.join(class_names[0])}, "
            f"'{folder / HELD_OUT}' {', '.join(class_names[1])}; give both the same folders"
        )
    return image_lists.ImageList(
        folder,
        class_names[0],
        tuple(f"{part}/{path}" for part, images in parts.items() for path in images.paths),
        np.concatenate([images.labels for images in parts.values()]),
        np.concatenate([images.splits for images in parts.values()]),
    )


def decode(contents: tf.Tensor, size: int) -> tf.Tensor:
    """Adds the decoding and resizing of one picture.

    Args:
        contents: string scalar, from `pictures.encoded`.
        size: pixels, height and width.

    Returns:
        float32 [size, size, 3] in [0, 255], the whole picture, whatever its proportions.
    """
    picture = tf.io.decode_image(contents, channels=3, expand_animations=False)
    # The op takes several formats, and so knows no shape before it runs. What we know, we add.
    picture.set_shape([None, None, 3])
    resized = tf.image.resize_bilinear(
        tf.cast(picture, tf.float32)[None], [size, size], half_pixel_centers=True
    )
    return resized[0]


def scale(images: Any) -> Any:
    """Brings pixels from [0, 255] to [-1, 1], as the net takes them."""
    return images / 127.5 - 1


def run_on_picture(
    sess: tf.Session, fetches: Any, contents: tf.Tensor, path: str | os.PathLike
) -> Any:
    """Returns the values of what depends on a picture.

    Args:
        sess: the session.
        fetches: as of `Session.run`.
        contents: the placeholder that `decode` was given.
        path: a PNG or JPEG file.

    Raises:
        UsageError: the file is no whole PNG or JPEG.
    """
    try:
        return sess.run(fetches, {contents: pictures.encoded(path)})
    except tf.errors.InvalidArgumentError as error:
        raise UsageError(
            f"{path}: cannot be decoded ({reason(error)}); save the picture again"
        ) from error


def unreadable(images: image_lists.ImageList) -> dict[str, str]:
    """Decodes every picture once; returns what is wrong with each bad one, by its path."""
    with tf.Graph().as_default(), tf.Session(config=runs.session_config()) as sess:
        contents = tf.placeholder(tf.string, ())
        decoded = decode(contents, 1).op  # an op is run like a tensor, but nothing comes back

        def verdict(path):
            try:
                run_on_picture(sess, decoded, contents, images.folder / path)
            except UsageError as error:
                return str(error)
            return None

        with (
            concurrent.futures.ThreadPoolExecutor(_THREADS) as threads,
            files.progress_bar(len(images.paths), "checking", unit="image") as bar,
        ):
            bad = {}
            for path, sentence in zip(
                images.paths, threads.map(verdict, images.paths), strict=True
            ):
                bar.update()
                if sentence:
                    bad[path] = sentence
            return bad


def readable(images: image_lists.ImageList) -> tuple[image_lists.ImageList, dict[str, str]]:
    """Returns the list without the bad pictures, which it logs, and `unreadable` of it."""
    bad = unreadable(images)
    for sentence in bad.values():
        LOG.warning("left out: %s", sentence)
    return images.without(bad), bad


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Returns how many batches `count` images make; the last one may be smaller."""
    return -(-count // batch_size)


def index_batches(
    chosen: np.ndarray, batch_size: int, seed: int, first_step: tf.Tensor
) -> tf.data.Dataset:
    """Builds the order of training as a tf.data pipeline that never ends.

    Args:
        chosen: int array [n], the indices of the training images.
        batch_size: images in a batch.
        seed: of the order; every epoch has one of its own.
        first_step: int64 scalar tensor, the number of batches to start after.

    Returns:
        a tf.data.Dataset of int64 [batch], a part of `chosen`.
    """
    steps = steps_per_epoch(len(chosen), batch_size)

    @_as_it_is
    def of_epoch(epoch):
        # Stateless: it draws from the seed that it is given, here another one for each epoch.
        order = tf2.random.experimental.stateless_shuffle(
            tf.constant(chosen, tf.int64), seed=[tf.constant(seed, tf.int64), epoch]
        )
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    epochs = tf.data.Dataset.range(first_step // steps, tf.int64.max)
    return epochs.flat_map(of_epoch).skip(first_step % steps)


def training_batches(
    images: image_lists.ImageList,
    chosen: np.ndarray,
    size: int,
    batch_size: int,
    seed: int,
    first_step: tf.Tensor,
    distort: Distort,
) -> tf.data.Dataset:
    """Builds the training batches as a tf.data pipeline that never ends.

    Args:
        images: good pictures.
        size: pixels, height and width.
        chosen, batch_size, seed, first_step: as of `index_batches`.
        distort: is given a seed that differs from step to step.

    Returns:
        a tf.data.Dataset of (float32 [batch, size, size, 3] in [-1, 1], int32 [batch]).
    """
    load = _loader(images, size)

    @_as_it_is
    def prepare(step, indices):
        loaded, labels = load(indices)
        return scale(distort(loaded, tf.stack([tf.constant(seed, tf.int64), step]))), labels

    # enumerate() tells each batch its step, so that a resumed run distorts as it would have.
    batches = index_batches(chosen, batch_size, seed, first_step).enumerate(first_step)
    # Threads of TensorFlow's own load and distort two batches ahead, while the net computes.
    return batches.map(prepare, num_parallel_calls=_THREADS, deterministic=True).prefetch(2)


def evaluation_batches(
    images: image_lists.ImageList, chosen: Any, size: int, batch_size: int
) -> tf.data.Dataset:
    """Builds one pass over images in their order, the last partial batch included.

    Args:
        images, size, batch_size: as of `training_batches`.
        chosen: int64 [n], a tensor or an array, the indices of the images.

    Returns:
        a tf.data.Dataset of (float32 [batch, size, size, 3] in [-1, 1], int32 [batch]).
    """
    load = _loader(images, size)

    @_as_it_is
    def prepare(indices):
        loaded, labels = load(indices)
        return scale(loaded), labels

    batches = tf.data.Dataset.from_tensor_slices(tf.cast(chosen, tf.int64)).batch(batch_size)
    return batches.map(prepare, num_parallel_calls=_THREADS, deterministic=True).prefetch(2)


class PhotoInput:
    """The input of a training program's graph: training batches, or one pass over other images.

    Both come out of the same two tensors, so that there is one net for both. What is fed to a
    placeholder says which of the two iterators they are read from.

    Attributes:
        images: float32 [batch, size, size, 3] in [-1, 1].
        labels: int32 [batch].
        next_indices: int64 [batch], the order of the training images by itself.
        training_feed: the feed dictionary that makes training batches come; after `begin`.
    """

    def __init__(
        self,
        images: image_lists.ImageList,
        chosen: np.ndarray,
        flags: argparse.Namespace,
        distort: Distort,
    ) -> None:
        """Adds the iterators.

        Args:
            images, chosen, distort: as of `training_batches`.
            flags: with `image_size`, `batch_size` and `seed`.
        """
        size, batch_size, seed = flags.image_size, flags.batch_size, flags.seed
        with tf.name_scope("input"):
            self._first_step = tf.placeholder(tf.int64, (), "first_step")
            self._to_evaluate = tf.placeholder(tf.int64, [None], "to_evaluate")
            self._dataset = tf.placeholder(tf.string, (), "dataset")
            training = training_batches(
                images, chosen, size, batch_size, seed, self._first_step, distort
            )
            evaluation = evaluation_batches(images, self._to_evaluate, size, batch_size)
            order = index_batches(chosen, batch_size, seed, self._first_step)
            # An iterator is a resource of the session, as a variable is: it keeps its place from
            # run to run, and it needs an initializer to begin.
            self._training = tf.data.make_initializable_iterator(training)
            self._evaluation = tf.data.make_initializable_iterator(evaluation)
            self._order = tf.data.make_initializable_iterator(order)
            self.next_indices = self._order.get_next()
            # This one has no data of its own. The string that is fed names the one to read from.
            self.images, self.labels = tf.data.Iterator.from_string_handle(
                self._dataset,
                tf.data.get_output_types(training),
                tf.data.get_output_shapes(training),
            ).get_next()

    def begin(self, sess: tf.Session, first_step: int, first_photo_step: int) -> None:
        """Sets the training batches and their order to begin after so many steps each."""
        sess.run(self._order.initializer, {self._first_step: first_step})
        sess.run(self._training.initializer, {self._first_step: first_photo_step})
        self.training_feed = {self._dataset: sess.run(self._training.string_handle())}

    def evaluation_feed(self, sess: tf.Session, chosen: np.ndarray) -> dict[tf.Tensor, Any]:
        """Returns the feed dictionary that makes the images with the indices `chosen` come."""
        sess.run(self._evaluation.initializer, {self._to_evaluate: chosen})
        return {self._dataset: sess.run(self._evaluation.string_handle())}

    def one_pass(self, sess: tf.Session, fetches: Any, chosen: np.ndarray) -> Iterator[Any]:
        """Yields the values of fetches for batches of the images with the indices `chosen`."""
        return until_end(sess, fetches, self.evaluation_feed(sess, chosen))


def until_end(sess: tf.Session, fetches: Any, feed_dict: dict | None = None) -> Iterator[Any]:
    """Yields the values of fetches until the iterator that they are read from is at its end."""
    while True:
        try:
            yield sess.run(fetches, feed_dict)
        except tf.errors.OutOfRangeError:
            return


def photos(images: image_lists.ImageList, chosen: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields batches of photos as the net sees them, float32 [batch, size, size, 3] in [0, 255].

    Args:
        images: good pictures.
        chosen: the indices of those that are wanted.
        size: pixels, height and width.
    """
    with tf.Graph().as_default() as graph:
        batches = tf.data.Dataset.from_tensor_slices(np.int64(chosen)).batch(_EVALUATION_BATCH)
        load = _as_it_is(_loader(images, size))
        loaded = batches.map(load, num_parallel_calls=_THREADS, deterministic=True).prefetch(2)
        iterator = tf.data.make_initializable_iterator(loaded)
        batch, _ = iterator.get_next()
    # Not in the block: what takes the batches has a default graph of its own.
    with contextlib.closing(tf.Session(graph=graph, config=runs.session_config())) as sess:
        sess.run(iterator.initializer)
        yield from until_end(sess, batch)


def to_draw(images: image_lists.ImageList, chosen: np.ndarray, size: int) -> list[np.ndarray]:
    """Returns photos as of `photos`, but one by one and in [0, 1]."""
    return [photo / 255 for batch in photos(images, chosen, size) for photo in batch]


def draw_examples(
    folder: pathlib.Path,
    images: image_lists.ImageList,
    chosen: np.ndarray,
    flags: argparse.Namespace,
    distort: Distort,
) -> None:
    """Draws nine images, and what augmentation makes of one of them.

    Args:
        folder: where they go.
        images: good pictures.
        chosen: the indices of the images to choose from.
        flags: with the size of a picture, and the seed that chooses the nine.
        distort: as of `training_batches`.
    """
    nine = np.random.default_rng(flags.seed).permutation(chosen)[:9]
    examples = to_draw(images, nine, flags.image_size)
    with tf.Graph().as_default(), tf.Session(config=runs.session_config()) as sess:
        copies = tf.constant(np.stack([examples[0] * 255] * 9))
        distorted = sess.run(distort(copies, tf.constant([flags.seed, 0], tf.int64))) / 255
    names = [images.class_names[label] for label in images.labels[nine]]
    title = f"{folder.name}: what the net may see of the first one"
    sheets = {
        "examples.png": (examples, names, f"{folder.name}: nine training images"),
        "augmentations.png": (list(np.clip(distorted, 0, 1)), [""] * 9, title),
    }
    for name, sheet in sheets.items():
        plots.picture_sheet(folder / name, *sheet, columns=3)


def draw_results(
    run: runs.Run,
    images: image_lists.ImageList,
    logits: np.ndarray,
    flags: argparse.Namespace,
    steps_per_epoch: int,
) -> None:
    """Draws the curves of a run, and test images with the classes that its net predicts.

    Args:
        images: good pictures.
        logits: float32 [n, classes], one row for each image.
        flags: those of the training.
    """
    names, predictions = images.class_names, logits.argmax(axis=1)
    some = np.random.default_rng(0).permutation(len(logits))[:25]
    mistakes = {i: f" (is: {names[images.labels[i]]})" for i in some}
    captions = [
        names[predictions[i]] + mistakes[i] * bool(images.labels[i] != predictions[i]) for i in some
    ]
    size = flags.image_size
    title = f"{run.path.name}: predictions for {len(some)} testing images"
    plots.picture_sheet(run.path / "predictions.png", to_draw(images, some, size), captions, title)
    pictures_of = functools.partial(to_draw, images, size=size)
    mark, x_axis = (flags.initial_epochs, "start of fine-tuning"), ("epoch", steps_per_epoch)
    run.draw(images.labels, logits, names, pictures_of, mark, ["predictions.png"], x_axis)


def _loader(
    images: image_lists.ImageList, size: int
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function from int64 [batch] to (float32 [batch, size, size, 3], int32 [batch])."""
    labels = tf.constant(images.labels, tf.int32)

    # Python, called by the pipeline: it reads what TensorFlow's decoders do not take, too.
    def contents(index):
        return pictures.encoded(images.folder / images.paths[index])

    def load_one(index):
        return decode(tf.numpy_function(contents, [index], tf.string), size)

    def load(indices):
        # Files have different sizes: they become a batch only after each has been resized.
        loaded = tf.map_fn(load_one, indices, tf.float32)
        loaded.set_shape([None, size, size, 3])  # which the loop does not know
        return loaded, tf.gather(labels, indices)

    return load


def no_distortion(images: tf.Tensor, seed: Any) -> tf.Tensor:
    """Returns the images as they are."""
    return images


def rotate_and_flip(rotation: float, images: tf.Tensor, seed: Any) -> tf.Tensor:
    """Turns each picture about its middle by a random angle, and mirrors it or not.

    Where a picture's corners do not reach, its mirror image goes on, as in Keras' RandomRotation.

    Args:
        rotation: the largest angle, as a part of a whole turn, to either side.
        images: float32 [batch, size, size, 3].
        seed: int64 [2]; the same seed gives the same result.

    Returns:
        the same shape.
    """
    drawn = tf2.random.stateless_uniform([2, tf.shape(images)[0]], seed)
    turn = 2 * math.pi * rotation * (2 * drawn[0] - 1)
    side = tf.where_v2(drawn[1] < 0.5, -1.0, 1.0)
    return turned(images, turn, side)


def turned(images: tf.Tensor, turn: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Turns pictures about their middle, clockwise.

    Args:
        images: float32 [batch, size, size, 3].
        turn: float32 [batch], radians.
        side: float32 [batch], 1, or -1 for a picture that is mirrored, left to right, before.
    """
    size = images.shape.as_list()[1]
    middle = (size - 1) / 2
    cosine, sine, zero = tf.cos(turn), tf.sin(turn), tf.zeros_like(turn)
    # Where each pixel of the result comes from: x' = a x + b y + c, y' = d x + e y + f.
    a, b = side * cosine, side * sine
    d, e = -sine, cosine
    c, f = middle * (1 - a - b), middle * (1 - d - e)
    # tf.raw_ops has every op under its own name, also those that no function of tf.image wraps.
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
