"""Keeps what a frozen net computed for each picture, so that it is computed once.

A store is a folder with two files. `vectors.f32` holds the vectors one after the other, raw
little-endian float32; `index.jsonl` a line of JSON a vector: its row, the picture's key,
size and time of change, and the vector's CRC-32. A line is written after its vector has reached the
disk, so that a kill at any point leaves whole entries and a rest that the next opening cuts off.

Several tasks can fill one store together, each its `Share` of the pictures: see `await_others`.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import pathlib
import re
import time
import zlib

import numpy as np

from tutorial_support import files
from tutorial_support.programs import LOG, TrainingError, UsageError

try:
    import fcntl
except ImportError:  # Windows: two programs that fill one store at once go unnoticed there
    fcntl = None

VECTORS, INDEX = "vectors.f32", "index.jsonl"
_NUMBER = np.dtype("<f4")
_VERIFIED_AT_ONCE = 1 << 24  # bytes
_CHECKED_AT_ONCE = 16  # pictures
_HELD_AT_MOST = 1 << 27  # bytes of vectors that memory takes
_ALIGNMENT = 64  # bytes: Eigen's, and so of an array that a session need not copy when it is fed


@dataclasses.dataclass(frozen=True)
class Share:
    """Which of a list of pictures a task computes, and how long it waits for the other tasks.

    Attributes:
        number: int, of the task, in 0 .. count - 1.
        count: int, how many tasks fill one store.
        wait_secs: float, longest wait in which no other task adds anything.
    """

    number: int = 0
    count: int = 1
    wait_secs: float = math.inf

    def of(self, pictures):
        """Returns the share of a sequence: every count-th, from the number-th on."""
        return pictures[self.number :: self.count]


ALL = Share()


def store_folder(root, image_folder, digest):
    """Returns the folder of the store for one base and one folder of images.

    Args:
        root: a folder for stores, or None for the cache.
        image_folder: the images.
        digest: string, which differs between bases.
    """
    resolved = pathlib.Path(image_folder).resolve()
    place = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]
    readable = re.sub(r"\W+", "_", resolved.name)[:40]
    root = files.cache_folder("bottlenecks") if root is None else pathlib.Path(root)
    return root / f"{readable}-{place}-{digest}"


def stamp(path):
    """Returns what tells a file's version from others: (size in bytes, time of change in ns).

    Raises:
        OSError: the file cannot be read.
    """
    status = pathlib.Path(path).stat()
    return status.st_size, status.st_mtime_ns


def stamps(images):
    """Returns the stamps of an image_lists.ImageList.

    Returns:
        (dict from a path to its `stamp`, dict from a path to a sentence on why it has none).
    """
    found, bad = {}, {}
    for path in images.paths:
        try:
            found[path] = stamp(images.folder / path)
        except OSError as error:
            bad[path] = f"{images.folder / path}: cannot be read ({error.strerror})"
    return found, bad


class FeatureStore:
    """A store, opened to be filled and then to be read; a context manager.

    While it is being filled, a second program that opens it waits; but for the tasks that fill it
    together, which wait while one of them appends.
    """

    def __init__(self, folder, size, share=ALL):
        """Opens the store in `folder`, or begins it; verifies what it holds.

        Args:
            folder: the store's folder.
            size: numbers in a vector.
            share: Share, what this program computes of what is to be in the store.

        Raises:
            UsageError: the folder cannot be used.
        """
        self._folder, self._size, self._share = pathlib.Path(folder), size, share
        self._rows = {}  # (key, file size, time) -> row
        self._count, self._held = 0, None  # vectors there are; all of them, while they are few
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._vectors = (self._folder / VECTORS).open("a+b")
            self._lock()
            (self._folder / INDEX).touch()
            self._load()
            if share.count > 1:
                self.finish_filling()
            self._reader = (self._folder / VECTORS).open("rb", buffering=0)
        except OSError as error:
            raise UsageError(
                f"the bottleneck store '{folder}' cannot be used: {error.strerror}; name another "
                "folder"
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def finish_filling(self):
        """Lets other programs fill the store; from here on this one only reads."""
        if fcntl is not None:
            fcntl.flock(self._vectors, fcntl.LOCK_UN)

    def close(self):
        """Closes the files."""
        for stream in (self._vectors, self._index, self._reader):
            stream.close()

    def __len__(self):
        return len(self._rows)

    def find(self, key, stamp):
        """Returns the row of the picture `key` in the version `stamp`, or None."""
        return self._rows.get((key, *stamp))

    def append(self, keys, stamps, vectors):
        """Adds vectors, durably: first they, then their lines in the index.

        Args:
            keys: n strings.
            stamps: n results of `stamp`.
            vectors: float32 [n, size], finite.
        """
        vectors = np.ascontiguousarray(vectors, _NUMBER)
        if vectors.shape != (len(keys), self._size) or not np.isfinite(vectors).all():
            raise ValueError(f"expected finite numbers [{len(keys)}, {self._size}]")
        with self._other_tasks_waiting():
            first = self._end // self._row_bytes
            self._vectors.write(vectors.tobytes())
            _to_disk(self._vectors)
            lines = [
                _line(row, key, *stamp, zlib.crc32(vector))
                for row, (key, stamp, vector) in enumerate(
                    zip(keys, stamps, vectors, strict=True), start=first
                )
            ]
            with (self._folder / INDEX).open("ab") as index:
                index.write(b"".join(lines))
                _to_disk(index)
                self._read_until = index.tell()
            self._end += vectors.nbytes
        versions = [(key, *stamp) for key, stamp in zip(keys, stamps, strict=True)]
        self._learn(dict(zip(versions, range(first, first + len(keys)), strict=True)))

    def await_others(self, wanted, why_never):
        """Waits until the other tasks have appended their shares.

        Args:
            wanted: dict from the keys of all tasks' pictures to their stamps.
            why_never: function from a key to a sentence on why that picture will never come,
                because it cannot be read; or None.

        Returns:
            dict from such a key to the sentence.

        Raises:
            TrainingError: nothing was added for as long as this task waits.
        """
        missing = {(key, *stamp) for key, stamp in wanted.items() if self.find(key, stamp) is None}
        unchecked, never = iter(sorted(missing)), {}
        due = time.monotonic() + self._share.wait_secs
        while missing:
            added = self._take_in()
            missing -= added
            if added:
                due = time.monotonic() + self._share.wait_secs
            checked = list(itertools.islice(unchecked, _CHECKED_AT_ONCE))
            for entry in missing.intersection(checked):
                if sentence := why_never(entry[0]):
                    never[entry[0]] = sentence
                    missing.remove(entry)
            if not checked:
                time.sleep(0.1)
            if time.monotonic() > due:
                raise TrainingError(
                    f"'{self._folder}' lacks {len(missing)} bottlenecks, and other tasks have "
                    f"added none for {self._share.wait_secs:g} s: look at their output, give all "
                    "tasks the same --bottleneck_dir, or raise --wait_secs"
                )
        return never

    def read(self, rows):
        """Returns the vectors in `rows`, int [n], as float32 [n, size].

        A store of up to 128 MiB is held in memory from here on. A larger one is read row by row, so
        that memory does not grow with it: the operating system caches what is read often. (Of a
        mapped file, Linux may count 2 MiB as the program's memory for each 8 KiB vector touched.)

        Raises:
            UsageError: the file has become shorter.
        """
        vectors = _aligned((len(rows), self._size))
        if self._count * self._row_bytes <= _HELD_AT_MOST:
            if self._held is None:
                self._held = self._read_into(0, np.empty((self._count, self._size), _NUMBER))
            return np.take(self._held, rows, axis=0, out=vectors, mode="clip")  # others buffer
        for row, vector in zip(np.asarray(rows).tolist(), vectors, strict=True):
            self._read_into(row * self._row_bytes, vector)
        return vectors

    def _read_into(self, position, numbers):
        if hasattr(os, "preadv"):  # half the time, for it is one call
            length = os.preadv(self._reader.fileno(), [numbers], position)
        else:
            self._reader.seek(position)
            length = self._reader.readinto(numbers.data)
        if length != numbers.nbytes:
            raise UsageError(
                f"'{self._folder / VECTORS}' has become shorter; run this program again, which "
                "computes what is lacking"
            )
        return numbers

    @property
    def _row_bytes(self):
        return _NUMBER.itemsize * self._size

    def _lock(self):
        if fcntl is None:
            return
        try:
            fcntl.flock(self._vectors, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOG.warning("another program fills '%s'; waiting until it has ended", self._folder)
            fcntl.flock(self._vectors, fcntl.LOCK_EX)

    @contextlib.contextmanager
    def _other_tasks_waiting(self):
        """Lets this task append; where others do, too, after what they have appended."""
        if self._share.count == 1 or fcntl is None:
            yield
            return
        fcntl.flock(self._vectors, fcntl.LOCK_EX)
        try:
            self._take_in()
            # What stands behind the last line, a task left that was killed while it appended.
            length = os.fstat(self._vectors.fileno()).st_size
            self._end = length // self._row_bytes * self._row_bytes
            self._vectors.truncate(self._end)
            index = self._folder / INDEX
            if index.stat().st_size > self._read_until:
                with index.open("ab") as stream:
                    stream.write(b"\n")
            yield
        finally:
            fcntl.flock(self._vectors, fcntl.LOCK_UN)

    def _take_in(self):
        """Learns what other tasks have appended; returns it, a set of (key, file size, time)."""
        index = self._folder / INDEX
        if not os.path.samestat(os.fstat(self._index.fileno()), index.stat()):  # one has mended it
            self._index.close()
            self._index, self._read_until = index.open("rb"), 0
        self._index.seek(self._read_until)
        lines = self._index.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read_until += len(whole)
        entries = filter(None, map(_parse, whole.splitlines()))
        added = {tuple(entry[1:-1]): entry[0] for entry in entries}
        self._learn(added)
        return set(added)

    def _learn(self, added):
        """Notes that there are more vectors: a dict from (key, file size, time) to the row."""
        self._rows |= added
        self._count = max(self._count, 1 + max(added.values(), default=-1))
        self._held = None

    def _load(self):
        """Reads the index, checks every vector against it and cuts off what is not whole."""
        index = self._folder / INDEX
        length = (self._folder / VECTORS).stat().st_size // self._row_bytes
        entries, checksums = {}, np.zeros(length, np.uint32)
        is_whole, last = True, -1
        with index.open("rb") as lines:
            for line in lines:
                row, *entry, checksum = _parse(line) or (-1, -1)
                if not (0 <= row < length and 0 <= checksum < 1 << 32):
                    is_whole = False
                    continue
                # A row that was cut off and written again stands in a later line.
                is_whole &= row > last and line.endswith(b"\n")
                entries[row], checksums[row], last = tuple(entry), checksum, row
        count = max(entries, default=-1) + 1
        for row, checksum in enumerate(self._checksums(count)):
            if row in entries and checksums[row] != checksum:
                del entries[row]
                is_whole = False
        self._end = count * self._row_bytes
        self._vectors.truncate(self._end)
        if not is_whole:
            LOG.warning(
                "'%s' is not whole; its %d good vectors are kept", self._folder, len(entries)
            )
            entries = dict(sorted(entries.items()))
            with files.replacing(index) as temporary, temporary.open("wb") as stream:
                for row, entry in entries.items():
                    stream.write(_line(row, *entry, int(checksums[row])))
        self._learn({entry: row for row, entry in entries.items()})
        # Kept open, or a file that replaces it twice over could get the number of this one.
        self._index = index.open("rb")
        self._read_until = index.stat().st_size

    def _checksums(self, count):
        """Yields the CRC-32 of each of the first `count` vectors."""
        at_once = max(1, _VERIFIED_AT_ONCE // self._row_bytes)
        self._vectors.seek(0)
        for start in range(0, count, at_once):
            block = memoryview(self._vectors.read(min(at_once, count - start) * self._row_bytes))
            for begin in range(0, len(block), self._row_bytes):
                yield zlib.crc32(block[begin : begin + self._row_bytes])


def _aligned(shape):
    """Returns an empty float32 array that a session takes as it is, without a copy."""
    size = _NUMBER.itemsize * math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(_NUMBER).reshape(shape)


def _line(row, key, size, time, checksum):
    return json.dumps([row, key, size, time, checksum]).encode() + b"\n"


def _parse(line):
    """Returns a line's [row, key, size, time, checksum], or None where it is damaged."""
    try:
        row, key, *numbers = json.loads(line)
    except (ValueError, TypeError):
        return None
    whole = isinstance(key, str) and len(numbers) == 3
    return [row, key, *numbers] if whole and all(type(n) is int for n in (row, *numbers)) else None


def _to_disk(stream):
    stream.flush()
    os.fsync(stream.fileno())
