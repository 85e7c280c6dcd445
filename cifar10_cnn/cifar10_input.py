"""Reads CIFAR's binary files into batches of images with tf.data.

Records are streamed from disk, so memory does not grow with the data. The content of batch k and
its distortions are a pure function of (seed, k): see `training_batches`.
"""

import argparse
import dataclasses
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import distortions
from tutorial_support import archives, files, runs
from tutorial_support.programs import UsageError

IMAGE_SIZE = 32  # pixels, height and width
IMAGE_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE
RECORD_BYTES = 1 + IMAGE_BYTES  # a label, then the red, the green and the blue pixels
EVALUATION_BATCH = 500  # images
LABELS = ("coarse", "fine")  # the two labels of a CIFAR-100 record, in order
FOLDER, FOLDER_100 = "cifar-10-batches-bin", "cifar-100-binary"
ARCHIVE = files.RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
SAMPLE_ARCHIVE = files.sample_folder("cifar10") / ARCHIVE.name
_PUBLISHED = {FOLDER: ARCHIVE.name, FOLDER_100: "cifar-100-binary.tar.gz"}  # archive of each folder

_BLOCK = 250  # consecutive records that are read together
_CONCURRENT_BLOCKS = 16  # blocks whose records are interleaved
_SHUFFLE_BUFFER = 10000  # records, 31 MB
_UNPACK_AGAIN = "unpack the archive again"


@dataclasses.dataclass(frozen=True)
class Segment:
    """Consecutive records of one file.

    Attributes:
        path: the file.
        first: number of records in the file before the segment.
        count: number of records in the segment.
        after: number of records in the file after the segment.
    """

    path: str
    first: int
    count: int
    after: int

    def part(self, start: int, count: int) -> "Segment":
        """Returns `count` records of this segment, starting at its record `start`."""
        after = self.after + self.count - start - count
        return Segment(self.path, self.first + start, count, after)


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of a split.

    Attributes:
        segments: the parts of files that contain them.
        class_names: class names, indexed by label.
        label_bytes: number of label bytes before each image.
        label_at: index of the byte that is used as the label.
    """

    segments: tuple[Segment, ...]
    class_names: tuple[str, ...]
    label_bytes: int = 1
    label_at: int = 0

    @property
    def record_bytes(self) -> int:
        """The size of a record in bytes."""
        return self.label_bytes + IMAGE_BYTES

    @property
    def folder(self) -> pathlib.Path:
        """The folder with their files."""
        return pathlib.Path(self.segments[0].path).parent

    @property
    def num_examples(self) -> int:
        """The number of images."""
        return sum(segment.count for segment in self.segments)

    def _rows(self, segment: Segment) -> np.ndarray:
        """Returns a memory map of the segment: uint8 [count, record_bytes]."""
        # A memory map reads only the parts of the file that are used.
        rows = np.memmap(segment.path, np.uint8, "r").reshape(-1, self.record_bytes)
        return rows[segment.first : segment.first + segment.count]

    @property
    def labels(self) -> np.ndarray:
        """All labels, uint8 [n]."""
        labels = [self._rows(segment)[:, self.label_at] for segment in self.segments]
        return np.concatenate([np.zeros(0, np.uint8), *labels])

    def images(self, indices: Iterable[int]) -> np.ndarray:
        """Returns the images at `indices`: uint8 [n, 32, 32, 3]."""
        rows = [self._rows(segment) for segment in self.segments]
        ends = np.cumsum([len(part) for part in rows])
        pixels = []
        for index in indices:
            # The segment that contains this index; index - ends[i] counts from its end.
            i = int(np.searchsorted(ends, index, side="right"))
            pixels.append(rows[i][index - ends[i], self.label_bytes :])
        return np.reshape(pixels, (-1, 3, IMAGE_SIZE, IMAGE_SIZE)).transpose(0, 2, 3, 1)

    def pictures(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Returns the images at `indices` for drawing, each float64 [32, 32, 3] in [0, 1]."""
        return list(self.images(indices) / 255)

    def hold_out(self, count: int) -> tuple["Records", "Records"]:
        """Returns (all but the last `count` records, the last `count` records).

        Raises:
            UsageError: no record would be left for training.
        """
        if count >= self.num_examples:
            raise UsageError(
                f"--validation_size {count} must be smaller than the number of training images, "
                f"{self.num_examples}"
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
        """Describes the data by the number of records and a CRC of every `stride`-th byte."""
        digest = 0
        for segment in self.segments:
            values = np.memmap(segment.path, np.uint8, "r")[::stride]
            digest = zlib.crc32(values.tobytes(), digest)
        return f"{self.num_examples} training images with CRC {digest:08x}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the data flags; --data_dir and --sample exclude each other."""
    group = parser.add_argument_group("data")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--data_dir",
        help="Folder with the binary files or the archive of CIFAR-10 or CIFAR-100, or with other "
        "data in these formats. By default CIFAR-10 is downloaded once.",
    )
    source.add_argument(
        "--sample", action="store_true", help="Use the shipped sample of drawn shapes."
    )
    group.add_argument(
        "--labels",
        choices=LABELS,
        help="Labels to use with CIFAR-100. By default the fine labels, of 100 classes.",
    )


