"""Keeps what a frozen net computed for each picture, so that it is computed once.

A store is a folder with an SQLite database: one row for each version of a picture, with its vector
and a checksum over both. SQLite commits a batch of rows whole or not at all, also where the program
is killed, and lets several tasks write: each computes its `Share`, see `await_others`.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import math
import os
import pathlib
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import filelock
import numpy as np

from tutorial_support import files, image_lists
from tutorial_support.programs import LOG, TrainingError, UsageError, reason

DATABASE = "vectors.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS vectors
    (row INTEGER PRIMARY KEY AUTOINCREMENT, version BLOB, checksum INTEGER, vector BLOB)"""
_BUSY_SECS = 60.0  # how long a statement waits for another task's transaction
_CHECKED_AT_ONCE = 16  # pictures
_HELD_AT_MOST = 1 << 27  # bytes of vectors that memory takes
_ALIGNMENT = 64  # bytes: Eigen's, and so of an array that a session need not copy when it is fed

Stamp = tuple[int, int]
_Picture = TypeVar("_Picture")


@dataclasses.dataclass(frozen=True)
class Share:
    """Which of a list of pictures a task computes, and how long it waits for the other tasks.

    Attributes:
        number: of the task, in 0 .. count - 1.
        count: how many tasks fill one store.
        wait_secs: longest wait in which no other task adds anything.
    """

    number: int = 0
    count: int = 1
    wait_secs: float = math.inf

    def of(self, pictures: Sequence[_Picture]) -> Sequence[_Picture]:
        """Returns the share of a sequence: every count-th, from the number-th on."""
        return pictures[self.number :: self.count]


ALL = Share()


def store_folder(
    root: str | os.PathLike | None, image_folder: str | os.PathLike, digest: str
) -> pathlib.Path:
    """Returns the folder of the store for one base and one folder of images.

    Args:
        root: a folder for stores, or None for the cache.
        image_folder: the images.
        digest: differs between bases.
    """
    resolved = pathlib.Path(image_folder).resolve()
    place = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]
    readable = re.sub(r"\W+", "_", resolved.name)[:40]
    root = files.cache_folder("bottlenecks") if root is None else pathlib.Path(root)
    return root / f"{readable}-{place}-{digest}"


def stamp(path: str | os.PathLike) -> Stamp:
    """Returns what tells a file's version from others: (size in bytes, time of change in ns).

    Raises:
        OSError: the file cannot be read.
    """
    status = pathlib.Path(path).stat()
    return status.st_size, status.st_mtime_ns


def stamps(images: image_lists.ImageList) -> tuple[dict[str, Stamp], dict[str, str]]:
    """Returns the stamps of images.

    Returns:
        (dict from a path to its `stamp`, dict from a path to a sentence on why it has none).
    """
    found, bad = {}, {}
    for path in images.paths:
        try:
            found[path] = stamp(images.folder / path)
        except OSError as error:
            bad[path] = f"{images.folder / path}: cannot be read ({reason(error)})"
    return found, bad


