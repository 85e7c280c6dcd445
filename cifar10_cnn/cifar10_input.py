"""From CIFAR's binary files to batches of images, with tf.data and without queues.

Records are read as a stream, so that memory does not grow with the data. What batch number k
holds, and how its images are distorted, is a pure function of (seed, k): see `training_batches`.
"""

import argparse
import atexit
import contextlib
import dataclasses
import os
import pathlib
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import distortions
from tutorial_support import archives, files
from tutorial_support.programs import UsageError

IMAGE_SIZE = 32  # pixels, both ways
IMAGE_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE
RECORD_BYTES = 1 + IMAGE_BYTES  # a label, then the red, the green and the blue pixels
EVALUATION_BATCH = 500  # images
LABELS = ("coarse", "fine")  # the two labels of a record of CIFAR-100, in their order
FOLDER, FOLDER_100 = "cifar-10-batches-bin", "cifar-100-binary"
ARCHIVE = files.RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
SAMPLE_ARCHIVE = files.sample_folder("cifar10") / ARCHIVE.name
_PUBLISHED = {FOLDER: ARCHIVE.name, FOLDER_100: "cifar-100-binary.tar.gz"}  # each one's archive

# AutoGraph would translate each function of a pipeline first, which takes longer than to trace it,
# and leave a file where a program is killed. There is nothing in them to translate.
_as_it_is = tf.autograph.experimental.do_not_convert

_BLOCK = 250  # records that are read together
_BLOCKS_AT_ONCE = 16  # blocks that are read in turn
_SHUFFLE_BUFFER = 10000  # records, 31 MB
_AGAIN = "unpack the archive again"


@dataclasses.dataclass(frozen=True)
class Segment:
    """Consecutive records of one file.

    Attributes:
        path: of the file.
        first: the number of records before the segment.
        count: the records of the segment.
        after: the number of records behind it.
    """

    path: str
    first: int
    count: int
    after: int

    def part(self, start: int, count: int) -> "Segment":
        """Returns the `count` records from number `start` of this segment on."""
        after = self.after + self.count - start - count
        return Segment(self.path, self.first + start, count, after)


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of a split.

    Attributes:
        segments: where they are.
        class_names: a label is the place of its class in it.
        label_bytes: in front of each image.
        label_at: which of these bytes is the label.
    """

    segments: tuple[Segment, ...]
    class_names: tuple[str, ...]
    label_bytes: int = 1
    label_at: int = 0

    @property
    def record_bytes(self) -> int:
        """The size of a record."""
        return self.label_bytes + IMAGE_BYTES

    @property
    def folder(self) -> pathlib.Path:
        """Where their files are."""
        return pathlib.Path(self.segments[0].path).parent

    @property
    def num_examples(self) -> int:
        """The number of images."""
        return sum(segment.count for segment in self.segments)

    def _rows(self, segment: Segment) -> np.ndarray:
        """Returns uint8 [count, record_bytes], which are read from the file where they are used."""
        rows = np.memmap(segment.path, np.uint8, "r").reshape(-1, self.record_bytes)
        return rows[segment.first : segment.first + segment.count]

    @property
    def labels(self) -> np.ndarray:
        """All labels, uint8 [n]."""
        labels = [self._rows(segment)[:, self.label_at] for segment in self.segments]
        return np.concatenate([np.zeros(0, np.uint8), *labels])

    def images(self, places: Iterable[int]) -> np.ndarray:
        """Returns the images with these numbers, uint8 [n, 32, 32, 3]."""
        rows = [self._rows(segment) for segment in self.segments]
        ends = np.cumsum([len(part) for part in rows])
        pixels = []
        for place in places:
            i = int(np.searchsorted(ends, place, side="right"))
            pixels.append(rows[i][place - ends[i], self.label_bytes :])
        return np.reshape(pixels, (-1, 3, IMAGE_SIZE, IMAGE_SIZE)).transpose(0, 2, 3, 1)

    def pictures(self, places: Iterable[int]) -> list[np.ndarray]:
        """Returns the images with these numbers to look at, each float [32, 32, 3] in [0, 1]."""
        return list(self.images(places) / 255)

    def hold_out(self, count: int) -> tuple["Records", "Records"]:
        """Returns (all but the last `count` records, the last `count` records).

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
        replace = dataclasses.replace
        return replace(self, segments=tuple(kept)), replace(self, segments=tuple(held_out))

    def checksum(self, stride: int = 1) -> str:
        """Returns a CRC of every `stride`-th byte of the files, which tells data sets apart."""
        digest = 0
        for segment in self.segments:
            values = np.memmap(segment.path, np.uint8, "r")[::stride]
            digest = zlib.crc32(values.tobytes(), digest)
        return f"{self.num_examples} training images with CRC {digest:08x}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where the data comes from, of which at most one can be given."""
    group = parser.add_argument_group("data")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--data_dir",
        help="Folder of CIFAR-10's or CIFAR-100's binary files or archive, or of other files in "
        "these formats; by default CIFAR-10 is downloaded once.",
    )
    source.add_argument("--sample", action="store_true", help="Use the shipped drawn shapes.")
    group.add_argument(
        "--labels",
        choices=LABELS,
        help="Which of CIFAR-100's labels to use; by default the fine ones, of 100 classes.",
    )


