"""Reads the records of an event file, whatever has happened to it.

An event file is a row of records: the length of the content in 8 bytes, a checksum of these, the
content, and a checksum of it. TensorFlow's own reader stops at the first record that is damaged,
and trusts a length for which there is no memory. This one goes on at the next whole record.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import IO

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf import message
from tensorflow.python.lib.io import tf_record  # its only home; part of no public module

_HEADER, _FOOTER = 12, 4  # bytes
_CHUNK = 1 << 20  # bytes


def order(path: pathlib.Path) -> tuple[int, str]:
    """Returns by what event files are to be sorted, so that a run's are in their order.

    The name ends in the number that the run gave (`.0`, `.1`, ...). The time in it comes second,
    for a clock may have been set back. Files of other programs have no number, and come first.
    """
    ending = path.name.rpartition(".")[2]
    return int(ending) if ending.isdecimal() else -1, path.name


class Records:
    """The events of one file.

    Attributes:
        lost: bytes that could not be read so far; a record at the end that is not whole is still
            being written, or was cut off, and is not counted.
        places: in which they are.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = pathlib.Path(path)
        self.lost = self.places = 0

    def __iter__(self) -> Iterator[tf.Event]:
        """Yields each event that can be read, in their order.

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
                        pass  # its content is damaged, or the length
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
    """Returns where the next whole record begins, as far as its length tells, or else `size`."""
    for chunk_start in range(start, size, _CHUNK):
        stream.seek(chunk_start)
        chunk = stream.read(_CHUNK + _HEADER - 1)
        for place in _headers_in(chunk):
            length = int.from_bytes(chunk[place : place + 8], "little")
            if chunk_start + place + _HEADER + length + _FOOTER <= size:
                return chunk_start + place
    return size


def _headers_in(content: bytes) -> list[int]:
    """Returns each place where 8 bytes are followed by their checksum, as TensorFlow masks it."""
    count = len(content) - _HEADER + 1
    if count < 1:
        return []
    values = np.frombuffer(content, np.uint8)
    crc = np.full(count, 0xFFFFFFFF, np.uint32)
    for i in range(8):  # of all places at once
        crc = _CRC32C[(crc ^ values[i : i + count]) & 0xFF] ^ (crc >> 8)
    crc = ~crc
    masked = ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
    stored = sum(values[8 + i : 8 + i + count].astype(np.uint32) << (8 * i) for i in range(4))
    return np.flatnonzero(masked == stored).tolist()


def _crc32c_table() -> np.ndarray:
    """Returns the CRC-32C of each byte, uint32 [256], by Castagnoli's polynomial."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table


_CRC32C = _crc32c_table()
