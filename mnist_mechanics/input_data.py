"""Reads MNIST, or any set in its file format: as numpy arrays to feed, or as tf.data.

    data_sets = read_data_sets("/folder/with/the/four/files")
    images, labels = data_sets.train.next_batch(100)

The order of the training examples is a pure function of the seed and of the position, so that a
resumed run can go on at any step: see `DataSet.seek` and `training_dataset`.
"""

import collections
import gzip
import math
import pathlib
import struct
import zlib

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import mnist
from tutorial_support import datasets
from tutorial_support.programs import UsageError

VALIDATION_SIZE = 5000  # of MNIST's 60,000 training images, as in the original
SAMPLE = datasets.sample_folder("mnist")
SAMPLE_DESCRIPTION = "MNIST: 5,000 of its 70,000 images"

IMAGES_MAGIC = 2051  # idx: unsigned bytes (0x08) in 3 dimensions
LABELS_MAGIC = 2049  # idx: unsigned bytes in 1 dimension

_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)


def _remote(name, size, sha256):
    return datasets.RemoteFile(name, size, sha256, tuple(mirror + name for mirror in _MIRRORS))


REMOTE_FILES = (
    _remote(
        "train-images-idx3-ubyte.gz",
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    _remote(
        "train-labels-idx1-ubyte.gz",
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    _remote(
        "t10k-images-idx3-ubyte.gz",
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    _remote(
        "t10k-labels-idx1-ubyte.gz",
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)

# AutoGraph would translate each function of a pipeline first, which takes longer than to trace it.
_as_it_is = tf.autograph.experimental.do_not_convert

DataSets = collections.namedtuple("DataSets", ["train", "validation", "test"])


class DataSet:
    """Images and labels, served in batches."""

    def __init__(self, images, labels, one_hot=False, dtype=np.float32, reshape=True, seed=None):
        """Keeps the arrays; nothing is copied or converted before a batch is asked for.

        Args:
            images: uint8 [n, rows, columns].
            labels: uint8 [n], in 0 .. mnist.NUM_CLASSES - 1.
            one_hot: serve labels as float64 [batch, NUM_CLASSES] rather than uint8 [batch].
            dtype: np.float32 serves pixels in [0, 1], np.uint8 in [0, 255].
            reshape: serve images as [batch, rows * columns] rather than [batch, rows, columns, 1].
            seed: int at least 0 that determines the order; None takes a new one every time.

        Raises:
            ValueError: images and labels differ in number, or dtype is another one.
        """
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images, but {len(labels)} labels")
        if dtype not in (np.float32, np.uint8):
            raise ValueError(f"dtype must be float32 or uint8, not {dtype}")
        pixels_shape = (math.prod(images.shape[1:]),) if reshape else (*images.shape[1:], 1)
        self._pixels = images.reshape(len(images), *pixels_shape)
        self._labels = _one_hot(labels) if one_hot else labels
        self._dtype = dtype
        self._seed = np.random.SeedSequence().entropy if seed is None else seed
        self._position = 0  # in examples, since the first epoch's start
        self._order_of = (None, None)

    @property
    def images(self):
        """All images, in the form that `next_batch` serves them; converted anew at each use."""
        return self._converted(self._pixels)

    @property
    def pixels(self):
        """All images as uint8 in [0, 255], without a copy."""
        return self._pixels

    @property
    def labels(self):
        """All labels."""
        return self._labels

    @property
    def num_examples(self):
        """The number of images."""
        return len(self._pixels)

    @property
    def epochs_completed(self):
        """How many times every example has been served."""
        return self._position // self.num_examples

    def seek(self, position):
        """Goes to where `next_batch` is after `position` examples in all."""
        self._position = position

    def next_batch(self, batch_size, fake_data=False, shuffle=True):
        """Returns the next `batch_size` images and labels, across the end of an epoch if need be.

        Each epoch serves every example once, in an order of its own.

        Args:
            batch_size: int, at least 1.
            fake_data: return images of ones and labels of zeros, as the original does for tests.
            shuffle: False serves in the order of the files.

        Returns:
            (images, labels) in the form that the constructor was asked for.
        """
        if fake_data:
            fake = fake_data_set()
            return fake.images[:batch_size], fake.labels[:batch_size]
        indices = []
        while batch_size > 0:
            epoch, offset = divmod(self._position, self.num_examples)
            piece = self._order(epoch, shuffle)[offset : offset + batch_size]
            indices.append(piece)
            self._position += len(piece)
            batch_size -= len(piece)
        indices = np.concatenate(indices)
        return self._converted(self._pixels[indices]), self._labels[indices]

    def batches(self, batch_size):
        """Yields every example once, in the order of the files; the last batch may be smaller."""
        for start in range(0, self.num_examples, batch_size):
            stop = start + batch_size
            yield self._converted(self._pixels[start:stop]), self._labels[start:stop]

    def _converted(self, pixels):
        return pixels if self._dtype == np.uint8 else scale(pixels)

    def _order(self, epoch, shuffle):
        if not shuffle:
            return np.arange(self.num_examples)
        if self._order_of[0] != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(self.num_examples)
            self._order_of = (epoch, order)
        return self._order_of[1]


def scale(pixels):
    """Returns uint8 pixels in [0, 255] as float32 in [0, 1]."""
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


def _one_hot(labels):
    return np.eye(mnist.NUM_CLASSES)[labels]


def fake_data_set(count=10000):
    """Returns a DataSet of `count` white images labelled 0, for trying a program without data."""
    images = np.broadcast_to(np.uint8(255), (count, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE))
    return DataSet(images, np.zeros(count, np.uint8), seed=0)


def read_data_sets(
    train_dir,
    fake_data=False,
    one_hot=False,
    dtype=np.float32,
    reshape=True,
    validation_size=None,
    seed=None,
):
    """Reads the four files of a folder.

    Args:
        train_dir: the folder; `find_folder` gives one. Each file may be gzipped or plain.
        fake_data: ignore the folder and return three times `fake_data_set()`.
        one_hot, dtype, reshape, seed: as in `DataSet`.
        validation_size: how many of the first training images become the validation set. None
            takes 5,000, or a tenth where there are fewer than 50,000.

    Returns:
        DataSets(train, validation, test).

    Raises:
        UsageError: a file is missing or damaged, or `validation_size` leaves nothing to train on.
    """
    if fake_data:
        return DataSets(fake_data_set(), fake_data_set(), fake_data_set())
    train_images, train_labels = _read_pair(train_dir, "train")
    test_images, test_labels = _read_pair(train_dir, "t10k")
    if validation_size is None:
        validation_size = min(VALIDATION_SIZE, len(train_images) // 10)
    if not 0 <= validation_size < len(train_images):
        raise UsageError(
            f"validation_size must be from 0 to {len(train_images) - 1} for the "
            f"{len(train_images)} training images of '{train_dir}', not {validation_size}"
        )

    def data_set(images, labels):
        return DataSet(images, labels, one_hot=one_hot, dtype=dtype, reshape=reshape, seed=seed)

    return DataSets(
        train=data_set(train_images[validation_size:], train_labels[validation_size:]),
        validation=data_set(train_images[:validation_size], train_labels[:validation_size]),
        test=data_set(test_images, test_labels),
    )


def scaled(pixels):
    """Returns a tensor of uint8 pixels in [0, 255] as float32 in [0, 1]; see `scale`."""
    return tf.cast(pixels, tf.float32) * (1 / 255)


def training_dataset(pixels, labels, batch_size, seed, first_step):
    """Builds the training batches as a tf.data pipeline that never ends.

    Like `DataSet.next_batch`, it serves every example once an epoch, and batch k always holds
    the same examples. The order itself is another one, for it is made by TensorFlow's ops.

    Args:
        pixels: uint8 tensor [n, IMAGE_PIXELS], in [0, 255].
        labels: uint8 tensor [n].
        batch_size: int.
        seed: int, determines the order.
        first_step: int or int64 scalar tensor, the number of batches to start after.

    Returns:
        a tf.data.Dataset of (float32 [batch_size, IMAGE_PIXELS] in [0, 1], uint8 [batch_size]).
    """

    @_as_it_is
    def batch(indices):
        return scaled(tf.gather(pixels, indices)), tf.gather(labels, indices)

    batches = _training_indices(labels, batch_size, seed, first_step)
    return batches.map(batch).prefetch(8)


def training_blocks(pixels, labels, batch_size, seed, first_step, steps):
    """Builds the same batches in blocks: one for each run of several steps.

    Args:
        pixels, labels, batch_size, seed: as in `training_dataset`.
        first_step: int64 scalar tensor. Blocks begin at multiples of `steps`; the first one is that
            which holds this step.
        steps: int, batches in a block.

    Returns:
        a tf.data.Dataset of (uint8 [steps, batch_size, IMAGE_PIXELS] in [0, 255],
        uint8 [steps, batch_size]).
    """

    @_as_it_is
    def block(indices):
        indices = tf.reshape(indices, [steps, batch_size])
        images = tf.gather(pixels, indices)
        return tf.ensure_shape(images, [steps, batch_size, mnist.IMAGE_PIXELS]), tf.gather(
            labels, indices
        )

    indices = _training_indices(labels, steps * batch_size, seed, first_step // steps)
    return indices.map(block).prefetch(2)


def _training_indices(labels, batch_size, seed, first_batch):
    """Returns a tf.data.Dataset of int64 [batch_size], the examples of each batch."""
    count = tf.shape(labels, out_type=tf.int64)[0]
    first_example = tf.cast(first_batch, tf.int64) * batch_size
    first_epoch, offset = first_example // count, first_example % count

    @_as_it_is
    def order(epoch):
        indices = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[seed, epoch])
        return indices[tf.where_v2(tf.equal(epoch, first_epoch), offset, 0) :]

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max).map(order)
    return epochs.rebatch(batch_size, drop_remainder=True)


def evaluation_dataset(pixels, labels, batch_size):
    """Builds one pass over the data as a tf.data pipeline, the last partial batch included.

    Args and element: as in `training_dataset`.
    """
    examples = tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(batch_size)
    return examples.map(_as_it_is(lambda x, classes: (scaled(x), classes))).prefetch(2)


def find_folder(data_dir=None, sample=False):
    """Returns the folder to read: the named one, the sample, or the cache after a download.

    Args:
        data_dir: a folder that holds the four files, or None.
        sample: take the shipped sample and do not ask the network.

    Returns:
        a pathlib.Path. Where nothing can be downloaded it is the sample's, and a warning is
        logged.

    Raises:
        UsageError: `data_dir` is no folder, or lacks a file.
    """
    if data_dir is not None:
        if not pathlib.Path(data_dir).is_dir():
            raise UsageError(
                f"--input_data_dir: there is no folder '{data_dir}'; name the folder of the four "
                "idx files, or use --sample"
            )
        for remote in REMOTE_FILES:
            _find_file(data_dir, remote.name)
        return pathlib.Path(data_dir)
    if sample:
        return SAMPLE
    folder = datasets.cache_folder("mnist")
    try:
        for remote in REMOTE_FILES:
            datasets.fetch(remote, folder)
    except datasets.DownloadError as error:
        datasets.warn_of_sample(SAMPLE_DESCRIPTION, error)
        return SAMPLE
    return folder


def _find_file(folder, name):
    """Returns the path of `name` (which ends in .gz), gzipped or plain."""
    plain = name.removesuffix(".gz")
    for candidate in (name, plain, plain.replace("-idx", ".idx")):
        path = pathlib.Path(folder) / candidate
        if path.is_file():
            return path
    raise UsageError(
        f"'{folder}' has no file '{name}' or '{plain}'; put it there, or name another folder with "
        "--input_data_dir"
    )


def _read_pair(folder, prefix):
    """Returns uint8 images [n, 28, 28] and uint8 labels [n] of "train" or "t10k"."""
    images_path = _find_file(folder, f"{prefix}-images-idx3-ubyte.gz")
    labels_path = _find_file(folder, f"{prefix}-labels-idx1-ubyte.gz")
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise UsageError(
            f"{images_path} holds {len(images)} images, but {labels_path} holds {len(labels)} "
            "labels; take both files from one data set"
        )
    return images, labels


def read_images(path):
    """Returns the images of an idx file, gzipped or plain: uint8 [n, IMAGE_SIZE, IMAGE_SIZE].

    Raises:
        UsageError: the file is not such a file, or is damaged.
    """
    images = _read_idx(path, "images", IMAGES_MAGIC, dimensions=3)
    wanted = (mnist.IMAGE_SIZE, mnist.IMAGE_SIZE)
    if images.shape[1:] != wanted:
        raise UsageError(
            f"{path}: its images are {images.shape[1]}x{images.shape[2]} pixels, expected "
            f"{wanted[0]}x{wanted[1]}; use a set with images of that size"
        )
    return images


def read_labels(path):
    """Returns the labels of an idx file, gzipped or plain: uint8 [n], below NUM_CLASSES.

    Raises:
        UsageError: the file is not such a file, or is damaged.
    """
    labels = _read_idx(path, "labels", LABELS_MAGIC, dimensions=1)
    if labels.max() >= mnist.NUM_CLASSES:
        where = int(np.argmax(labels >= mnist.NUM_CLASSES))
        raise UsageError(
            f"{path}: label number {where} is {labels[where]}, expected 0 to "
            f"{mnist.NUM_CLASSES - 1}; use a set of {mnist.NUM_CLASSES} classes"
        )
    return labels


def _read_idx(path, what, magic, dimensions):
    header_size = 4 + 4 * dimensions
    try:
        with pathlib.Path(path).open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if gzipped else raw
            header = stream.read(header_size)
            _check_header(path, header, what, magic, header_size)
            shape = struct.unpack(f">{dimensions}I", header[4:])
            body = _read_up_to(stream, math.prod(shape) + 1)  # one more shows whether there is more
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(
            f"{path}: truncated or damaged gzip data ({error}), expected an idx file of {what}; "
            "replace the file"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); replace the file") from error
    if 0 in shape:
        raise UsageError(f"{path}: holds no {what} (its header says {shape}); replace the file")
    if len(body) != math.prod(shape):
        more = "more" if len(body) > math.prod(shape) else f"only {len(body)}"
        raise UsageError(
            f"{path}: expected {math.prod(shape)} bytes after the header, which announces "
            f"{shape[0]} {what}, but there are {more}; replace the file"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_up_to(stream, size):
    """Returns at most `size` bytes, without asking for memory that a wrong header announces."""
    body = bytearray()
    while chunk := stream.read(min(size - len(body), 1 << 20)):
        body += chunk
    return body


def _check_header(path, header, what, magic, header_size):
    if not header:
        raise UsageError(f"{path}: empty, expected an idx file of {what}; replace the file")
    found = int.from_bytes(header[:4], "big")
    if found != magic:
        known = {IMAGES_MAGIC: "the file holds images", LABELS_MAGIC: "the file holds labels"}
        hint = known.get(found, "the file is of another kind")
        raise UsageError(
            f"{path}: starts with {found}, expected {magic} for idx {what}: {hint}; replace the "
            "file, or mend its name"
        )
    if len(header) < header_size:
        raise UsageError(f"{path}: truncated in its header; replace the file")