def load(
    flags: argparse.Namespace, kept: dict[str, Any]
) -> tuple[Records, Records, dict[str, Any]]:
    """Finds the data that the flags name, or else that of the run whose flags were kept.

    Returns:
        the records to train on; those to evaluate on: the test images, or the training images that
        --validation_size holds out; and the facts about the data that a run keeps.

    Raises:
        UsageError: the data cannot be used.
    """
    folder, is_sample = find(flags, kept)
    training = training_records(folder, flags.labels)
    facts = {
        "sample": is_sample,
        "data": training.checksum(RECORD_BYTES // 3),  # as earlier versions kept it
        "records": training.checksum(),
        "class_names": list(training.class_names),
    }
    if flags.data_dir:
        facts["data_dir"] = str(folder.resolve())
    if flags.validation_size:
        return *training.hold_out(flags.validation_size), facts
    return training, test_records(folder, flags.labels), facts


def find(flags: argparse.Namespace, kept: dict[str, Any]) -> tuple[pathlib.Path, bool]:
    """Returns what `find_folder` does for the flags, or else for those of a run; settles flags."""
    if not (flags.data_dir or flags.sample):
        flags.sample = bool(kept.get("sample"))
        flags.data_dir = None if flags.sample else kept.get("data_dir")
        flags.labels = flags.labels or kept.get("labels")
    folder, is_sample = find_folder(flags.data_dir, flags.sample)
    if _is_cifar100(folder):
        flags.labels = flags.labels or "fine"
    elif flags.labels:
        raise UsageError(
            f"--labels {flags.labels}: the records in '{folder}' have one label, as CIFAR-10's; "
            "leave the flag out"
        )
    return folder, is_sample


def find_folder(
    data_dir: str | os.PathLike | None = None, sample: bool = False
) -> tuple[pathlib.Path, bool]:
    """Returns the folder of the record files, and whether it is the shipped sample's.

    Args:
        data_dir: the folder that holds the .bin files, or the one that holds the folder or the
            archive as published; or None: then CIFAR-10 is downloaded. Where that is not possible,
            the sample takes its place, and a warning is logged.
        sample: take the sample without asking the network.

    Raises:
        UsageError: `data_dir` holds no such files, or the archive is damaged.
    """
    if data_dir is not None:
        return _named_folder(pathlib.Path(data_dir)), False
    if not sample:
        try:
            return archives.fetch_unpacked(ARCHIVE, files.cache_folder("cifar10"), FOLDER), False
        except files.DownloadError as error:
            files.warn_of_sample("drawn shapes in CIFAR-10's file format, not CIFAR-10", error)
    # Unpacked for as long as this process lives: that needs no cache that can be written.
    at_exit = contextlib.ExitStack()
    atexit.register(at_exit.close)
    temporary = pathlib.Path(tempfile.gettempdir(), "cifar10-sample")
    folder = at_exit.enter_context(files.temporary_folder(temporary))
    return archives.unpack(SAMPLE_ARCHIVE, folder, FOLDER), True


def _named_folder(folder: pathlib.Path) -> pathlib.Path:
    if (folder / "test_batch.bin").exists() or (folder / "test.bin").exists():
        return folder
    for name, archive in _PUBLISHED.items():
        if (folder / name).is_dir():
            return folder / name
        if (folder / archive).is_file():
            return archives.unpack(folder / archive, folder, name)
    raise UsageError(
        f"--data_dir: '{folder}' holds neither test_batch.bin nor {FOLDER} nor {ARCHIVE.name}, and "
        "nothing of CIFAR-100; name the folder of the binary files, or use --sample"
    )


def _is_cifar100(folder: pathlib.Path) -> bool:
    return (folder / "train.bin").exists() or (folder / "test.bin").exists()


def training_records(folder: str | os.PathLike, labels: str | None = None) -> Records:
    """Returns the checked records of data_batch_1.bin, data_batch_2.bin, ..., or of train.bin.

    Args:
        folder: from `find_folder`.
        labels: one of LABELS, for CIFAR-100; None takes the fine ones.
    """
    folder = pathlib.Path(folder)
    if _is_cifar100(folder):
        return _checked(folder, [folder / "train.bin"], labels)
    batches = folder.glob("data_batch_*.bin")
    paths = sorted(batches, key=lambda path: (len(path.name), path.name))
    for number, path in enumerate(paths, start=1):
        if path.name != f"data_batch_{number}.bin":
            raise UsageError(f"'{folder}' lacks data_batch_{number}.bin; {_AGAIN}")
    if not paths:
        raise UsageError(f"'{folder}' has no data_batch_1.bin; {_AGAIN}")
    return _checked(folder, paths, labels)


def test_records(folder: str | os.PathLike, labels: str | None = None) -> Records:
    """Returns the checked records of test_batch.bin, or of test.bin; as `training_records`."""
    folder = pathlib.Path(folder)
    name = "test.bin" if _is_cifar100(folder) else "test_batch.bin"
    return _checked(folder, [folder / name], labels)


def _checked(folder: pathlib.Path, paths: list[pathlib.Path], labels: str | None) -> Records:
    """Returns `Records` after a look at the size of each file and at every label."""
    label_bytes, label_at, names_file = 1, 0, "batches.meta.txt"
    if _is_cifar100(folder):
        labels = labels or "fine"
        label_bytes, label_at, names_file = 2, LABELS.index(labels), f"{labels}_label_names.txt"
    class_names = _class_names(folder / names_file)
    records = Records((), class_names, label_bytes, label_at)
    for path in paths:
        with files.reading(path, _AGAIN):
            size = path.stat().st_size
            if size == 0 or size % records.record_bytes:
                raise UsageError(
                    f"{path}: its {size} bytes are no multiple of {records.record_bytes}, the size "
                    f"of a record; {_AGAIN}"
                )
            segment = Segment(str(path), 0, size // records.record_bytes, 0)
            found = dataclasses.replace(records, segments=(segment,)).labels
        if found.max() >= len(class_names):
            record = int(np.argmax(found >= len(class_names)))
            raise UsageError(
                f"{path}: record {record} has label {found[record]}, but {names_file} names "
                f"{len(class_names)} classes; {_AGAIN}, or mend that file"
            )
        records = dataclasses.replace(records, segments=(*records.segments, segment))
    return records


def _class_names(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the lines of a file that are not blank; bytes that are no UTF-8 stay as they are."""
    text = files.read_text(path, "it holds one class name per line and comes with the archive")
    names = tuple(line.strip() for line in text.split("\n") if line.strip())
    if len(names) < 2:
        raise UsageError(f"{path}: names {len(names)} classes; it needs a line for each class")
    return names


def training_batches(
    records: Records,
    batch_size: int,
    seed: int,
    first_step: tf.Tensor,
    distort: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    share: slice = slice(None),
) -> tf.data.Dataset:
    """Builds the training batches as a tf.data pipeline that never ends.

    Every epoch serves each record once, in an order of its own. To shuffle the whole set in
    bounded memory, blocks of consecutive records are taken in random order from all files,
    several blocks at once, and their records pass through a shuffle buffer.

    Args:
        records: to train on.
        batch_size: images in a batch.
        seed: determines order and distortions.
        first_step: int64 scalar, the number of batches to start after.
        distort: function from uint8 [batch, 32, 32, 3] and a seed, int64 [2], which differs from
            step to step, to float32 [batch, size, size, 3].
        share: which images of each batch are wanted. What a batch holds, and how it is distorted,
            does not depend on it.

    Returns:
        a dataset of (float32 [n, size, size, 3], int32 [n]), n being batch_size unless only a share
        is wanted.
    """
    first_record = first_step * batch_size
    first_epoch = first_record // records.num_examples

    @_as_it_is
    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        return _shuffled(records, seed, epoch)

    # flat_map asks for one epoch after the other. Because the order is known from the seed, a
    # resumed run starts within an epoch: it skips what the earlier part of the run has seen.
    stream = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(of_epoch)
    batches = stream.skip(first_record % records.num_examples).batch(
        batch_size, drop_remainder=True
    )

    @_as_it_is
    def prepare(step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = parse(batch, records.label_bytes, records.label_at)
        images = distort(images, tf.stack([tf.constant(seed, tf.int64), step]))
        return images[share], labels[share]

    # Threads of TensorFlow's own prepare a few batches ahead, while the net computes.
    return (
        batches.enumerate(first_step)
        .map(prepare, num_parallel_calls=2, deterministic=True)
        .prefetch(4)
    )


class TrainingInput:
    """The training batches in the graph: each run of the session that needs them takes the next.

    Attributes:
        images: float32 [batch, CROP_SIZE, CROP_SIZE, 3].
        targets: int32 [batch].
    """

    def __init__(
        self,
        records: Records,
        flags: argparse.Namespace,
        distort: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        share: slice = slice(None),
    ) -> None:
        """Adds the iterator; arguments as of `training_batches`, and flags with what it takes."""
        with tf.name_scope("training_input"):
            self._first_step = tf.placeholder(tf.int64, (), "first_step")
            batches = training_batches(
                records, flags.batch_size, flags.seed, self._first_step, distort, share
            )
            # An iterator keeps its place from run to run, in the session, and no checkpoint holds
            # it. Its initializer reads the placeholder, and so can begin at any step.
            self._iterator = tf.data.make_initializable_iterator(batches)
            self.images, self.targets = self._iterator.get_next()

    def begin(self, sess: tf.Session, first_step: int) -> None:
        """Makes the batch of a step the next one."""
        sess.run(self._iterator.initializer, {self._first_step: first_step})


def evaluation_batches(
    records: Records,
    batch_size: int = EVALUATION_BATCH,
    prepare: Callable[[tf.Tensor], tf.Tensor] = distortions.central_images,
) -> tf.data.Dataset:
    """Builds one pass over the records in their order, the last partial batch included.

    Args:
        records: to evaluate on.
        batch_size: images in a batch.
        prepare: function from uint8 [batch, 32, 32, 3] to float32 [batch, size, size, 3].

    Returns:
        a dataset of (float32 [batch, size, size, 3], int32 [batch]).
    """
    blocks = tf.data.Dataset.from_tensor_slices(_blocks(records))
    batches = blocks.flat_map(_reader(records)).batch(batch_size)

    @_as_it_is
    def prepared(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = parse(batch, records.label_bytes, records.label_at)
        return prepare(images), labels

    return batches.map(prepared, num_parallel_calls=2, deterministic=True).prefetch(2)


def one_pass(sess: tf.Session, iterator: Any, fetches: Any) -> Iterator[Any]:
    """Yields the values of `fetches` for each batch of an initializable iterator."""
    # The initializer takes the iterator back to the first batch.
    sess.run(iterator.initializer)
    while True:
        try:
            yield sess.run(fetches)
        except tf.errors.OutOfRangeError:  # how an iterator says that the pass is over
            return


def _blocks(records: Records) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns (paths, header bytes, footer bytes), each with one entry per block."""
    parts = [
        segment.part(start, min(_BLOCK, segment.count - start))
        for segment in records.segments
        for start in range(0, segment.count, _BLOCK)
    ]
    return (
        [part.path for part in parts],
        np.array([part.first * records.record_bytes for part in parts], np.int64),
        np.array([part.after * records.record_bytes for part in parts], np.int64),
    )


def _reader(records: Records) -> Callable[..., tf.data.Dataset]:
    """Returns the function from a block's path, header and footer to a dataset of its records."""
    size = records.record_bytes

    @_as_it_is
    def read_block(path: tf.Tensor, header: tf.Tensor, footer: tf.Tensor) -> tf.data.Dataset:
        return tf.data.FixedLengthRecordDataset(
            path, size, header, footer, buffer_size=_BLOCK * size
        )

    return read_block


def _shuffled(records: Records, seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """Returns a dataset of all records as strings, in the order of one epoch."""
    blocks = _blocks(records)
    # A stateless op draws its random numbers from the seed that it is given, and from nothing else.
    order = tf2.random.experimental.stateless_shuffle(
        tf.range(len(blocks[0])), seed=[tf.constant(seed, tf.int64), epoch]
    )
    return (
        tf.data.Dataset.from_tensor_slices(tuple(tf.gather(column, order) for column in blocks))
        .interleave(
            _reader(records),
            cycle_length=_BLOCKS_AT_ONCE,
            num_parallel_calls=2,
            deterministic=True,
        )
        .shuffle(_SHUFFLE_BUFFER, seed=epoch * 1_000_003 + seed, reshuffle_each_iteration=False)
    )


def parse(
    records: tf.Tensor, label_bytes: int = 1, label_at: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits raw records into images and labels.

    Args:
        records: string [batch], each of `label_bytes` + IMAGE_BYTES bytes.
        label_bytes: in front of each image.
        label_at: which of these bytes is the label.

    Returns:
        images: uint8 [batch, 32, 32, 3].
        labels: int32 [batch].
    """
    values = tf.io.decode_raw(records, tf.uint8)
    labels = tf.cast(values[:, label_at], tf.int32)
    # The file holds all red pixels first. Convolutions want the colours of a pixel side by side.
    planes = tf.reshape(values[:, label_bytes:], [-1, 3, IMAGE_SIZE, IMAGE_SIZE])
    return tf.transpose(planes, [0, 2, 3, 1]), labels
