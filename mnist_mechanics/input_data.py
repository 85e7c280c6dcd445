"""Reads MNIST, or any data set in its file format, into numpy arrays for feeding.

    data_sets = read_data_sets("/folder/with/the/four/files")
    images, labels = data_sets.train.next_batch(100)

This module replaces `tensorflow.examples.tutorials.mnist.input_data`. The order of the training
examples is a pure function of the seed and the position, so a run can resume at any step: see
`DataSet.seek`.
"""

import argparse
import collections
import gzip
import math
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import mnist
from tutorial_support import files
from tutorial_support.programs import UsageError, one_line

VALIDATION_SIZE = 5000  # of MNIST's 60,000 training images, as in the original
TITLES = {"train": "Training", "validation": "Validation", "test": "Test"}  # printed split names
CLASS_NAMES = [str(digit) for digit in range(mnist.NUM_CLASSES)]

# Data sets in MNIST's format with other classes, by their largest label.
_OTHER_CLASSES = {
    26: "EMNIST letters: 26 classes, where 1 is A",
    46: "EMNIST balanced or by merge: 47 classes, digits and then letters",
    61: "EMNIST by class: 62 classes, digits, capitals and small letters",
}

IMAGES_MAGIC = 2051  # idx: unsigned bytes (0x08) in 3 dimensions
LABELS_MAGIC = 2049  # idx: unsigned bytes in 1 dimension
_MAX_BYTES = 1 << 30  # of an idx file; EMNIST's largest has 0.6 GB
_KNOWN_MAGIC = {
    IMAGES_MAGIC: "the file holds images",
    LABELS_MAGIC: "the file holds labels",
    3074: "these are QMNIST labels, with 8 numbers per image, the first of which is the digit",
}

