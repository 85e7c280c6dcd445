"""From class folders to batches of photos, with tf.data.

What the net sees in step k, and how it is distorted, is a pure function of (seed, k). Pictures are
decoded and resized as Keras' `image_dataset_from_directory` does, to the last bit.
"""

import concurrent.futures
import math
import os
import pathlib

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from tutorial_support import datasets, image_lists, pictures, progress, sessions
from tutorial_support.programs import LOG, UsageError

# AutoGraph would translate each function of a pipeline first, which takes longer than to trace it.
_as_it_is = tf.autograph.experimental.do_not_convert

FOLDER = "cats_and_dogs_filtered"
ARCHIVE = datasets.RemoteFile(
    f"{FOLDER}.zip",
    68_606_236,
    None,  # none is published; a zip holds a CRC-32 of each file
    (f"https://storage.googleapis.com/mledu-datasets/{FOLDER}.zip",),
)
TRAIN, HELD_OUT = "train", "validation"  # folders of class folders
# Percent of the images held out, as in the original: what training validates on is never tested on.
TESTING_OF_HELD_OUT = 20
# Percent of all images, where nothing is held out in a folder of its own.
TESTING, VALIDATION = 10, 20
_THREADS = os.cpu_count() or 1


def find_folder(data_dir=None, sample=False):
    """Returns the folder of images: a named one, the published photos, or the sample.

    Args:
        data_dir: a folder, or None.
        sample: take the shipped drawings outright.

    Returns:
        (pathlib.Path, whether it is the sample).
    """
    return datasets.find_images(
        data_dir,
        sample,
        ARCHIVE,
        FOLDER,
        "drawn_cats_and_dogs",
        "drawings of cats and dogs, not photos",
    )


def find_images(folder):
    """Lists the images of a folder and divides them into training, validation and test images.

    Args:
        folder: with the folders `train` and `validation`, of which each has a folder a class; the
            test images are then a fifth of the held-out ones. Or with a folder a class: then the
            images are divided. A hash of its path says where an image belongs.

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


def decode(contents, size):
    """Adds the decoding and resizing of one picture.

    Args:
        contents: string scalar, from `pictures.encoded`.
        size: pixels, height and width.

    Returns:
        float32 [size, size, 3] in [0, 255], the whole picture, whatever its proportions.
    """
    picture = tf.io.decode_image(contents, channels=3, expand_animations=False)
    picture.set_shape([None, None, 3])
    resized = tf.image.resize_bilinear(
        tf.cast(picture, tf.float32)[None], [size, size], half_pixel_centers=True
    )
    return resized[0]


def scale(images):
    """Brings pixels from [0, 255] to [-1, 1], as the net takes them."""
    return images / 127.5 - 1


def run_on_picture(sess, fetches, contents, path):
    """Returns the values of what depends on a picture.

    Args:
        sess: tf.Session.
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
            f"{path}: cannot be decoded ({error.message.splitlines()[0]}); save the picture again"
        ) from error


def unreadable(images):
    """Decodes every picture once.

    Args:
        images: image_lists.ImageList.

    Returns:
        dict from the path of a bad picture to a sentence on what is wrong with it.
    """
    with tf.Graph().as_default(), tf.Session(config=sessions.config()) as sess:
        contents = tf.placeholder(tf.string, ())
        decoded = decode(contents, 1).op

        def verdict(path):
            try:
                run_on_picture(sess, decoded, contents, images.folder / path)
            except UsageError as error:
                return str(error)
            return None

        with (
            concurrent.futures.ThreadPoolExecutor(_THREADS) as threads,
            progress.bar(len(images.paths), "checking", unit="image") as bar,
        ):
            bad = {}
            for path, sentence in zip(
                images.paths, threads.map(verdict, images.paths), strict=True
            ):
                bar.update()
                if sentence:
                    bad[path] = sentence
            return bad


def readable(images):
    """Returns (the image_lists.ImageList without the bad pictures, which it logs; `unreadable`)."""
    bad = unreadable(images)
    for sentence in bad.values():
        LOG.warning("left out: %s", sentence)
    return images.without(bad), bad