class FeatureStore:
    """A store, opened to be filled and then to be read; a context manager.

    While a program fills it alone, a second one that opens it waits.
    """

    def __init__(self, folder: str | os.PathLike, size: int, share: Share = ALL) -> None:
        """Opens the store in `folder`, or begins it; verifies what it holds.

        Args:
            folder: the store's folder.
            size: numbers in a vector.
            share: what this program computes of what is to be in the store.

        Raises:
            UsageError: the folder cannot be used.
        """
        self._path, self._size, self._share = pathlib.Path(folder, DATABASE), size, share
        self._rows: dict[bytes, int] = {}  # from a version to its row
        self._last = 0  # row
        self._held: np.ndarray | None = None  # all vectors, while they are few
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self._path.with_name(".lock"), thread_local=False)
            self._await_filling()
        except OSError as error:
            raise self._unusable(reason(error)) from error
        if share.count > 1:
            self.finish_filling()
        self._open()

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def finish_filling(self) -> None:
        """Lets other programs fill the store; from here on this one only reads."""
        self._lock.release()

    def close(self) -> None:
        """Closes the database."""
        self._database.close()
        self._lock.release()

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, key: str, stamp: Stamp) -> int | None:
        """Returns the row of the picture `key` in the version `stamp`, or None."""
        return self._rows.get(_version(key, stamp))

    def append(self, keys: Sequence[str], stamps: Sequence[Stamp], vectors: np.ndarray) -> None:
        """Adds vectors; when it returns, they are on the disk.

        Args:
            keys: n strings.
            stamps: n results of `stamp`.
            vectors: float32 [n, size], finite.
        """
        vectors = np.ascontiguousarray(vectors, "<f4")
        if vectors.shape != (len(keys), self._size) or not np.isfinite(vectors).all():
            raise ValueError(f"expected finite numbers [{len(keys)}, {self._size}]")
        versions = map(_version, keys, stamps)
        rows = [(v, _checksum(v, x), x) for v, x in zip(versions, map(bytes, vectors), strict=True)]
        insert = "INSERT INTO vectors (version, checksum, vector) VALUES (?, ?, ?)"
        with self._transaction("IMMEDIATE"):
            self._database.executemany(insert, rows)
        with self._transaction("DEFERRED"):
            self._learn()

    def await_others(
        self, wanted: dict[str, Stamp], why_never: Callable[[str], str | None]
    ) -> dict[str, str]:
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
        missing = {key for key, stamp in wanted.items() if self.find(key, stamp) is None}
        unchecked, never = iter(sorted(missing)), {}
        due = time.monotonic() + self._share.wait_secs
        while missing:
            with self._transaction("DEFERRED"):
                self._learn()
            added = {key for key in missing if self.find(key, wanted[key]) is not None}
            missing -= added
            if added:
                due = time.monotonic() + self._share.wait_secs
            checked = list(itertools.islice(unchecked, _CHECKED_AT_ONCE))
            for key in missing.intersection(checked):
                if sentence := why_never(key):
                    never[key] = sentence
            missing -= never.keys()
            if not checked:
                time.sleep(0.1)
            if time.monotonic() > due:
                raise TrainingError(
                    f"'{self._path.parent}' lacks {len(missing)} bottlenecks, and other tasks have "
                    f"added none for {self._share.wait_secs:g} s: look at their output, give all "
                    "tasks the same --bottleneck_dir, or raise --wait_secs"
                )
        return never

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the vectors in `rows`, int [n], as float32 [n, size].

        A store of up to 128 MiB is held in memory from here on. A larger one is read row by row, so
        that memory does not grow with it: the operating system caches what is read often.

        Raises:
            UsageError: the database has lost a vector.
        """
        vectors = _aligned((len(rows), self._size))
        if (self._last + 1) * vectors.itemsize * self._size <= _HELD_AT_MOST:
            if self._held is None:
                self._held = np.empty((self._last + 1, self._size), np.float32)
                every = sorted(self._rows.values())
                self._read_into(self._held, every, every)
            return np.take(self._held, rows, axis=0, out=vectors, mode="clip")  # others buffer
        self._read_into(vectors, range(len(rows)), np.asarray(rows).tolist())
        return vectors

    def _read_into(self, into: np.ndarray, places: Sequence[int], rows: Sequence[int]) -> None:
        query = "SELECT vector FROM vectors WHERE row = ?"
        with self._transaction("DEFERRED"):
            for place, row in zip(places, rows, strict=True):
                found = self._database.execute(query, (row,)).fetchone()
                if found is None:
                    raise self._unusable(f"it has lost row {row}")
                into[place] = np.frombuffer(found[0], "<f4")

    def _await_filling(self) -> None:
        try:
            self._lock.acquire(timeout=0.1)
        except filelock.Timeout:
            LOG.warning("another program fills '%s'; waiting until it has ended", self._path.parent)
            self._lock.acquire()

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except Exception as error:  # SQLite names damage in many ways, also by text that is none
            self._database.close()
            aside = self._path.with_suffix(".damaged")
            LOG.warning("'%s' is damaged (%s); it is now '%s'", self._path, error, aside)
            self._path.replace(aside)
            self._rows, self._last = {}, 0
            self._connect()

    def _connect(self) -> None:
        self._database = sqlite3.connect(
            self._path, timeout=_BUSY_SECS, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(_TABLE)
        self._learn()

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        try:
            self._database.execute(f"BEGIN {kind}")
            with self._database:
                yield
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _learn(self) -> None:
        """Takes note of rows that were added since, here or by other tasks; drops damaged ones."""
        damaged = []
        query = "SELECT row, version, checksum, vector FROM vectors WHERE row > ? ORDER BY row"
        for row, version, checksum, vector in self._database.execute(query, (self._last,)):
            if row <= self._last:  # SQLite trusts in their order when it looks one up
                raise sqlite3.DatabaseError("its rows are out of order")
            if len(vector) == 4 * self._size and checksum == _checksum(version, vector):
                self._rows[version] = row
            else:
                damaged.append((row,))
            self._last = row
        self._held = None
        if damaged:
            LOG.warning("'%s' holds %d damaged vectors; dropping them", self._path, len(damaged))
            self._database.executemany("DELETE FROM vectors WHERE row = ?", damaged)

    def _unusable(self, why: object) -> UsageError:
        return UsageError(
            f"the bottleneck store '{self._path.parent}' cannot be used: {why}; make room, delete "
            "it so that it is computed anew, or name another folder"
        )


def _version(key: str, stamp: Stamp) -> bytes:
    """Returns what stands for a picture as it was when its vector was computed."""
    return f"{stamp[0]} {stamp[1]} {key}".encode("utf-8", "surrogateescape")


def _checksum(version: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(version))


def _aligned(shape: tuple[int, int]) -> np.ndarray:
    """Returns an empty float32 array that a session takes as it is, without a copy."""
    size = 4 * math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)
