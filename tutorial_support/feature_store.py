"""Caches the output of a frozen net for each picture, so that it is computed only once.

A store is a folder with an SQLite database. It has one row per version of a picture, with the
vector and a checksum over both. SQLite commits a batch of rows completely or not at all, even if
the program is killed. Several tasks can fill a store, each with its share of the pictures (a slice,
such as every third one): see `await_others`.
"""

import contextlib
import functools
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

import filelock
import numpy as np

from tutorial_support import files, image_lists
from tutorial_support.programs import LOG, TrainingError, UsageError, reason

DATABASE = "vectors.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS vectors
    (row INTEGER PRIMARY KEY AUTOINCREMENT, version BLOB, checksum INTEGER, vector BLOB)"""
_BUSY_SECS = 60.0  # how long a statement waits for another task's transaction
_CHECKED_AT_ONCE = 16  # pictures
_MAX_IN_MEMORY = 1 << 29  # bytes of vectors
_ALIGNMENT = 64  # bytes, Eigen's; a session can take an aligned array without copying it

Stamp = tuple[int, int]


def store_folder(
    root: str | os.PathLike | None,
    image_folder: str | os.PathLike,
    digest: str,
    share: slice = slice(None),
) -> pathlib.Path:
    """Returns the folder of the store for a base net and a folder of images.

    If the cache cannot be written, a task that fills the store alone gets a temporary folder.

    Args:
        root: the parent folder of the stores, or None for the cache.
        image_folder: the folder of images.
        digest: identifies the base net.
        share: the part of the pictures that this task computes.
    """
    resolved = pathlib.Path(image_folder).resolve()
    place = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]
    readable = re.sub(r"\W+", "_", resolved.name)[:40]
    if root is None:
        root = files.cache_folder("bottlenecks")
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
        if not _is_shared(share) and not os.access(root, os.W_OK | os.X_OK):
            root = _temporary_root(root)
    return pathlib.Path(root) / f"{readable}-{place}-{digest}"


def _is_shared(share: slice) -> bool:
    return (share.step or 1) > 1


@functools.cache  # one for the whole process, which removes it at its end
def _temporary_root(cache: pathlib.Path) -> pathlib.Path:
    folder = files.folder_until_exit("bottlenecks")
    LOG.warning(
        "'%s' cannot be written, so bottlenecks are kept in '%s' until this program ends; "
        "--bottleneck_dir names a folder that keeps them",
        cache,
        folder,
    )
    return folder


def stamps(images: image_lists.ImageList) -> tuple[dict[str, Stamp], dict[str, str]]:
    """Returns the stamps of images: what identifies the present version of each file.

    Returns:
        (dict from path to (size in bytes, modification time in ns), dict from path to a message for
        unreadable files).
    """
    found, bad = {}, {}
    for path in images.paths:
        try:
            status = (images.folder / path).stat()
            found[path] = status.st_size, status.st_mtime_ns
        except OSError as error:
            bad[path] = f"{images.folder / path}: cannot be read ({reason(error)})"
    return found, bad


class FeatureStore:
    """A store that is first filled and then read; a context manager.

    While one program fills a store on its own, other programs wait when they open it.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        size: int,
        share: slice = slice(None),
        wait_secs: float = math.inf,
    ) -> None:
        """Opens or creates the store in `folder` and verifies its content.

        Args:
            folder: the store's folder.
            size: length of a vector.
            share: the part of the pictures that this program computes.
            wait_secs: longest time to wait while no other task adds anything, in seconds.

        Raises:
            UsageError: the folder cannot be used.
        """
        self._path, self._size = pathlib.Path(folder, DATABASE), size
        self._wait_secs = wait_secs
        self._rows: dict[bytes, int] = {}  # row of each version
        self._last = 0  # the last row that was read
        self._in_memory: np.ndarray | None = None  # all vectors, if the store is small
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = files.lock_of(self._path.parent)
            self._await_filling()
        except OSError as error:
            raise self._unusable(reason(error)) from error
        if _is_shared(share):
            self.finish_filling()
        self._open()

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()
        self._lock.release()

    def finish_filling(self) -> None:
        """Lets other programs fill the store; this program only reads from now on."""
        self._lock.release()

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, key: str, stamp: Stamp) -> int | None:
        """Returns the row of version `stamp` of the picture `key`, or None."""
        return self._rows.get(_version(key, stamp))

    def append(self, keys: Sequence[str], stamps: Sequence[Stamp], vectors: np.ndarray) -> None:
        """Adds vectors and flushes them to the disk.

        Args:
            keys: n strings.
            stamps: n stamps, from `stamps`.
            vectors: float32 [n, size], finite.

        Raises:
            ValueError: the vectors have another shape or are not finite.
            UsageError: the database cannot be written.
        """
        vectors = np.ascontiguousarray(vectors, "<f4")
        if vectors.shape != (len(keys), self._size) or not np.isfinite(vectors).all():
            raise ValueError(f"expected finite numbers [{len(keys)}, {self._size}]")
        versions = map(_version, keys, stamps)
        rows = [(v, _checksum(v, x), x) for v, x in zip(versions, map(bytes, vectors), strict=True)]
        insert = "INSERT INTO vectors (version, checksum, vector) VALUES (?, ?, ?)"
        with self._transaction("IMMEDIATE"):
            self._read_new_entries()  # of other tasks
            added = [self._database.execute(insert, row).lastrowid for row in rows]
        for (version, *_), row in zip(rows, added, strict=True):
            self._rows[version] = self._last = int(row or 0)

    def await_others(
        self, wanted: dict[str, Stamp], why_never: Callable[[str], str | None]
    ) -> dict[str, str]:
        """Waits until the other tasks have appended their shares.

        Args:
            wanted: dict from the keys of all tasks' pictures to their stamps.
            why_never: function from a key to a message if that picture cannot be read and will
                never be added, or else None.

        Returns:
            dict from the keys of such pictures to the messages.

        Raises:
            TrainingError: nothing was added for `wait_secs` seconds.
        """
        missing = {key for key, stamp in wanted.items() if self.find(key, stamp) is None}
        unchecked, never = iter(sorted(missing)), {}
        due = time.monotonic() + self._wait_secs
        while missing:
            with self._transaction("DEFERRED"):
                self._read_new_entries()
            added = {key for key in missing if self.find(key, wanted[key]) is not None}
            missing -= added
            if added:
                due = time.monotonic() + self._wait_secs
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
                    f"added none for {self._wait_secs:g} s; check their output, give all "
                    "tasks the same --bottleneck_dir, or raise --wait_secs"
                )
        return never

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the vectors in `rows`, int [n], as float32 [n, size].

        A store of up to 512 MiB is kept in memory after the first call. A larger store is read row
        by row, so that memory does not grow with it; the operating system caches frequent reads.

        Raises:
            UsageError: a row has disappeared from the database.
        """
        vectors = _aligned((len(rows), self._size))
        if (self._last + 1) * vectors.itemsize * self._size <= _MAX_IN_MEMORY:
            if self._in_memory is None:
                self._in_memory = np.empty((self._last + 1, self._size), np.float32)
                every = sorted(self._rows.values())
                self._read_into(self._in_memory, every, every)
            return np.take(self._in_memory, rows, axis=0, out=vectors, mode="clip")  # unbuffered
        self._read_into(vectors, range(len(rows)), np.asarray(rows).tolist())
        return vectors

    def _read_into(self, into: np.ndarray, indices: Sequence[int], rows: Sequence[int]) -> None:
        query = "SELECT vector FROM vectors WHERE row = ?"
        with self._transaction("DEFERRED"):
            for index, row in zip(indices, rows, strict=True):
                found = self._database.execute(query, (row,)).fetchone()
                if found is None:
                    raise self._unusable(f"row {row} is missing")
                into[index] = np.frombuffer(found[0], "<f4")

    def _await_filling(self) -> None:
        try:
            self._lock.acquire(timeout=0.1)
        except filelock.Timeout:
            LOG.warning("another program is filling '%s'; waiting for it", self._path.parent)
            self._lock.acquire()

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except Exception as error:  # damage shows in many ways, also as an undecodable message
            self._database.close()
            aside = self._path.with_suffix(".damaged")
            LOG.warning("'%s' is damaged (%s); renamed it to '%s'", self._path, error, aside)
            self._path.replace(aside)
            self._rows, self._last = {}, 0
            self._connect()

    def _connect(self) -> None:
        self._database = sqlite3.connect(
            self._path, timeout=_BUSY_SECS, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(_TABLE)
        self._read_new_entries()

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        try:
            self._database.execute(f"BEGIN {kind}")
            with self._database:
                yield
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _read_new_entries(self) -> None:
        """Reads the rows that were added since, here or by other tasks; deletes damaged rows."""
        damaged = []
        query = "SELECT row, version, checksum, vector FROM vectors WHERE row > ? ORDER BY row"
        for row, version, checksum, vector in self._database.execute(query, (self._last,)):
            if row <= self._last:  # SQLite's look-up relies on the order
                raise sqlite3.DatabaseError("its rows are out of order")
            if len(vector) == 4 * self._size and checksum == _checksum(version, vector):
                self._rows[version] = row
            else:
                damaged.append((row,))
            self._last = row
        self._in_memory = None
        if damaged:
            LOG.warning("'%s' has %d damaged vectors; deleting them", self._path, len(damaged))
            self._database.executemany("DELETE FROM vectors WHERE row = ?", damaged)

    def _unusable(self, why: object) -> UsageError:
        return UsageError(
            f"the bottleneck store '{self._path.parent}' cannot be used: {why}; free some space, "
            "delete the store to compute it anew, or name another folder"
        )


def _version(key: str, stamp: Stamp) -> bytes:
    """Returns the key of a version of a picture."""
    return f"{stamp[0]} {stamp[1]} {key}".encode("utf-8", "surrogateescape")


def _checksum(version: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(version))


def _aligned(shape: tuple[int, int]) -> np.ndarray:
    """Returns an uninitialized float32 array, aligned so that a session need not copy it."""
    size = 4 * math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)
