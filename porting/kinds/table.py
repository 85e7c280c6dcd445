"""Reads the sorted table of keys and values in checkpoints of both formats.

TensorFlow's checkpoint reader returns names, types and shapes, but not the positions of values. So
it cannot tell whether the data is complete, or how a variable is partitioned. The format is
LevelDB's (https://github.com/google/leveldb/blob/main/doc/table_format.md).
"""

import pathlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_FOOTER = 48  # bytes
_TRAILER = 5  # bytes after each block: its compression and its checksum
_LARGEST_BLOCK = 1 << 28  # bytes


def is_table(path: pathlib.Path) -> bool:
    """Returns whether a file ends like a table; a file that cannot be read does not."""
    try:
        with path.open("rb") as stream:
            if stream.seek(0, 2) < _FOOTER:
                return False
            stream.seek(-len(_MAGIC), 2)
            return stream.read() == _MAGIC
    except OSError:
        return False


def first_value(path: pathlib.Path) -> bytes:
    """Returns the value of the first key, without reading the rest.

    Raises:
        ValueError: the table is damaged or compressed.
    """
    with path.open("rb") as stream:
        _, handle = next(_entries(_block(stream, *_index(stream))))
        offset, position = _varint(handle, 0)
        size, _ = _varint(handle, position)
        _check_uncompressed(stream, offset, size)
        stream.seek(offset)
        head = stream.read(30)
        shared, position = _varint(head, 0)
        unshared, position = _varint(head, position)
        length, position = _varint(head, position)
        if shared or length > min(size, _LARGEST_BLOCK):
            raise ValueError("its first entry is damaged")
        stream.seek(offset + position + unshared)
        return stream.read(length)


def entries(path: pathlib.Path) -> Iterator[tuple[bytes, bytes]]:
    """Yields each key with its value, in order; raises ValueError for a damaged table."""
    with path.open("rb") as stream:
        for _, handle in _entries(_block(stream, *_index(stream))):
            offset, position = _varint(handle, 0)
            size, _ = _varint(handle, position)
            yield from _entries(_block(stream, offset, size))


def _index(stream: BinaryIO) -> tuple[int, int]:
    """Returns offset and size of the block that lists the other blocks."""
    stream.seek(-_FOOTER, 2)
    footer = stream.read()
    position = 0
    for _ in range(2):  # skip the handle of the metaindex block, which TensorFlow leaves empty
        _, position = _varint(footer, position)
    offset, position = _varint(footer, position)
    size, _ = _varint(footer, position)
    return offset, size


def _block(stream: BinaryIO, offset: int, size: int) -> bytes:
    _check_uncompressed(stream, offset, size)
    if size > _LARGEST_BLOCK:
        raise ValueError(f"a block of it has {size} bytes")
    stream.seek(offset)
    block = stream.read(size)
    if len(block) < size or size < 4:
        raise ValueError("it is truncated")
    return block


def _check_uncompressed(stream: BinaryIO, offset: int, size: int) -> None:
    stream.seek(offset + size)
    trailer = stream.read(_TRAILER)
    if len(trailer) < _TRAILER:
        raise ValueError("it is truncated")
    if trailer[0]:
        raise ValueError("it is compressed")


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of a block; each key omits the prefix that it shares with the last."""
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 * (restarts + 1)
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        if position + unshared + length > end or shared > len(key):
            raise ValueError("an entry of it is damaged")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns the number at `position`, seven bits per byte, and the position after it."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("a number in it is truncated")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