def load(
    flags: argparse.Namespace, kept: dict[str, Any]
) -> tuple[Records, Records, dict[str, Any]]:
    """Finds the data that the flags name, or else the data of the run that is resumed.

    Args:
        flags: those of `add_flags` and `validation_size`; without a data flag they are set to the
            run's.
        kept: the flags and facts of that run; empty for a new run.

    Returns:
        (training records, evaluation records, facts about the data that the run folder keeps). The
        evaluation records are the test images, or what --validation_size holds out.

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
    """Returns `find_folder` for the flags, or else for the run's flags in `kept`.

    It sets the data flags to what is used.

    Raises:
        UsageError: --labels is given for data with one label per record, or as `find_folder`.
    """
    if not (flags.data_dir or flags.sample):
        flags.sample = bool(kept.get("sample"))
        flags.data_dir = None if flags.sample else kept.get("data_dir")
        flags.labels = flags.labels or kept.get("labels")
    folder, is_sample = find_folder(flags.data_dir, flags.sample)
    if _is_cifar100(folder):
        flags.labels = flags.labels or "fine"
    elif flags.labels:
        raise UsageError(
            f"--labels {flags.labels}: the records in '{folder}' have only one label, like "
            "CIFAR-10's; leave the flag out"
        )
    return folder, is_sample


def find_folder(
    data_dir: str | os.PathLike | None = None, sample: bool = False
) -> tuple[pathlib.Path, bool]:
    """Returns (the folder with the record files, whether it is the shipped sample).

    Args:
        data_dir: a folder with the .bin files, or with the published folder or archive. None
            downloads CIFAR-10; if that fails, it logs a warning and returns the sample.
        sample: use the sample without trying the network.

    Raises:
        UsageError: `data_dir` contains no such files, or the archive is damaged.
    """
    if data_dir is not None:
        return _named_folder(pathlib.Path(data_dir)), False
    if not sample:
        try:
            return archives.fetch_unpacked(ARCHIVE, files.cache_folder("cifar10"), FOLDER), False
        except files.DownloadError as error:
            files.warn_of_sample("drawn shapes in CIFAR-10's file format, not CIFAR-10", error)
    # Unpack into a temporary folder that is removed at exit, because the cache may be read-only.
    folder = files.folder_until_exit("cifar10-sample")
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
        f"--data_dir: '{folder}' contains no test_batch.bin, {FOLDER} or {ARCHIVE.name}, and no "
        "CIFAR-100 data; name the folder with the binary files, or use --sample"
    )


def _is_cifar100(folder: pathlib.Path) -> bool:
    return (folder / "train.bin").exists() or (folder / "test.bin").exists()


def training_records(folder: str | os.PathLike, labels: str | None = None) -> Records:
    """Returns the checked records of data_batch_1.bin, data_batch_2.bin, ..., or of train.bin.

    Args:
        folder: from `find_folder`.
        labels: one of LABELS, for CIFAR-100; None means "fine".

    Raises:
        UsageError: a file is missing or damaged.
    """
    folder = pathlib.Path(folder)
    if _is_cifar100(folder):
        return _checked(folder, [folder / "train.bin"], labels)
    # Sort by number: data_batch_10 comes after data_batch_9.
    batches = folder.glob("data_batch_*.bin")
    paths = sorted(batches, key=lambda path: (len(path.name), path.name))
    for number, path in enumerate(paths, start=1):
        if path.name != f"data_batch_{number}.bin":
            raise UsageError(f"'{folder}' lacks data_batch_{number}.bin; {_UNPACK_AGAIN}")
    if not paths:
        raise UsageError(f"'{folder}' has no data_batch_1.bin; {_UNPACK_AGAIN}")
    return _checked(folder, paths, labels)


def test_records(folder: str | os.PathLike, labels: str | None = None) -> Records:
    """Returns the checked records of test_batch.bin or test.bin; see `training_records`."""
    folder = pathlib.Path(folder)
    name = "test.bin" if _is_cifar100(folder) else "test_batch.bin"
    return _checked(folder, [folder / name], labels)


def _checked(folder: pathlib.Path, paths: list[pathlib.Path], labels: str | None) -> Records:
    """Returns `Records` after checking the size of each file and every label."""
    label_bytes, label_at, names_file = 1, 0, "batches.meta.txt"
    if _is_cifar100(folder):
        labels = labels or "fine"
        label_bytes, label_at, names_file = 2, LABELS.index(labels), f"{labels}_label_names.txt"
    class_names = _class_names(folder / names_file)
    records = Records((), class_names, label_bytes, label_at)
    for path in paths:
        with files.reading(path, _UNPACK_AGAIN):
            size = path.stat().st_size
            if size == 0 or size % records.record_bytes:
                raise UsageError(
                    f"{path}: its size of {size} bytes is not a multiple of "
                    f"{records.record_bytes}, the size of a record; {_UNPACK_AGAIN}"
                )
            segment = Segment(str(path), 0, size // records.record_bytes, 0)
            found = dataclasses.replace(records, segments=(segment,)).labels
        # For such a label, the loss raises an error on a CPU but is NaN on a GPU.
        if found.max() >= len(class_names):
            record = int(np.argmax(found >= len(class_names)))
            raise UsageError(
                f"{path}: record {record} has label {found[record]}, but {names_file} names "
                f"{len(class_names)} classes; {_UNPACK_AGAIN}, or correct {names_file}"
            )
        records = dataclasses.replace(records, segments=(*records.segments, segment))
    return records


def _class_names(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the non-blank lines of a file; bytes that are not UTF-8 are kept as they are."""
    text = files.read_text(path, "it has one class name per line and comes with the archive")
    names = tuple(line.strip() for line in text.split("\n") if line.strip())
    if len(names) < 2:
        raise UsageError(
            f"{path}: names {len(names)} classes, expected at least 2; write one class per line"
        )
    return names