SAMPLE = files.sample_folder("mnist")
_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# Size in bytes and SHA-256 of the four published files.
_PUBLISHED = {
    "train-images-idx3-ubyte.gz": (
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte.gz": (
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte.gz": (
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}

DataSets = collections.namedtuple("DataSets", ["train", "validation", "test"])


class DataSet:
    """Images and labels, served in batches."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        fake_data: bool = False,
        one_hot: bool = False,
        dtype: Any = np.float32,
        reshape: bool = True,
        seed: int | None = None,
    ) -> None:
        """Stores the arrays; they are copied and converted batch by batch.

        Args:
            images: uint8 [n, rows, columns] or [n, rows, columns, 1].
            labels: uint8 [n], in 0 .. mnist.NUM_CLASSES - 1; or float [n, NUM_CLASSES], one-hot.
            fake_data: ignore the arrays and serve 10,000 images with all pixels 1, labelled 0.
            one_hot: serve labels as float64 [batch, NUM_CLASSES] rather than uint8 [batch].
            dtype: float32 serves pixels in [0, 1], uint8 in [0, 255].
            reshape: serve images as [batch, rows * columns] rather than [batch, rows, columns, 1].
            seed: at least 0, determines the order; None draws a random seed.

        Raises:
            ValueError: the numbers of images and labels differ, or dtype is not supported.
        """
        if fake_data:
            images = np.broadcast_to(np.uint8(255), (10000, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE))
            labels, seed = np.zeros(10000, np.uint8), seed or 0
        dtype = tf.as_dtype(dtype).as_numpy_dtype
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images, but {len(labels)} labels")
        if dtype not in (np.float32, np.uint8):
            raise ValueError(f"dtype must be float32 or uint8, not {dtype}")
        rows, columns = images.shape[1:3]
        shape = (rows * columns,) if reshape else (rows, columns, 1)
        # Keep the bytes of the files: as float32, the images would take four times the memory.
        self._pixels = images.reshape(len(images), *shape)
        self._labels = dense_to_one_hot(labels) if one_hot and labels.ndim == 1 else labels
        self._dtype = dtype
        self._seed: Any = np.random.SeedSequence().entropy if seed is None else seed
        self._position = 0  # examples served since the start of the first epoch
        self._cached_order: tuple[int | None, Any] = (None, None)  # (epoch, its order)

    @property
    def images(self) -> np.ndarray:
        """All images, with the dtype and shape of `next_batch`; converted at each access."""
        return self._converted(self._pixels)

    @property
    def pixels(self) -> np.ndarray:
        """All images as uint8 in [0, 255], not copied."""
        return self._pixels

    @property
    def labels(self) -> np.ndarray:
        """All labels: uint8 [n], or one-hot [n, NUM_CLASSES]."""
        return self._labels

    @property
    def num_examples(self) -> int:
        """The number of images."""
        return len(self._pixels)

    @property
    def epochs_completed(self) -> int:
        """How many times every example has been served."""
        return self._position // self.num_examples

    def pictures(self, chosen: np.ndarray) -> np.ndarray:
        """Returns the images at the indices `chosen`: float32 [n, 28, 28] in [0, 1]."""
        return scale(self._pixels[chosen]).reshape(-1, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE)

    def seek(self, position: int) -> None:
        """Makes `next_batch` continue as if it had already served `position` examples."""
        self._position = position

    def next_batch(
        self, batch_size: int, fake_data: bool = False, shuffle: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the next `batch_size` images and labels; a batch may span two epochs.

        Each epoch serves every example once, in a new order.

        Args:
            batch_size: at least 1.
            fake_data: return images with all pixels 1, labelled 0, as the original does for tests.
            shuffle: False keeps the order of the files.
        """
        if fake_data:
            fake = fake_data_set(self._labels.ndim == 2)
            return fake.images[:batch_size], fake.labels[:batch_size]
        # At the end of an epoch, a batch takes its remaining examples from the next epoch.
        indices = []
        while batch_size > 0:
            epoch, offset = divmod(self._position, self.num_examples)
            piece = self._order(epoch, shuffle)[offset : offset + batch_size]
            indices.append(piece)
            self._position += len(piece)
            batch_size -= len(piece)
        chosen = np.concatenate(indices)
        return self._converted(self._pixels[chosen]), self._labels[chosen]

    def batches(
        self, batch_size: int, padded: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields every example once, in the order of the files; the last batch may be smaller.

        Args:
            batch_size: at least 1.
            padded: pad the last batch with copies of its last image, labelled -1 so that no
                prediction counts as correct; for placeholders with a fixed batch size.
        """
        # Evaluation counts every example once, so the last batch must not be dropped.
        for start in range(0, self.num_examples, batch_size):
            stop = start + batch_size
            images, labels = self._converted(self._pixels[start:stop]), self._labels[start:stop]
            if padded and len(labels) < batch_size:
                missing = batch_size - len(labels)
                images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
                labels = np.concatenate([np.int32(labels), np.full(missing, -1, np.int32)])
            yield images, labels

    def _converted(self, pixels: np.ndarray) -> np.ndarray:
        return pixels if self._dtype == np.uint8 else scale(pixels)

    def _order(self, epoch: int, shuffle: bool) -> np.ndarray:
        if not shuffle:
            return np.arange(self.num_examples)
        # Seeding with (seed, epoch) makes each epoch's order independent of the earlier ones.
        if self._cached_order[0] != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(self.num_examples)
            self._cached_order = (epoch, order)
        return self._cached_order[1]


def scale(pixels: np.ndarray) -> np.ndarray:
    """Returns uint8 pixels in [0, 255] as float32 in [0, 1]."""
    # One pass over the pixels: numpy converts and multiplies at once.
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


def dense_to_one_hot(labels_dense: np.ndarray, num_classes: int = 10) -> np.ndarray:
    """Returns labels, int [n], as one-hot float64 [n, num_classes]."""
    # Row k of the identity matrix is the one-hot vector of label k; indexing picks a row per label.
    return np.eye(num_classes)[labels_dense]


def fake_data_set(one_hot: bool = False, dtype: Any = np.float32, reshape: bool = True) -> DataSet:
    """Returns 10,000 images with all pixels 1, labelled 0, to try a program without data."""
    empty = np.zeros(0, np.uint8)
    return DataSet(empty, empty, True, one_hot, dtype, reshape)


def read_data_sets(
    train_dir: str | os.PathLike | None,
    fake_data: bool = False,
    one_hot: bool = False,
    dtype: Any = np.float32,
    reshape: bool = True,
    validation_size: int | None = None,
    seed: int | None = None,
    source_url: str | None = None,
) -> DataSets:
    """Reads the four files of a folder, and downloads missing files into it.

    Args:
        train_dir: the folder. Each file may be gzipped or plain.
        fake_data: ignore the folder and return `fake_data_set()` for each split.
        one_hot, dtype, reshape, seed: as in `DataSet`.
        validation_size: how many of the first training images become the validation set. None
            means 5,000, but at most a tenth of the training images and at least one.
        source_url: address to download from, for example of Fashion-MNIST, whose files have no
            known checksums; None tries MNIST's mirrors.

    Raises:
        UsageError: a file is missing or damaged, or `validation_size` leaves no training images.
    """
    if fake_data or train_dir is None:
        return DataSets(*(fake_data_set(one_hot, dtype, reshape) for _ in DataSets._fields))
    train_images, train_labels = _read_pair(train_dir, "train", source_url)
    test_images, test_labels = _read_pair(train_dir, "t10k", source_url)
    if validation_size is None:
        validation_size = min(VALIDATION_SIZE, max(1, len(train_images) // 10))
    # Validation images guide decisions during training; the test images are for the final result.
    if not 0 <= validation_size < len(train_images):
        raise UsageError(
            f"validation_size must be from 0 to {len(train_images) - 1} for the "
            f"{len(train_images)} training images of '{train_dir}', not {validation_size}"
        )

    # Slices of numpy arrays are views: the split copies no images.
    def data_set(images: np.ndarray, labels: np.ndarray) -> DataSet:
        return DataSet(images, labels, False, one_hot, dtype, reshape, seed)

    return DataSets(
        train=data_set(train_images[validation_size:], train_labels[validation_size:]),
        validation=data_set(train_images[:validation_size], train_labels[:validation_size]),
        test=data_set(test_images, test_labels),
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the data flags, which exclude each other."""
    group = parser.add_argument_group("data").add_mutually_exclusive_group()
    group.add_argument(
        "--input_data_dir",
        help="Folder with the four idx files. By default they are downloaded once.",
    )
    group.add_argument("--sample", action="store_true", help="Use the shipped sample of MNIST.")
    fake = "Use images with all pixels 1, labelled 0, to try the program without data."
    group.add_argument("--fake_data", action="store_true", help=fake)


def load(flags: argparse.Namespace, kept: dict[str, Any]) -> tuple[DataSets, dict[str, Any]]:
    """Reads the data that the flags name, or else the data of the run that is resumed.

    Args:
        flags: those of `add_flags`, and optionally `seed`. Without a data flag they are set to
            the run's.
        kept: the flags and facts of that run; empty for a new run.

    Returns:
        (the data sets, the facts about them that the run folder keeps).

    Raises:
        UsageError: the data cannot be used.
    """
    # The command that resumes a run need not name the data again.
    if not (flags.input_data_dir or flags.sample or flags.fake_data):
        flags.input_data_dir = None if kept.get("sample") else kept.get("input_data_dir")
        flags.sample, flags.fake_data = kept.get("sample", False), kept.get("fake_data", False)
    if flags.fake_data:
        return read_data_sets(None, fake_data=True), {"data": "fake"}
    folder = find_folder(flags.input_data_dir, flags.sample)
    data_sets = read_data_sets(folder, seed=getattr(flags, "seed", None))
    train = data_sets.train
    # The checksum identifies the data, so that a run cannot resume on other images.
    digest = zlib.crc32(train.labels, zlib.crc32(train.pixels))
    facts = {
        "sample": folder == SAMPLE,
        "data": f"{train.num_examples} training images with CRC {digest:08x}",
    }
    if flags.input_data_dir:
        facts["input_data_dir"] = str(folder.resolve())
    return data_sets, facts


def find_folder(data_dir: str | None = None, sample: bool = False) -> pathlib.Path:
    """Returns the folder to read: `data_dir`, the sample, or the cache after a download.

    If the download fails, it logs a warning and returns the sample's folder.

    Args:
        data_dir: a folder with the four files, or None.
        sample: use the shipped sample without trying the network.

    Raises:
        UsageError: `data_dir` is not a folder or lacks a file.
    """
    if data_dir is not None:
        if not pathlib.Path(data_dir).is_dir():
            raise UsageError(
                f"--input_data_dir: there is no folder '{data_dir}'; name the folder with the four "
                "idx files, or use --sample"
            )
        for name in _PUBLISHED:
            if _find_file(data_dir, name) is None:
                raise _missing(data_dir, name)
        return pathlib.Path(data_dir)
    if sample:
        return SAMPLE
    # Downloaded once: the files stay in the cache folder for the next start.
    folder = files.cache_folder("mnist")
    try:
        for name in _PUBLISHED:
            files.fetch(_remote(name, None), folder)
    except files.DownloadError as error:
        files.warn_of_sample("MNIST: 5,000 of its 70,000 images", error)
        return SAMPLE
    return folder


def _remote(name: str, source_url: str | None) -> files.RemoteFile:
    if source_url is not None:  # maybe of Fashion-MNIST, whose files have the same names
        return files.RemoteFile(name, None, None, (f"{source_url.rstrip('/')}/{name}",))
    return files.RemoteFile(name, *_PUBLISHED[name], tuple(mirror + name for mirror in _MIRRORS))


def _find_file(folder: str | os.PathLike, name: str) -> pathlib.Path | None:
    """Returns the path of `name` (which ends in .gz), gzipped or plain, or None if missing."""
    plain = name.removesuffix(".gz")
    paths = (pathlib.Path(folder) / n for n in (name, plain, plain.replace("-idx", ".idx")))
    return next((path for path in paths if path.is_file()), None)


def _missing(folder: str | os.PathLike, name: str, why: object = "") -> UsageError:
    # EMNIST and QMNIST prefix the data set's name and write "test" instead of "t10k".
    kind = name.removeprefix("train-").removeprefix("t10k-").partition("-")[0]
    others = sorted(path.name for path in pathlib.Path(folder).glob(f"?*-{kind}-idx*"))
    hint = f", or rename '{one_line(others[0])}' if that is the file" if others else ""
    return UsageError(
        f"'{folder}' has no file '{name}' or '{name.removesuffix('.gz')}'{why}; put it there{hint}"
        ", or name another folder with --input_data_dir"
    )


def _read_pair(
    folder: str | os.PathLike, prefix: str, source_url: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 images [n, 28, 28] and uint8 labels [n] of "train" or "t10k"."""
    paths = []
    for name in (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"):
        try:
            path = _find_file(folder, name)
            paths.append(path or files.fetch(_remote(name, source_url), pathlib.Path(folder)))
        except files.DownloadError as error:
            raise _missing(folder, name, f", and {error}") from error
    images, labels = read_images(paths[0]), read_labels(paths[1])
    if len(images) != len(labels):
        raise UsageError(
            f"{paths[0]} holds {len(images)} images, but {paths[1]} holds {len(labels)} "
            "labels; take both files from one data set"
        )
    return images, labels


def extract_images(f: IO[bytes]) -> np.ndarray:
    """Returns the images of an open idx file, gzipped or plain: uint8 [n, rows, columns, 1]."""
    return _parse_idx(f, getattr(f, "name", "images"), "images", IMAGES_MAGIC, 3)[..., None]


def extract_labels(f: IO[bytes], one_hot: bool = False, num_classes: int = 10) -> np.ndarray:
    """Returns the labels of an open idx file, gzipped or plain: uint8 [n], or one-hot."""
    labels = _parse_idx(f, getattr(f, "name", "labels"), "labels", LABELS_MAGIC, 1)
    return dense_to_one_hot(labels, num_classes) if one_hot else labels


def read_images(path: str | os.PathLike) -> np.ndarray:
    """Returns the images of an idx file, gzipped or plain: uint8 [n, IMAGE_SIZE, IMAGE_SIZE].

    Raises:
        UsageError: the file is of another kind, or damaged.
    """
    images = _read_idx(path, "images", IMAGES_MAGIC, dimensions=3)
    wanted = (mnist.IMAGE_SIZE, mnist.IMAGE_SIZE)
    if images.shape[1:] != wanted:
        raise UsageError(
            f"{path}: its images are {images.shape[1]}x{images.shape[2]} pixels, expected "
            f"{wanted[0]}x{wanted[1]}; use a data set with images of that size"
        )
    return images


def read_labels(path: str | os.PathLike) -> np.ndarray:
    """Returns the labels of an idx file, gzipped or plain: uint8 [n], below NUM_CLASSES.

    Raises:
        UsageError: the file is of another kind, or damaged.
    """
    labels = _read_idx(path, "labels", LABELS_MAGIC, dimensions=1)
    # For such a label, the loss raises an error on a CPU but is NaN on a GPU, without a message.
    if labels.max() >= mnist.NUM_CLASSES:
        where = int(np.argmax(labels >= mnist.NUM_CLASSES))
        known = _OTHER_CLASSES.get(int(labels.max()))
        raise UsageError(
            f"{path}: label number {where} is {labels[where]}, expected 0 to "
            f"{mnist.NUM_CLASSES - 1}{f' (this looks like {known})' if known else ''}; use a data "
            f"set with {mnist.NUM_CLASSES} classes"
        )
    return labels


def _read_idx(path: str | os.PathLike, what: str, magic: int, dimensions: int) -> np.ndarray:
    with (
        files.reading(path, f"expected an idx file of {what}; replace it"),
        pathlib.Path(path).open("rb") as stream,
    ):
        return _parse_idx(stream, path, what, magic, dimensions)


def _parse_idx(
    raw: IO[bytes], path: str | os.PathLike, what: str, magic: int, dimensions: int
) -> np.ndarray:
    """Returns the content of an open idx file, gzipped or plain; messages name `path`."""
    # The first two bytes tell a gzip file from a plain one, whatever its name.
    gzipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if gzipped else raw
    # A header: two zero bytes, the type of the values (8 is an unsigned byte), the number of
    # dimensions, and the size of each dimension. The values follow in one block, row by row.
    header_size = 4 + 4 * dimensions
    header = stream.read(header_size)
    _check_header(path, header, what, magic, header_size)
    # The sizes are big-endian 32-bit integers: ">" and "I" in struct's notation.
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = math.prod(shape)
    if size > _MAX_BYTES:
        raise UsageError(
            f"{path}: its header declares {size} bytes, more than {_MAX_BYTES}; replace the file"
        )
    body = _read_up_to(stream, size + 1)  # one extra byte shows whether the file is too long
    if size == 0:
        raise UsageError(f"{path}: holds no {what} (its header says {shape}); replace the file")
    if len(body) != size:
        more = "more" if len(body) > size else f"only {len(body)}"
        raise UsageError(
            f"{path}: expected {size} bytes after the header, which declares {shape[0]} {what}, "
            f"but there are {more}; replace the file"
        )
    # frombuffer reads the bytes in place and reshape only relabels them: neither copies.
    values = np.frombuffer(body, np.uint8).reshape(shape)
    # The arrays are shared by data sets and pipelines, so protect them from changes.
    values.flags.writeable = False
    return values


def _read_up_to(stream: Any, size: int) -> bytearray:
    """Returns at most `size` bytes, without allocating the memory that a bad header declares."""
    # Read in pieces of 1 MB, so that memory grows only with the bytes that are really there.
    body = bytearray()
    while chunk := stream.read(min(size - len(body), 1 << 20)):
        body += chunk
    return body


def _check_header(
    path: str | os.PathLike, header: bytes, what: str, magic: int, header_size: int
) -> None:
    if not header:
        raise UsageError(f"{path}: empty, expected an idx file of {what}; replace the file")
    # The first four bytes, read as one number, are the "magic number" of this kind of file.
    found = int.from_bytes(header[:4], "big")
    if found != magic:
        hint = _KNOWN_MAGIC.get(found, "the file is of another kind")
        raise UsageError(
            f"{path}: starts with {found}, expected {magic} for idx {what}: {hint}; replace or "
            "rename the file"
        )
    if len(header) < header_size:
        raise UsageError(f"{path}: truncated in its header; replace the file")
