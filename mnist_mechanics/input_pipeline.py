"""MNIST batches from tf.data pipelines inside the graph.

The content of a training batch is a pure function of the seed and the step, as in `input_data`.
The order differs from `input_data`, because here TensorFlow ops shuffle instead of numpy.
"""

from collections.abc import Iterator
from typing import Any

import tensorflow.compat.v1 as tf

from mnist_mechanics import mnist
from tutorial_support import runs


def scaled(pixels: tf.Tensor) -> tf.Tensor:
    """Returns uint8 pixels in [0, 255] as float32 in [0, 1]."""
    return tf.cast(pixels, tf.float32) * (1 / 255)


def training_dataset(
    pixels: tf.Tensor, labels: tf.Tensor, batch_size: int, seed: int, first_step: Any
) -> tf.data.Dataset:
    """Builds an endless dataset of training batches.

    Args:
        pixels: uint8 [n, IMAGE_PIXELS], in [0, 255].
        labels: uint8 [n].
        batch_size: examples per batch.
        seed: determines the order.
        first_step: int64 scalar tensor, the number of batches to skip.

    Returns:
        a dataset of (images float32 [batch_size, IMAGE_PIXELS] in [0, 1], labels uint8
        [batch_size]).
    """

    @runs.without_autograph
    def batch(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return scaled(tf.gather(pixels, indices)), tf.gather(labels, indices)

    batches = _training_indices(labels, batch_size, seed, first_step)
    # Background threads prepare up to eight batches ahead while the net trains.
    return runs.fixed_parallelism(batches.map(batch).prefetch(8))


def training_blocks(
    pixels: tf.Tensor, labels: tf.Tensor, batch_size: int, seed: int, first_step: Any, steps: int
) -> tf.data.Dataset:
    """Builds the same batches in blocks of several steps, one block per Session.run.

    Args:
        pixels, labels, batch_size, seed: as in `training_dataset`.
        first_step: int64 scalar tensor. Blocks start at multiples of `steps`; the first block is
            the one that contains this step.
        steps: batches per block.

    Returns:
        a dataset of (pixels uint8 [steps, batch_size, IMAGE_PIXELS] in [0, 255], labels uint8
        [steps, batch_size]).
    """

    @runs.without_autograph
    def block(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.reshape(indices, [steps, batch_size])
        images = tf.gather(pixels, indices)
        images = tf.ensure_shape(images, [steps, batch_size, mnist.IMAGE_PIXELS])
        return images, tf.gather(labels, indices)

    indices = _training_indices(labels, steps * batch_size, seed, first_step // steps)
    return runs.fixed_parallelism(indices.map(block).prefetch(2))


def _training_indices(
    labels: tf.Tensor, batch_size: int, seed: int, first_batch: Any
) -> tf.data.Dataset:
    """Returns a dataset of int64 [batch_size], the indices of the examples in each batch."""
    count = tf.shape(labels, out_type=tf.int64)[0]
    first_example = tf.cast(first_batch, tf.int64) * batch_size
    first_epoch, offset = first_example // count, first_example % count

    @runs.without_autograph
    def order(epoch: tf.Tensor) -> tf.Tensor:
        indices = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[seed, epoch])
        return indices[tf.where_v2(tf.equal(epoch, first_epoch), offset, 0) :]

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max).map(order)
    # rebatch cuts the epochs' orders into batches, also across the end of an epoch.
    return epochs.rebatch(batch_size, drop_remainder=True)


def evaluation_dataset(pixels: tf.Tensor, labels: tf.Tensor, batch_size: int) -> tf.data.Dataset:
    """Builds one pass over the data in order; the last batch may be smaller.

    Args and result are as in `training_dataset`.
    """
    examples = tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(batch_size)
    prepared = examples.map(runs.without_autograph(lambda x, classes: (scaled(x), classes)))
    return runs.fixed_parallelism(prepared.prefetch(2))


class Input:
    """The input of the graph: a training and an evaluation iterator, selected by a handle.

    The data is fed once, when an iterator is initialized, so the graph and its checkpoints do not
    contain it.

    Attributes:
        images: float32 [batch, IMAGE_PIXELS] in [0, 1], the selected iterator's next images.
        labels: uint8 [batch].
        training: the training iterator.
    """

    def __init__(self, training: Any, evaluation_batch: int) -> None:
        """Adds placeholders, pipelines and iterators to the default graph.

        Args:
            training: function (pixels, labels, first_step) -> training dataset.
            evaluation_batch: examples per evaluation batch.
        """
        with tf.name_scope("input"):
            self._pixels = tf.placeholder(tf.uint8, (None, mnist.IMAGE_PIXELS), "pixels")
            self._labels = tf.placeholder(tf.uint8, (None,), "labels")
            self._first_step = tf.placeholder(tf.int64, (), "first_step")
            with tf.name_scope("training"):
                dataset = training(self._pixels, self._labels, self._first_step)
                # Like a variable, an iterator is a resource of the session. Its initializer stores
                # what is fed to it, so later runs need not feed the data again.
                self.training = tf.data.make_initializable_iterator(dataset)
            with tf.name_scope("evaluation"):
                dataset = evaluation_dataset(self._pixels, self._labels, evaluation_batch)
                self._evaluation = tf.data.make_initializable_iterator(dataset)
            # A handle is a string that identifies an iterator. The handle that is fed decides
            # which iterator the net reads from.
            self._handle = tf.placeholder(tf.string, (), "iterator_handle")
            iterator = tf.data.Iterator.from_string_handle(
                self._handle, (tf.float32, tf.uint8), ((None, mnist.IMAGE_PIXELS), (None,))
            )
            self.images, self.labels = iterator.get_next()

    def start_training(self, sess: tf.Session, data_set: Any, first_step: int) -> dict:
        """Starts the training iterator; returns the feed dictionary that selects it."""
        sess.run(self.training.initializer, self._feeds(data_set) | {self._first_step: first_step})
        return {self._handle: sess.run(self.training.string_handle())}

    def one_pass(self, sess: tf.Session, data_set: Any, fetch: tf.Tensor) -> Iterator[Any]:
        """Yields the value of `fetch` for each batch of one pass over `data_set`."""
        sess.run(self._evaluation.initializer, self._feeds(data_set))
        feed_dict = {self._handle: sess.run(self._evaluation.string_handle())}
        while True:
            try:
                yield sess.run(fetch, feed_dict)
            except tf.errors.OutOfRangeError:  # the end of the pass
                return

    def _feeds(self, data_set: Any) -> dict:
        return {self._pixels: data_set.pixels, self._labels: data_set.labels}
