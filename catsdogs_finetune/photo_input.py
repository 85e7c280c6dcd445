"""From class folders to batches of photos, with tf.data.

The batch of step k and its augmentation are a pure function of (seed, k). Pictures are decoded and
resized exactly as in Keras' `image_dataset_from_directory`, to the last bit.
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

FOLDER, SAMPLE = "cats_and_dogs_filtered", "drawn_cats_and_dogs"
ARCHIVE = files.RemoteFile(
    f"{FOLDER}.zip",
    68_606_236,
    None,  # no checksum is published; the zip holds a CRC-32 of each file
    (f"https://storage.googleapis.com/mledu-datasets/{FOLDER}.zip",),
)
TRAIN, HELD_OUT = "train", "validation"  # folders of class folders
TITLES = {"train": "training", "validation": "validation", "test": "testing"}  # printed names
# Percent of the held-out images that are test images, as in the original; the rest validates.
TESTING_OF_HELD_OUT = 20
# Percent of all images, if there is no folder of held-out images.
TESTING, VALIDATION = 10, 20
IMAGE_SIZE, SAMPLE_IMAGE_SIZE = 160, 96  # pixels: the original's, and enough for the drawings
_THREADS = min(16, os.cpu_count() or 1)  # each may hold a picture of several megapixels
_EVALUATION_BATCH = 32  # images

# A function of (pictures, float32 [batch, size, size, 3]; seed, int64 [2]) that distorts the
# pictures at random.
Distort = Callable[[tf.Tensor, Any], tf.Tensor]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the images; a user can give at most one of them."""
    group = parser.add_argument_group("data").add_mutually_exclusive_group()
    group.add_argument(
        "--data_dir",
        help="A folder with one folder of images per class, or with folders train and validation "
        "that each have one folder per class; by default the published photos, which are "
        "downloaded once.",
    )
    group.add_argument("--sample", action="store_true", help="Use the shipped drawings.")


