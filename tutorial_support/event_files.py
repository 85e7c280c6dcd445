"""Reads event files of any TensorFlow version, even if they are damaged or still being written.

    steps, values = event_files.scalars("logs/mnist_feed")["loss"]

An event file is a sequence of records: the length of the content in 8 bytes, its checksum, the
content, and the content's checksum. TensorFlow's own reader stops at the first damaged record and
trusts a length that exceeds the memory. This reader continues at the next intact record.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf import message
from tensorflow.python.lib.io import tf_record  # not available from a public module

from tutorial_support.programs import LOG, UsageError, one_line, reason

_HEADER, _FOOTER = 12, 4  # bytes
_CHUNK = 1 << 20  # bytes


@dataclasses.dataclass(frozen=True)
class Tag:
    """A tag of a run.

    Attributes:
        run: the run's folder, relative to the folder that was read; "." if it is the same.
        kind: "scalars", "histograms", "images", "graph", "trace", or another plugin of TensorBoard.
        name: the tag, for example "loss".
        steps: the global steps of the records.
        values: the values if the kind is "scalars", else None.
    """

    run: str
    kind: str
    name: str
    steps: list[int]
    values: list[float] | None


def read(folder: str | os.PathLike) -> list[Tag]:
    """Returns all tags in the event files of `folder` and its subfolders.

    Steps that were repeated after a killed run was resumed appear only once.

    Raises:
        UsageError: the folder does not exist or contains no event file.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'; name the folder of a run")
    runs: dict[pathlib.Path, list[pathlib.Path]] = {}
    for path in sorted(_event_files(folder), key=order):
        runs.setdefault(path.parent, []).append(path)
    if not runs:
        raise UsageError(f"'{folder}' contains no event file; name the folder of a run")
    return [
        tag
        for run, paths in sorted(runs.items())
        for tag in _tags_of_run(str(run.relative_to(folder)), paths)
    ]


def _event_files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the event files in a folder and its subfolders; warns of unreadable subfolders."""

    def unreadable(error: OSError) -> None:
        if error.filename == str(folder):
            raise error
        LOG.warning("'%s' cannot be read (%s)", error.filename, reason(error))

    for root, _, names in os.walk(folder, onerror=unreadable):
        paths = (pathlib.Path(root, name) for name in names if "tfevents" in name)
        yield from (path for path in paths if path.is_file())


# The tags of version 0.1.0, and their present names.
_EARLIER_NAMES = {
    "precision/train": "accuracy/train",
    "precision/validation": "accuracy/validation",
    "precision/test": "accuracy/test",
    "test_accuracy": "accuracy/test",
    "accuracy/training": "accuracy/train",
    "accuracy/testing": "accuracy/test",
    "cross_entropy/training": "loss/train",
    "cross_entropy/validation": "loss/validation",
    "loss/training": "loss/train",
    "batch_loss": "loss",
}


def scalars(folder: str | os.PathLike) -> dict[str, tuple[list[int], list[float]]]:
    """Returns (steps, values) of each scalar of the run in `folder` itself, by tag.

    Tags of version 0.1.0 are returned under their present names.
    """
    found: dict[str, dict[int, float]] = {}
    for tag in read(folder):
        if tag.values is not None and tag.run == ".":
            points = zip(tag.steps, tag.values, strict=True)
            found.setdefault(_EARLIER_NAMES.get(tag.name, tag.name), {}).update(points)
    in_order = {name: sorted(points.items()) for name, points in found.items()}
    return {
        name: ([step for step, _ in points], [value for _, value in points])
        for name, points in in_order.items()
    }


def _tags_of_run(run: str, paths: Sequence[pathlib.Path]) -> list[Tag]:
    """Returns the tags in the event files of one run; logs a warning for unreadable parts."""
    kinds: dict[str, str] = {}
    points: dict[str, dict[int, Any]] = {}  # by tag and step
    has_started = False
    for path in paths:
        records = Records(path)
        try:
            for event in records:
                if event.session_log.status == event.session_log.START:
                    # A restart at this step. Discard what a killed run wrote from here on.
                    # The first START, at step 0, is no restart: what came before is the graph.
                    for of_tag in points.values() if has_started or event.step else ():
                        for step in [step for step in of_tag if step >= event.step]:
                            del of_tag[step]
                    has_started = True
                for name, plugin, value in _summaries(event):
                    kinds[name] = kinds.get(name) or plugin
                    points.setdefault(name, {})[event.step] = value
        except OSError as error:
            LOG.warning("'%s' cannot be read (%s)", path, reason(error))
        if records.lost:
            LOG.warning(
                "'%s' is damaged: skipped %d unreadable bytes in %d places",
                path,
                records.lost,
                records.places,
            )
    return [_tag(run, kinds[name], name, found) for name, found in points.items() if found]


def _summaries(event: tf.Event) -> Iterator[tuple[str, str, float | None]]:
    """Yields (tag, TensorBoard plugin, scalar value or None) for each summary in an event."""
    if event.HasField("graph_def"):
        yield "__run_graph__", "graphs", None  # TensorBoard's name for it
    if event.HasField("tagged_run_metadata"):
        yield event.tagged_run_metadata.tag, "graph_tagged_run_metadata", None
    for value in event.summary.value:
        field = value.WhichOneof("value")
        plugin = _PLUGINS.get(field) or value.metadata.plugin_data.plugin_name
        yield value.tag, plugin, value.simple_value if field == "simple_value" else _number(value)


# Plugins by the fields of TensorFlow 1's summaries. TensorFlow 2 writes tensors with a plugin name.
_PLUGINS = {
    "simple_value": "scalars",
    "histo": "histograms",
    "image": "images",
    "audio": "audio",
}
# Common names for what the plugins show.
_KINDS = {"graphs": "graph", "graph_tagged_run_metadata": "trace"}


def _number(value: tf.Summary.Value) -> float | None:
    """Returns the number in a summary's tensor, or None unless it is a single number."""
    if math.prod(dim.size for dim in value.tensor.tensor_shape.dim) != 1:
        return None
    try:
        return float(tf.make_ndarray(value.tensor).item())
    except (TypeError, ValueError):
        return None


