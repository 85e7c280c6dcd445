"""From CIFAR-10's binary files to batches of images, with tf.data and without queues.

Records are read as a stream, so that memory does not grow with the data. What batch number k
holds, and how its images are distorted, is a pure function of (seed, k): see `training_batches`.
"""

import dataclasses
import hashlib
import pathlib

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from tutorial_support import datasets
from tutorial_support.programs import UsageError

IMAGE_SIZE = 32  # pixels, both ways
IMAGE_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE
RECORD_BYTES = 1 + IMAGE_BYTES  # a label, then the red, the green and the blue pixels
FOLDER = "cifar-10-batches-bin"
ARCHIVE = datasets.RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
SAMPLE_ARCHIVE = datasets.sample_folder("cifar10") / ARCHIVE.name

# AutoGraph would translate each function of a pipeline first, which takes longer than to trace it,
# and leave a file where a program is killed. There is nothing in them to translate.
_as_it_is = tf.autograph.experimental.do_not_convert

_BLOCK = 250  # records that are read together
_BLOCKS_AT_ONCE = 16  # blocks whose records are dealt out in turn
_SHUFFLE_BUFFER = 10000  # records, 31 MB


@dataclasses.dataclass(frozen=True)
class Segment:
    """Consecutive records of one file.

    Attributes:
        path: string.
        first: int, the number of records before the segment.
        count: int, the records of the segment.
        after: int, the number of records behind it.
    """

    path: str
    first: int
    count: int
    after: int

    def part(self, start, count):
        """Returns the Segment of `count` records from the `start`-th of this one on."""
        return Segment(
            self.path, self.first + start, count, self.after + self.count - start - count
        )


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of a split.

    Attributes:
        segments: tuple of Segment.
        class_names: tuple of strings; a label is the place of its class in it.
    """

    segments: tuple
    class_names: tuple

    @property
    def num_examples(self):
        """The number of images."""
        return sum(segment.count for segment in self.segments)

    def hold_out(self, count):
        """Returns (all but the last `count` records, the last `count` records) as Records.

        Raises:
            UsageError: nothing would be left.
        """
        if count >= self.num_examples:
            raise UsageError(
                f"--validation_size must be below {self.num_examples}, the number of training "
                f"images, not {count}"
            )
        kept, held_out = [], []
        left = self.num_examples - count
        for segment in self.segments:
            here = min(left, segment.count)
            if here:
                kept.append(segment.part(0, here))
            if here < segment.count:
                held_out.append(segment.part(here, segment.count - here))
            left -= here
        return Records(tuple(kept), self.class_names), Records(tuple(held_out), self.class_names)


def find_folder(data_dir=None, sample=False):
    """Returns the folder of the record files: the named one, the sample's, or a downloaded one.

    Args:
        data_dir: the folder that holds the .bin files, or the one that holds
            `cifar-10-batches-bin` or the published archive; or None.
        sample: take the shipped sample and do not ask the network.

    Returns:
        a pathlib.Path. Where nothing can be downloaded it is the sample's, and a warning is
        logged.

    Raises:
        UsageError: `data_dir` holds no such files, or the archive is damaged.
    """
    if data_dir is not None:
        return _named_folder(pathlib.Path(data_dir))
    if not sample:
        try:
            folder = datasets.cache_folder("cifar10")
            return datasets.fetch_unpacked(ARCHIVE, folder, FOLDER)
        except datasets.DownloadError as error:
            datasets.warn_of_sample("drawn shapes in CIFAR-10's file format, not CIFAR-10", error)
    return sample_folder()


def sample_folder():
    """Returns the folder of the shipped sample's record files, unpacked in the cache."""
    version = hashlib.sha256(SAMPLE_ARCHIVE.read_bytes()).hexdigest()[:8]
    return datasets.unpack(
        SAMPLE_ARCHIVE, datasets.cache_folder(f"cifar10_sample_{version}"), FOLDER
    )


def _named_folder(folder):
    if (folder / "test_batch.bin").exists():
        return folder
    if (folder / FOLDER).is_dir():
        return folder / FOLDER
    archive = folder / ARCHIVE.name
    if archive.is_file():
        return datasets.unpack(archive, folder, FOLDER)
    raise UsageError(
        f"--data_dir: '{folder}' holds neither test_batch.bin nor {FOLDER} nor {ARCHIVE.name}; "
        "name the folder of CIFAR-10's binary files, or use --sample"
    )


def training_records(folder):
    """Returns the checked `Records` of data_batch_1.bin, data_batch_2.bin, ... in `folder`."""
    paths = sorted(
        pathlib.Path(folder).glob("data_batch_*.bin"),
        key=lambda path: (len(path.name), path.name),
    )
    for number, path in enumerate(paths, start=1):
        if path.name != f"data_batch_{number}.bin":
            raise UsageError(f"'{folder}' lacks data_batch_{number}.bin; unpack the archive again")
    if not paths:
        raise UsageError(f"'{folder}' has no data_batch_1.bin; unpack the archive again")
    return _checked(folder, paths)


def test_records(folder):
    """Returns the checked `Records` of test_batch.bin in `folder`."""
    return _checked(folder, [pathlib.Path(folder) / "test_batch.bin"])