def add_augmentation_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the augmentation of training images."""
    add = parser.add_argument_group("augmentation").add_argument
    rotation = "Rotate by up to this part of a full turn, either way."
    add("--rotation", type=number(float, 0, 0.5), default=0.2, help=rotation)
    add(
        "--no_augmentation",
        action="store_true",
        help="Do not rotate or mirror training images; the frozen base then sees each only once.",
    )


def distortion(flags: argparse.Namespace) -> Distort:
    """Returns the distortion that the flags ask for."""
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
    """Returns the line that reports the accuracy, 0 to 1, on `count` images of a split."""
    return f"Accuracy on the {TITLES[split]} images: {accuracy:.4f} ({count} images)"


def find(flags: argparse.Namespace, kept: dict[str, Any]) -> image_lists.ImageList:
    """Lists the images that the flags name, or else those of the run that is resumed.

    Sets `flags.sample`, and `flags.data_dir`: the absolute path of the user's or the run's folder,
    None for the published photos and the sample.

    Raises:
        UsageError: the images cannot be used.
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
    """Finds the images as `find` does, leaves out the unreadable ones, and prints their number.

    It also sets `flags.image_size`.

    Returns:
        the images, and the facts about them to save with the run.

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
    return images, {
        "images": images.fingerprint(),
        "class_names": list(images.class_names),
        "sample": flags.sample,
    }


def find_images(folder: str | os.PathLike) -> image_lists.ImageList:
    """Lists the images of a folder and divides them into training, validation and test images.

    Args:
        folder: has one folder per class, or the folders `train` and `validation`, each with one
            folder per class. In the second case, a fifth of the images in `validation` are the
            test images. A hash of an image's path decides its split.

    Raises:
        UsageError: the folder has no such structure, or too few images.
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
        size: height and width, in pixels.

    Returns:
        float32 [size, size, 3] in [0, 255], the whole picture stretched to a square.
    """
    picture = tf.io.decode_image(contents, channels=3, expand_animations=False)
    # The op takes several formats, so its static shape is unknown. Resizing needs the rank.
    picture.set_shape([None, None, 3])
    resized = tf.image.resize_bilinear(
        tf.cast(picture, tf.float32)[None], [size, size], half_pixel_centers=True
    )
    return resized[0]


def scale(images: Any) -> Any:
    """Scales pixels from [0, 255] to [-1, 1], the range that the net expects."""
    return images / 127.5 - 1


def run_on_picture(
    sess: tf.Session, fetches: Any, contents: tf.Tensor, path: str | os.PathLike
) -> Any:
    """Feeds a picture file and returns the values of `fetches`.

    Args:
        sess: the session.
        fetches: as in `Session.run`.
        contents: the placeholder that `decode` reads.
        path: a picture file of any format that `pictures.encoded` reads.

    Raises:
        UsageError: the file is not a complete picture.
    """
    try:
        return sess.run(fetches, {contents: pictures.encoded(path)})
    except tf.errors.InvalidArgumentError as error:
        raise UsageError(
            f"{path}: cannot be decoded ({reason(error)}); save the picture again"
        ) from error


def unreadable(images: image_lists.ImageList) -> dict[str, str]:
    """Decodes every picture once; returns {path: error} for the unreadable ones."""
    with tf.Graph().as_default(), tf.Session(config=runs.session_config()) as sess:
        contents = tf.placeholder(tf.string, ())
        decoded = decode(contents, 1).op  # fetching an op runs it and returns no value

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
    """Logs the unreadable pictures; returns the list without them, and {path: error}."""
    bad = unreadable(images)
    for sentence in bad.values():
        LOG.warning("left out: %s", sentence)
    return images.without(bad), bad


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Returns the number of batches in an epoch of `count` images; the last may be smaller."""
    return -(-count // batch_size)


def index_batches(
    chosen: np.ndarray, batch_size: int, seed: int, first_step: tf.Tensor
) -> tf.data.Dataset:
    """Builds the training order as an endless tf.data pipeline.

    Args:
        chosen: int array [n], the indices of the training images.
        batch_size: images per batch.
        seed: decides the order, together with the epoch.
        first_step: int64 scalar tensor, the number of batches to skip.

    Returns:
        a tf.data.Dataset of int64 [batch], indices from `chosen`.
    """
    steps = steps_per_epoch(len(chosen), batch_size)

    @runs.without_autograph
    def of_epoch(epoch):
        # A stateless op has no hidden counter: the same seed always gives the same order. The epoch
        # is part of the seed, so each epoch has another order.
        order = tf2.random.experimental.stateless_shuffle(
            tf.constant(chosen, tf.int64), seed=[tf.constant(seed, tf.int64), epoch]
        )
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    # flat_map() turns each epoch's number into its batches, one epoch after the other.
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
    """Builds the training batches as an endless tf.data pipeline.

    Args:
        images: readable pictures.
        size: height and width, in pixels.
        chosen, batch_size, seed, first_step: as in `index_batches`.
        distort: gets another seed in each step.

    Returns:
        a tf.data.Dataset of (float32 [batch, size, size, 3] in [-1, 1], int32 [batch]).
    """
    load = _loader(images, size)

    @runs.without_autograph
    def prepare(step, indices):
        loaded, labels = load(indices)
        return scale(distort(loaded, tf.stack([tf.constant(seed, tf.int64), step]))), labels

    # enumerate() adds the step to each batch. It seeds the distortion, so a resumed run distorts
    # its pictures exactly as an uninterrupted one.
    batches = index_batches(chosen, batch_size, seed, first_step).enumerate(first_step)
    # TensorFlow's threads load and distort up to two batches ahead while the net computes.
    # deterministic=True keeps the batches in order.
    prepared = batches.map(prepare, num_parallel_calls=_THREADS, deterministic=True)
    return runs.fixed_parallelism(prepared.prefetch(2))


def evaluation_batches(
    images: image_lists.ImageList, chosen: Any, size: int, batch_size: int
) -> tf.data.Dataset:
    """Builds one pass over images in order, including the last partial batch.

    Args:
        images, size, batch_size: as in `training_batches`.
        chosen: int64 [n], a tensor or an array, the indices of the images.

    Returns:
        a tf.data.Dataset of (float32 [batch, size, size, 3] in [-1, 1], int32 [batch]).
    """
    load = _loader(images, size)

    @runs.without_autograph
    def prepare(indices):
        loaded, labels = load(indices)
        return scale(loaded), labels

    batches = tf.data.Dataset.from_tensor_slices(tf.cast(chosen, tf.int64)).batch(batch_size)
    prepared = batches.map(prepare, num_parallel_calls=_THREADS, deterministic=True)
    return runs.fixed_parallelism(prepared.prefetch(2))


class PhotoInput:
    """The input of the training graph: training batches, or one pass over other images.

    Both come from the same two tensors, so the graph holds the net only once. A feed selects the
    iterator that the tensors read from.

    Attributes:
        images: float32 [batch, size, size, 3] in [-1, 1].
        labels: int32 [batch].
        next_indices: int64 [batch], the indices of the next training batch, without its photos.
        training_feed: the feed dictionary that selects training batches; set by `begin`.
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
            images, chosen, distort: as in `training_batches`.
            flags: must include `image_size`, `batch_size` and `seed`.
        """
        size, batch_size, seed = flags.image_size, flags.batch_size, flags.seed
        with tf.name_scope("input"):
            # Placeholders let one graph start at any step and evaluate any images.
            self._first_step = tf.placeholder(tf.int64, (), "first_step")
            self._to_evaluate = tf.placeholder(tf.int64, [None], "to_evaluate")
            self._dataset = tf.placeholder(tf.string, (), "dataset")
            training = training_batches(
                images, chosen, size, batch_size, seed, self._first_step, distort
            )
            evaluation = evaluation_batches(images, self._to_evaluate, size, batch_size)
            order = index_batches(chosen, batch_size, seed, self._first_step)
            # An iterator is a resource of the session, like a variable: it keeps its position
            # between runs, and running its initializer starts it.
            self._training = tf.data.make_initializable_iterator(training)
            self._evaluation = tf.data.make_initializable_iterator(evaluation)
            self._order = tf.data.make_initializable_iterator(order)
            self.next_indices = self._order.get_next()
            # This iterator has no data itself: the fed string handle names the one to read from.
            self.images, self.labels = tf.data.Iterator.from_string_handle(
                self._dataset,
                tf.data.get_output_types(training),
                tf.data.get_output_shapes(training),
            ).get_next()

    def begin(self, sess: tf.Session, first_step: int, first_photo_step: int) -> None:
        """Starts the order after `first_step` batches, the photos after `first_photo_step`."""
        sess.run(self._order.initializer, {self._first_step: first_step})
        sess.run(self._training.initializer, {self._first_step: first_photo_step})
        # The handle is a string that names the iterator in this session; it can be fed repeatedly.
        self.training_feed = {self._dataset: sess.run(self._training.string_handle())}

    def evaluation_feed(self, sess: tf.Session, chosen: np.ndarray) -> dict[tf.Tensor, Any]:
        """Returns the feed dictionary that selects the images with the indices `chosen`."""
        # Running the initializer again restarts the iterator, here on other images.
        sess.run(self._evaluation.initializer, {self._to_evaluate: chosen})
        return {self._dataset: sess.run(self._evaluation.string_handle())}

    def one_pass(self, sess: tf.Session, fetches: Any, chosen: np.ndarray) -> Iterator[Any]:
        """Yields the values of `fetches` for batches of the images with the indices `chosen`."""
        return until_end(sess, fetches, self.evaluation_feed(sess, chosen))


def until_end(sess: tf.Session, fetches: Any, feed_dict: dict | None = None) -> Iterator[Any]:
    """Yields the values of `fetches` until their iterator is exhausted."""
    while True:
        # An exhausted tf.data iterator raises OutOfRangeError in sess.run.
        try:
            yield sess.run(fetches, feed_dict)
        except tf.errors.OutOfRangeError:
            return


def photos(images: image_lists.ImageList, chosen: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields batches of decoded photos, float32 [batch, size, size, 3] in [0, 255].

    Args:
        images: readable pictures.
        chosen: int [n], the indices of the photos to yield.
        size: height and width, in pixels.
    """
    with tf.Graph().as_default() as graph:
        batches = tf.data.Dataset.from_tensor_slices(np.int64(chosen)).batch(_EVALUATION_BATCH)
        load = runs.without_autograph(_loader(images, size))
        loaded = batches.map(load, num_parallel_calls=_THREADS, deterministic=True).prefetch(2)
        iterator = tf.data.make_initializable_iterator(runs.fixed_parallelism(loaded))
        batch, _ = iterator.get_next()
    # Outside the block, because the caller of this generator has its own default graph.
    with contextlib.closing(tf.Session(graph=graph, config=runs.session_config())) as sess:
        sess.run(iterator.initializer)
        yield from until_end(sess, batch)


def to_draw(images: image_lists.ImageList, chosen: np.ndarray, size: int) -> list[np.ndarray]:
    """Returns the pictures of `photos` one by one, float32 [size, size, 3] in [0, 1]."""
    return [photo / 255 for batch in photos(images, chosen, size) for photo in batch]


def draw_examples(
    folder: pathlib.Path,
    images: image_lists.ImageList,
    chosen: np.ndarray,
    flags: argparse.Namespace,
    distort: Distort,
) -> None:
    """Draws nine images, and nine augmentations of one of them.

    Args:
        folder: the folder for the two pictures.
        images: readable pictures.
        chosen: int [n], the indices of the images to choose from.
        flags: must include `image_size` and `seed`, which chooses the nine.
        distort: as in `training_batches`.
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
    """Draws the curves of a run, and test images with their predicted classes.

    Args:
        images: readable pictures.
        logits: float32 [n, classes], one row per image.
        flags: the flags of the training.
    """
    names, predictions = images.class_names, logits.argmax(axis=1)
    some = np.random.default_rng(0).permutation(len(logits))[:25]
    captions = []
    for i in some:
        label, prediction = names[images.labels[i]], names[predictions[i]]
        captions.append(prediction if label == prediction else f"{prediction} (is: {label})")
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

    # The pipeline calls this Python function. It also reads formats that TensorFlow cannot decode.
    def contents(index):
        return pictures.encoded(images.folder / images.paths[index])

    def load_one(index):
        return decode(tf.numpy_function(contents, [index], tf.string), size)

    def load(indices):
        # Pictures differ in size and can be stacked only after resizing, so map_fn loads each one.
        loaded = tf.map_fn(load_one, indices, tf.float32)
        loaded.set_shape([None, size, size, 3])  # map_fn does not infer it
        return loaded, tf.gather(labels, indices)

    return load


def no_distortion(images: tf.Tensor, seed: Any) -> tf.Tensor:
    """Returns the images unchanged."""
    return images


def rotate_and_flip(rotation: float, images: tf.Tensor, seed: Any) -> tf.Tensor:
    """Rotates each picture about its centre by a random angle, and mirrors half of them.

    Reflections of the picture fill its empty corners, as in Keras' RandomRotation.

    Args:
        rotation: the largest angle to either side, as a part of a full turn.
        images: float32 [batch, size, size, 3].
        seed: int64 [2]; the same seed gives the same result.

    Returns:
        float32 [batch, size, size, 3].
    """
    # One stateless op draws the angle and the side of every picture in the batch.
    drawn = tf2.random.stateless_uniform([2, tf.shape(images)[0]], seed)
    turn = 2 * math.pi * rotation * (2 * drawn[0] - 1)
    side = tf.where_v2(drawn[1] < 0.5, -1.0, 1.0)
    return turned(images, turn, side)


def turned(images: tf.Tensor, turn: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Rotates pictures clockwise about their centre; returns float32 [batch, size, size, 3].

    Args:
        images: float32 [batch, size, size, 3].
        turn: float32 [batch], the angle in radians.
        side: float32 [batch], -1 to mirror a picture from left to right first, else 1.
    """
    size = images.shape.as_list()[1]
    middle = (size - 1) / 2
    cosine, sine, zero = tf.cos(turn), tf.sin(turn), tf.zeros_like(turn)
    # The pixel at (x, y) of the result comes from (a x + b y + c, d x + e y + f).
    a, b = side * cosine, side * sine
    d, e = -sine, cosine
    c, f = middle * (1 - a - b), middle * (1 - d - e)
    # tf.raw_ops offers every op by its own name, including those without a wrapper in tf.image.
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
