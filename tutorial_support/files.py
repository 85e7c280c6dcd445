"""Downloads data, reads users' files and replaces files atomically.

Downloads go to `$GRAPH_TUTORIALS_DATA/<name>`, by default `~/.cache/graph-tutorials/<name>`.
"""

import atexit
import contextlib
import dataclasses
import hashlib
import http.client
import itertools
import os
import pathlib
import re
import shutil
import socket
import ssl
import stat
import sys
import tempfile
import time
from collections.abc import Iterator

import filelock
from six.moves import urllib
from tqdm import tqdm

from tutorial_support.programs import FULL_DISK, LOG, UsageError, reason

CACHE_VARIABLE = "GRAPH_TUTORIALS_DATA"
LOCK_FILE = ".lock"
CONNECT_TIMEOUT = 6.0  # seconds without an answer
SLOWEST = 2_000  # bytes per second, averaged over PATIENCE; a slower mirror is abandoned
PATIENCE = 20.0  # seconds
_CHUNK = 1 << 16  # bytes


@contextlib.contextmanager
def reading(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """Turns any error while reading a user's file into a UsageError that names the file.

    Anything but a regular file is refused before the block opens it; a named pipe would block.
    A full disk is not the fault of the file, so that error is passed on.

    Args:
        path: the file that the block reads.
        remedy: what the user can do, for example "save the picture again".
    """
    try:
        if os.path.lexists(path) and not pathlib.Path(path).is_file():
            _refuse_other(path)
        yield
    except (UsageError, KeyboardInterrupt, SystemExit):
        raise
    except FileNotFoundError as error:
        raise UsageError(f"there is no file '{path}'; {remedy}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise UsageError(f"{path}: cannot be read ({reason(error)}); {remedy}") from error


def _refuse_other(path: str | os.PathLike) -> None:
    mode = pathlib.Path(path).stat().st_mode  # raises OSError for a broken link
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    raise ValueError(f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}")


def read_text(path: str | os.PathLike, remedy: str, most: int = 1 << 20) -> str:
    """Returns the text of a user's file, UTF-8 with or without a byte order mark.

    All line endings become line feeds. Bytes that are not UTF-8 are kept by surrogateescape.

    Args:
        path: the file.
        remedy: as in `reading`.
        most: the largest size in bytes.

    Raises:
        UsageError: the file cannot be read or is larger.
    """
    with reading(path, remedy), pathlib.Path(path).open("rb") as stream:
        content = stream.read(most + 1)
        if len(content) > most:
            raise ValueError(f"it has more than {most} bytes")
        text = content.decode("utf-8-sig", "surrogateescape")
        return text.replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary file next to `path` that replaces it when the block succeeds.

    Readers see the complete new file or the old one, even after a power failure. If the block
    raises, the temporary file is deleted and `path` is unchanged. A device such as /dev/stdout is
    written to directly.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder; name a file")
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = _partial(path)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        to_disk(temporary)
        temporary.replace(path)
        to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty temporary folder next to `path`, in which its content can be prepared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = _partial(path)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def folder_until_exit(name: str) -> pathlib.Path:
    """Returns an empty temporary folder that is removed when the process ends.

    If the process is killed, the next program that asks for a folder removes it.

    Args:
        name: appears in the name of the folder.
    """
    atexit.register(remove_temporary_folders)
    folder = temporary_folder(pathlib.Path(tempfile.gettempdir(), name))
    return _until_exit.enter_context(folder)


_until_exit = contextlib.ExitStack()


def remove_temporary_folders() -> None:
    """Removes the folders of `folder_until_exit`; for programs that skip Python's normal exit."""
    _until_exit.close()


def _partial(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a temporary file or folder, named after machine and process."""
    serial = next(_serials)
    return path.with_name(f".{path.name}.{_MACHINE}-{os.getpid()}-{serial}.partial")


def _process_namespace() -> str:
    """Returns what tells containers of one host name apart; "" where there is no /proc."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    return ""


_MACHINE = re.sub(r"[^\w]", "_", socket.gethostname() + _process_namespace())
_serials = itertools.count()


def sweep(folder: pathlib.Path) -> None:
    """Removes temporary files and folders of killed programs of this machine."""
    for path in folder.glob(f".*.{_MACHINE}-*.partial"):
        process = int(path.name.rpartition(f".{_MACHINE}-")[2].partition("-")[0])
        if not _is_running(process):
            with contextlib.suppress(OSError):  # another user's, or removed by another program
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _is_running(process: int) -> bool:
    """Returns whether a process may be running; on Windows, where asking would end it, it may."""
    if sys.platform != "win32":
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # a running program of another user
    return True


def lock_of(folder: pathlib.Path) -> filelock.FileLock:
    """Returns the lock of a folder, not yet acquired.

    Once it is acquired, the system releases it when the process ends in any way.

    Raises:
        UsageError: the lock file is a link; opening it would empty another file.
    """
    path = folder / LOCK_FILE
    if path.is_symlink():
        raise UsageError(f"'{path}' is a link; remove it")
    return filelock.FileLock(path, thread_local=False)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` as UTF-8 to `path`, replacing the file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def to_disk(path: str | os.PathLike) -> None:
    """Flushes a file, or the entries of a folder, to the disk."""
    is_windows = sys.platform == "win32"  # which opens no folders, and flushes what can be written
    if is_windows and pathlib.Path(path).is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tree_to_disk(folder: pathlib.Path) -> None:
    """Flushes everything in a folder to the disk: files, folders and their entries."""
    for path in [folder, *folder.rglob("*")]:
        to_disk(path)


def make_folder(path: pathlib.Path) -> None:
    """Creates a folder and its missing parents, and flushes them to the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        to_disk(folder.parent)


def cache_folder(name: str) -> pathlib.Path:
    """Returns the folder of the data set `name` in the cache; it may not exist."""
    root = os.environ.get(CACHE_VARIABLE) or os.path.join("~", ".cache", "graph-tutorials")  # noqa: PTH118
    root = os.path.expanduser(root)  # noqa: PTH111
    # Without a home folder, "~" is still there. No cache can be written then.
    return pathlib.Path("/nonexistent" if root.startswith("~") else "", root, name)


def sample_folder(name: str) -> pathlib.Path:
    """Returns the folder of the shipped sample `name`, in an installed wheel or in a clone."""
    here = pathlib.Path(__file__).parent
    installed = here / "sample_data" / name
    return installed if installed.is_dir() else here.parent / "data" / name


class DownloadError(Exception):
    """No mirror delivered the file. The message gives the reason for each mirror."""


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: the file's name.
        size: in bytes; None if unknown.
        sha256: in hexadecimal; None if none is published. Then only the size is checked, `size` or
            the one that the server announces, and the file's reader checks the content.
        urls: the mirrors, in the order in which they are tried.
    """

    name: str
    size: int | None
    sha256: str | None
    urls: tuple[str, ...]

    def is_whole(self, path: pathlib.Path) -> bool:
        """Returns whether the file at `path` has the published size and checksum."""
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return self.sha256 is None or sha256(path) == self.sha256


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with pathlib.Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(remote: RemoteFile, folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of `remote` in `folder`; downloads it unless it is there and complete.

    Raises:
        DownloadError: no mirror delivered the right bytes, or the folder cannot be written; the
            folder is unchanged.
    """
    path = folder / remote.name
    if path.is_file() and remote.is_whole(path):
        return path
    reasons = []
    for url in remote.urls:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                _download(url, remote, temporary)
            return path
        except _MIRROR_FAILURES as error:
            reasons.append(f"{url}: {getattr(error, 'reason', None) or reason(error)}")
        except OSError as error:
            raise DownloadError(
                f"the download cannot be written to '{folder}' ({reason(error)}; set "
                f"{CACHE_VARIABLE} to a writable folder with enough space)"
            ) from error
    raise DownloadError(f"{remote.name} could not be downloaded ({'; '.join(reasons)})")


_MIRROR_FAILURES = (
    DownloadError,
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
    ValueError,  # the address of the proxy is malformed
)


def _download(url: str, remote: RemoteFile, target: pathlib.Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "graph-tutorials"})
    with (
        urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT) as response,
        target.open("wb") as stream,
    ):
        expected = response.length if remote.size is None else remote.size
        with progress_bar(expected, remote.name, "B", unit_scale=True) as bar:
            for chunk in _chunks_in_time(response):
                stream.write(chunk)
                bar.update(len(chunk))
                if expected is not None and stream.tell() > expected:
                    break
    size = target.stat().st_size
    if expected is not None and size != expected:
        less_or_more = "fewer" if size < expected else "more"
        raise DownloadError(f"sent {less_or_more} than the expected {expected} bytes")
    if not remote.is_whole(target):
        raise DownloadError("sent a file whose sha256 differs from the published one")


def _chunks_in_time(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yields the body of `response`; raises DownloadError if it arrives too slowly."""
    window_start, window_bytes = time.monotonic(), 0
    while chunk := response.read1(_CHUNK):
        yield chunk
        window_bytes += len(chunk)
        elapsed = time.monotonic() - window_start
        if elapsed > PATIENCE:
            if window_bytes < SLOWEST * elapsed:
                raise DownloadError(f"slower than {SLOWEST} bytes per second")
            window_start, window_bytes = time.monotonic(), 0


def progress_bar(total: int | None, name: str, unit: str = "step", **options) -> tqdm:
    """Returns a tqdm bar on standard error; it is silent unless that is a terminal."""
    return tqdm(
        total=total,
        desc=name,
        unit=unit,
        dynamic_ncols=True,
        leave=False,
        disable=None,  # makes tqdm check whether the stream is a terminal
        file=sys.stderr,
        **options,
    )


def warn_of_sample(what: str, error: DownloadError) -> None:
    """Logs a warning that the sample replaces the full data set, and why.

    Args:
        what: describes the sample, for example "MNIST: 5,000 of its 70,000 images".
        error: why the full data set is not available.
    """
    LOG.warning(
        "using the shipped SAMPLE (%s), because %s; for the full data set, go online and start "
        "again (use --fresh to train), or name a folder that contains it",
        what,
        error,
    )
