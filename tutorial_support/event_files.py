"""Reads the records of an event file, even if the file is damaged.

An event file is a sequence of records: the length of the content in 8 bytes, its checksum, the
content, and the content's checksum. TensorFlow's own reader stops at the first damaged record and
trusts a length that exceeds the memory. This reader continues at the next intact record.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import IO

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf import message
from tensorflow.python.lib.io import tf_record  # not available from a public module

_HEADER, _FOOTER = 12, 4  # bytes
_CHUNK = 1 << 20  # bytes


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