def _checked(folder, paths):
    """Returns `Records` after a look at the size of each file and at every label."""
    class_names = _class_names(folder)
    segments = []
    for path in paths:
        try:
            size = path.stat().st_size
            if size == 0 or size % RECORD_BYTES:
                raise UsageError(
                    f"{path}: its {size} bytes are no multiple of {RECORD_BYTES}, the size of a "
                    "record; unpack the archive again"
                )
            labels = np.memmap(path, np.uint8, "r")[::RECORD_BYTES]
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be read ({error.strerror}); unpack the archive again"
            ) from error
        if labels.max() >= len(class_names):
            record = int(np.argmax(labels >= len(class_names)))
            raise UsageError(
                f"{path}: record {record} has label {labels[record]}, but batches.meta.txt names "
                f"{len(class_names)} classes; unpack the archive again, or mend that file"
            )
        segments.append(Segment(str(path), 0, len(labels), 0))
    return Records(tuple(segments), class_names)


def _class_names(folder):
    path = pathlib.Path(folder) / "batches.meta.txt"
    try:
        names = tuple(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); it names a "
            "class a line and comes with the archive"
        ) from error
    if len(names) < 2:
        raise UsageError(f"{path}: names {len(names)} classes; it needs a line for each class")
    return names


def training_batches(records, batch_size, seed, first_step, distort, share=slice(None)):
    """Builds the training batches as a tf.data pipeline that never ends.

    Every epoch serves each record once, in an order of its own. To shuffle the whole set in
    bounded memory, blocks of consecutive records are taken in random order from all files,
    several blocks at once, and their records pass through a shuffle buffer.

    Args:
        records: Records.
        batch_size: int.
        seed: int, determines order and distortions.
        first_step: int64 scalar tensor, the number of batches to start after.
        distort: function from uint8 [batch, 32, 32, 3] and a seed, int64 [2], which differs from
            step to step, to float32 [batch, size, size, 3].
        share: slice, which images of each batch are wanted. What a batch holds, and how it is
            distorted, does not depend on it.

    Returns:
        a tf.data.Dataset of (float32 [n, size, size, 3], int32 [n]), n being batch_size unless only
        a share is wanted.
    """
    first_record = first_step * batch_size
    first_epoch = first_record // records.num_examples

    @_as_it_is
    def of_epoch(epoch):
        return _shuffled(records, seed, epoch)

    stream = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(of_epoch)
    batches = stream.skip(first_record % records.num_examples).batch(
        batch_size, drop_remainder=True
    )

    @_as_it_is
    def prepare(step, batch):
        images, labels = parse(batch)
        images = distort(images, tf.stack([tf.constant(seed, tf.int64), step]))
        return images[share], labels[share]

    return (
        batches.enumerate(first_step)
        .map(prepare, num_parallel_calls=2, deterministic=True)
        .prefetch(4)
    )


def evaluation_batches(records, batch_size, prepare):
    """Builds one pass over the records in their order, the last partial batch included.

    Args:
        records: Records.
        batch_size: int.
        prepare: function uint8 [batch, 32, 32, 3] -> float32 [batch, size, size, 3].

    Returns:
        a tf.data.Dataset of (float32 [batch, size, size, 3], int32 [batch]).
    """
    blocks = _blocks(records)
    batches = tf.data.Dataset.from_tensor_slices(blocks).flat_map(_read_block).batch(batch_size)

    @_as_it_is
    def prepared(batch):
        images, labels = parse(batch)
        return prepare(images), labels

    return batches.map(prepared, num_parallel_calls=2, deterministic=True).prefetch(2)


def _blocks(records):
    """Returns (paths, header bytes, footer bytes), three lists with an entry a block."""
    parts = [
        segment.part(start, min(_BLOCK, segment.count - start))
        for segment in records.segments
        for start in range(0, segment.count, _BLOCK)
    ]
    return (
        [part.path for part in parts],
        np.array([part.first * RECORD_BYTES for part in parts], np.int64),
        np.array([part.after * RECORD_BYTES for part in parts], np.int64),
    )


@_as_it_is
def _read_block(path, header_bytes, footer_bytes):
    return tf.data.FixedLengthRecordDataset(
        path, RECORD_BYTES, header_bytes, footer_bytes, buffer_size=_BLOCK * RECORD_BYTES
    )


def _shuffled(records, seed, epoch):
    """Returns a tf.data.Dataset of all records as strings, in the order of one epoch."""
    blocks = _blocks(records)
    order = tf2.random.experimental.stateless_shuffle(
        tf.range(len(blocks[0])), seed=[tf.constant(seed, tf.int64), epoch]
    )
    return (
        tf.data.Dataset.from_tensor_slices(tuple(tf.gather(column, order) for column in blocks))
        .interleave(
            _read_block, cycle_length=_BLOCKS_AT_ONCE, num_parallel_calls=2, deterministic=True
        )
        .shuffle(_SHUFFLE_BUFFER, seed=epoch * 1_000_003 + seed, reshuffle_each_iteration=False)
    )


def parse(records):
    """Splits raw records into images and labels.

    Args:
        records: string [batch], each of RECORD_BYTES bytes.

    Returns:
        images: uint8 [batch, 32, 32, 3].
        labels: int32 [batch].
    """
    values = tf.io.decode_raw(records, tf.uint8)
    labels = tf.cast(values[:, 0], tf.int32)
    planes = tf.reshape(values[:, 1:], [-1, 3, IMAGE_SIZE, IMAGE_SIZE])
    return tf.transpose(planes, [0, 2, 3, 1]), labels