def training_batches(
    records: Records,
    batch_size: int,
    seed: int,
    first_step: tf.Tensor,
    distort: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    share: slice = slice(None),
) -> tf.data.Dataset:
    """Builds an endless tf.data pipeline of training batches.

    Each epoch serves every record once, in a new order. To shuffle the whole data set in bounded
    memory, it reads blocks of consecutive records from all files in random order, interleaves
    several blocks, and passes their records through a shuffle buffer.

    Args:
        records: the records to train on.
        batch_size: images per batch.
        seed: determines order and distortions.
        first_step: int64 scalar, the number of batches to skip.
        distort: function (images uint8 [batch, 32, 32, 3], seed int64 [2]) -> float32 [batch, size,
            size, 3]; the seed is different at each step.
        share: the slice of each batch to return. It does not affect the batch's content or
            distortions.

    Returns:
        a dataset of (images float32 [n, size, size, 3], labels int32 [n]), where n is the length of
        the share.
    """
    first_record = first_step * batch_size
    first_epoch = first_record // records.num_examples

    @runs.without_autograph
    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        return _shuffled(records, seed, epoch)

    # flat_map concatenates the epochs. The seed determines their order, so a resumed run can start
    # in the middle of an epoch and skip the records that it has already used.
    stream = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_records)
    batches = stream.skip(first_record % records.num_examples).batch(
        batch_size, drop_remainder=True
    )

    # Dataset.map traces this function once, into a graph that runs for every batch.
    @runs.without_autograph
    def prepare(step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = parse(batch, records.label_bytes, records.label_at)
        images = distort(images, tf.stack([tf.constant(seed, tf.int64), step]))
        return images[share], labels[share]

    # TensorFlow's background threads prepare up to four batches ahead while the net trains.
    prepared = batches.enumerate(first_step).map(prepare, num_parallel_calls=2, deterministic=True)
    return runs.fixed_parallelism(prepared.prefetch(4))


class TrainingInput:
    """The training batches in the graph. Every Session.run that uses them takes the next batch.

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
        """Adds the iterator.

        Args:
            records, distort, share: as in `training_batches`.
            flags: with `batch_size` and `seed`.
        """
        with tf.name_scope("training_input"):
            self._first_step = tf.placeholder(tf.int64, (), "first_step")
            # This describes the pipeline. Nothing is read until its iterator is initialized.
            batches = training_batches(
                records, flags.batch_size, flags.seed, self._first_step, distort, share
            )
            # An iterator keeps its position in the session between runs. A checkpoint does not
            # contain it, so the initializer takes the first step from a placeholder.
            self._iterator = tf.data.make_initializable_iterator(batches)
            self.images, self.targets = self._iterator.get_next()

    def begin(self, sess: tf.Session, first_step: int) -> None:
        """Initializes the iterator, so that the next batch is that of `first_step`."""
        sess.run(self._iterator.initializer, {self._first_step: first_step})


def evaluation_batches(
    records: Records,
    batch_size: int = EVALUATION_BATCH,
    prepare: Callable[[tf.Tensor], tf.Tensor] = distortions.central_images,
) -> tf.data.Dataset:
    """Builds one pass over the records in file order; the last batch may be smaller.

    Args:
        records: the records to evaluate on.
        batch_size: images per batch.
        prepare: function from uint8 [batch, 32, 32, 3] to float32 [batch, size, size, 3].

    Returns:
        a dataset of (images float32 [batch, size, size, 3], labels int32 [batch]).
    """
    # Only the blocks' positions are in the graph; the records are read when an iterator runs.
    blocks = tf.data.Dataset.from_tensor_slices(_blocks(records))
    batches = blocks.flat_map(_reader(records)).batch(batch_size)

    @runs.without_autograph
    def prepared(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = parse(batch, records.label_bytes, records.label_at)
        return prepare(images), labels

    images_and_labels = batches.map(prepared, num_parallel_calls=2, deterministic=True)
    return runs.fixed_parallelism(images_and_labels.prefetch(2))


def one_pass(sess: tf.Session, iterator: Any, fetches: Any) -> Iterator[Any]:
    """Yields the values of `fetches` for each batch of an initializable iterator."""
    # Running the initializer rewinds the iterator to the first batch.
    sess.run(iterator.initializer)
    while True:
        try:
            yield sess.run(fetches)
        except tf.errors.OutOfRangeError:  # the end of the pass
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
    """Returns a function (path, header bytes, footer bytes) -> dataset of a block's records."""
    size = records.record_bytes

    @runs.without_autograph
    def read_block(path: tf.Tensor, header: tf.Tensor, footer: tf.Tensor) -> tf.data.Dataset:
        # It skips the header and footer bytes, and cuts the rest of the file into records.
        return tf.data.FixedLengthRecordDataset(
            path, size, header, footer, buffer_size=_BLOCK * size
        )

    return read_block


def _shuffled(records: Records, seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """Returns a dataset of all records, as strings, in the order of an epoch."""
    blocks = _blocks(records)
    # A stateless op's random numbers depend only on the seed that is passed to it.
    order = tf2.random.experimental.stateless_shuffle(
        tf.range(len(blocks[0])), seed=[tf.constant(seed, tf.int64), epoch]
    )
    return (
        tf.data.Dataset.from_tensor_slices(tuple(tf.gather(column, order) for column in blocks))
        # interleave keeps several blocks open and takes a record from each in turn.
        .interleave(
            _reader(records),
            cycle_length=_CONCURRENT_BLOCKS,
            num_parallel_calls=2,
            deterministic=True,
        )
        # shuffle keeps a buffer, yields a random record of it, and refills its place.
        .shuffle(_SHUFFLE_BUFFER, seed=epoch * 1_000_003 + seed, reshuffle_each_iteration=False)
    )


def parse(
    records: tf.Tensor, label_bytes: int = 1, label_at: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits raw records into images and labels.

    Args:
        records: string [batch], each of `label_bytes` + IMAGE_BYTES bytes.
        label_bytes: number of label bytes before each image.
        label_at: index of the byte that is used as the label.

    Returns:
        images: uint8 [batch, 32, 32, 3].
        labels: int32 [batch].
    """
    # decode_raw reinterprets each string of bytes as a row of numbers.
    values = tf.io.decode_raw(records, tf.uint8)
    labels = tf.cast(values[:, label_at], tf.int32)
    # A record stores the whole red plane first. Convolutions expect the channels last.
    planes = tf.reshape(values[:, label_bytes:], [-1, 3, IMAGE_SIZE, IMAGE_SIZE])
    return tf.transpose(planes, [0, 2, 3, 1]), labels