def _tag(run: str, plugin: str, name: str, points: dict[int, float | None]) -> Tag:
    """Returns a Tag; drops records of scalars that are not a single number."""
    kind = _KINDS.get(plugin, plugin or "tensors")
    if kind != "scalars":
        return Tag(run, kind, name, list(points), None)
    numbers = {step: value for step, value in points.items() if value is not None}
    if len(numbers) < len(points):
        count = len(points) - len(numbers)
        LOG.warning("%s %s: %d records are not a single number", run, one_line(name), count)
    if not numbers:
        return Tag(run, "tensors", name, list(points), None)
    return Tag(run, kind, name, list(numbers), list(numbers.values()))


def order(path: pathlib.Path) -> tuple[int, str]:
    """Returns the key that sorts the event files of a run in the order of writing.

    The names end in a number that the run assigned (`.0`, `.1`, ...). It comes before the time in
    the name, because a clock may be set back. Files of other programs have no number and come
    first.
    """
    ending = path.name.rpartition(".")[2]
    return int(ending) if ending.isdecimal() else -1, path.name


class Records:
    """The events of one file.

    Attributes:
        lost: number of unreadable bytes so far. An incomplete record at the end, which is still
            being written or was cut off, does not count.
        places: number of places with unreadable bytes.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = pathlib.Path(path)
        self.lost = self.places = 0

    def __iter__(self) -> Iterator[tf.Event]:
        """Yields the readable events in order.

        Raises:
            OSError: the file cannot be opened.
        """
        with self._path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            reader = tf_record.tf_record_random_reader(str(self._path))
            offset = 0
            while offset < size:
                stream.seek(offset)
                header = stream.read(_HEADER)
                end = offset + _HEADER + int.from_bytes(header[:8], "little") + _FOOTER
                if end <= size:
                    try:
                        yield tf.Event.FromString(reader.read(offset)[0])
                        offset = end
                        continue
                    except (tf.errors.OpError, message.DecodeError, IndexError):
                        pass  # the content or the length is damaged
                is_length = len(header) == _HEADER and len(_headers_in(header)) == 1
                if is_length and end <= size:
                    following = end
                else:
                    following = _next_header(stream, offset + 1, size)
                is_begun = len(header) < _HEADER or (is_length and end > size)
                if not (is_begun and following == size):
                    self.lost += following - offset
                    self.places += 1
                offset = following


def _next_header(stream: IO[bytes], start: int, size: int) -> int:
    """Returns the offset of the next header whose record fits into the file, or else `size`."""
    for chunk_start in range(start, size, _CHUNK):
        stream.seek(chunk_start)
        chunk = stream.read(_CHUNK + _HEADER - 1)
        for place in _headers_in(chunk):
            length = int.from_bytes(chunk[place : place + 8], "little")
            if chunk_start + place + _HEADER + length + _FOOTER <= size:
                return chunk_start + place
    return size


def _headers_in(content: bytes) -> list[int]:
    """Returns the offsets at which 8 bytes are followed by their masked checksum."""
    count = len(content) - _HEADER + 1
    if count < 1:
        return []
    values = np.frombuffer(content, np.uint8)
    crc = np.full(count, 0xFFFFFFFF, np.uint32)
    for i in range(8):  # for all offsets at once
        crc = _CRC32C[(crc ^ values[i : i + count]) & 0xFF] ^ (crc >> 8)
    crc = ~crc
    masked = ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
    stored = sum(values[8 + i : 8 + i + count].astype(np.uint32) << (8 * i) for i in range(4))
    return np.flatnonzero(masked == stored).tolist()


def _crc32c_table() -> np.ndarray:
    """Returns the CRC-32C (Castagnoli) of each byte, uint32 [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table


_CRC32C = _crc32c_table()