def steps_per_epoch(count, batch_size):
    """Returns how many batches `count` images make; the last one may be smaller."""
    return -(-count // batch_size)


def index_batches(chosen, batch_size, seed, first_step):
    """Builds the order of training as a tf.data pipeline that never ends.

    Args:
        chosen: int array [n], the indices of the training images.
        batch_size: int.
        seed: int. Every epoch has an order of its own.
        first_step: int64 scalar tensor, the number of batches to start after.

    Returns:
        a tf.data.Dataset of int64 [batch], a part of `chosen`.
    """
    steps = steps_per_epoch(len(chosen), batch_size)

    @_as_it_is
    def of_epoch(epoch):
        order = tf2.random.experimental.stateless_shuffle(
            tf.constant(chosen, tf.int64), seed=[tf.constant(seed, tf.int64), epoch]
        )
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    epochs = tf.data.Dataset.range(first_step // steps, tf.int64.max)
    return epochs.flat_map(of_epoch).skip(first_step % steps)


def training_batches(images, chosen, size, batch_size, seed, first_step, distort):
    """Builds the training batches as a tf.data pipeline that never ends.

    Args:
        images: image_lists.ImageList of good pictures.
        size: pixels, height and width.
        chosen, batch_size, seed, first_step: as of `index_batches`.
        distort: function from float32 [batch, size, size, 3] and a seed, int64 [2], which differs
            from step to step, to the same shape.

    Returns:
        a tf.data.Dataset of (float32 [batch, size, size, 3] in [-1, 1], int32 [batch]).
    """
    load = _loader(images, size)

    @_as_it_is
    def prepare(step, indices):
        loaded, labels = load(indices)
        return scale(distort(loaded, tf.stack([tf.constant(seed, tf.int64), step]))), labels

    batches = index_batches(chosen, batch_size, seed, first_step).enumerate(first_step)
    return batches.map(prepare, num_parallel_calls=_THREADS, deterministic=True).prefetch(2)


def evaluation_batches(images, chosen, size, batch_size):
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

    def __init__(self, images, chosen, size, batch_size, seed, distort):
        """Adds the iterators; arguments as of `training_batches`."""
        self._first_step = tf.placeholder(tf.int64, (), "first_step")
        self._to_evaluate = tf.placeholder(tf.int64, [None], "to_evaluate")
        self._dataset = tf.placeholder(tf.string, (), "dataset")
        training = training_batches(
            images, chosen, size, batch_size, seed, self._first_step, distort
        )
        evaluation = evaluation_batches(images, self._to_evaluate, size, batch_size)
        order = index_batches(chosen, batch_size, seed, self._first_step)
        self._training = tf.data.make_initializable_iterator(training)
        self._evaluation = tf.data.make_initializable_iterator(evaluation)
        self._order = tf.data.make_initializable_iterator(order)
        self.next_indices = self._order.get_next()
        self.images, self.labels = tf.data.Iterator.from_string_handle(
            self._dataset, tf.data.get_output_types(training), tf.data.get_output_shapes(training)
        ).get_next()

    def begin(self, sess, first_step, first_photo_step):
        """Sets the training batches and their order to begin after so many steps each."""
        sess.run(self._order.initializer, {self._first_step: first_step})
        sess.run(self._training.initializer, {self._first_step: first_photo_step})
        self.training_feed = {self._dataset: sess.run(self._training.string_handle())}

    def one_pass(self, sess, chosen, fetches):
        """Yields the values of fetches for batches of the images with the indices `chosen`."""
        handle = sess.run(self._evaluation.string_handle())
        feed_dict = {self._dataset: handle, self._to_evaluate: chosen}
        return sessions.one_pass(sess, self._evaluation, fetches, feed_dict)


def _loader(images, size):
    """Returns a function from int64 [batch] to (float32 [batch, size, size, 3], int32 [batch])."""
    labels = tf.constant(images.labels, tf.int32)

    def contents(index):
        return pictures.encoded(images.folder / images.paths[index])

    def load_one(index):
        return decode(tf.numpy_function(contents, [index], tf.string), size)

    def load(indices):
        loaded = tf.map_fn(load_one, indices, tf.float32)
        loaded.set_shape([None, size, size, 3])
        return loaded, tf.gather(labels, indices)

    return load


def no_distortion(images, seed):
    """Returns the images as they are."""
    return images


def rotate_and_flip(rotation, images, seed):
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


def turned(images, turn, side):
    """Turns pictures about their middle, clockwise.

    Args:
        images: float32 [batch, size, size, 3].
        turn: float32 [batch], radians.
        side: float32 [batch], 1, or -1 for a picture that is mirrored, left to right, before.
    """
    size = images.shape[1]
    middle = (size - 1) / 2
    cosine, sine, zero = tf.cos(turn), tf.sin(turn), tf.zeros_like(turn)
    # Where each pixel of the result comes from: x' = a x + b y + c, y' = d x + e y + f.
    a, b = side * cosine, side * sine
    d, e = -sine, cosine
    c, f = middle * (1 - a - b), middle * (1 - d - e)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
