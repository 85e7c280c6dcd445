"""Finding data: a folder that the user names, the cache, a download, the shipped sample.

Downloads go to `$GRAPH_TUTORIALS_DATA/<name>`, by default `~/.cache/graph-tutorials/<name>`.
"""

import dataclasses
import hashlib
import http.client
import os
import pathlib
import shutil
import ssl
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib

from six.moves import urllib

from tutorial_support import files, progress
from tutorial_support.programs import LOG, UsageError

CACHE_VARIABLE = "GRAPH_TUTORIALS_DATA"
CONNECT_TIMEOUT = 6.0  # seconds without any answer
SLOWEST = 2_000  # bytes per second, averaged over PATIENCE; below it, the next mirror is tried
PATIENCE = 20.0  # seconds
_CHUNK = 1 << 16


class DownloadError(Exception):
    """No mirror delivered the file. The message gives each mirror's reason."""


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: string.
        size: in bytes; None where it is not known.
        sha256: in hexadecimal; None where none is known: then only the size is checked, if need be
            the one that the server tells, and the content by what reads it.
        urls: the addresses that serve it, in the order in which they are tried.
    """

    name: str
    size: int | None
    sha256: str | None
    urls: tuple


def cache_folder(name):
    """Returns the folder of the data set `name` in the cache, whether it exists or not."""
    root = os.environ.get(CACHE_VARIABLE) or pathlib.Path.home() / ".cache" / "graph-tutorials"
    return pathlib.Path(root).expanduser() / name


def sample_folder(name):
    """Returns the folder of the shipped sample `name`, in an installed wheel or in a clone."""
    here = pathlib.Path(__file__).parent
    installed = here / "sample_data" / name
    return installed if installed.is_dir() else here.parent / "data" / name


def fetch(remote, folder):
    """Returns the path of `remote` in `folder`, downloading it unless it is there and whole.

    Raises:
        DownloadError: no mirror delivered the right bytes; `folder` is as it was before.
        UsageError: the folder cannot be written, or is full.
    """
    path = pathlib.Path(folder) / remote.name
    if path.is_file() and _size_fits(path, remote.size) and _digest_fits(path, remote):
        return path
    reasons = []
    for url in remote.urls:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path) as temporary:
                _download(url, remote, temporary)
            return path
        except _MIRROR_FAILURES as error:
            reasons.append(f"{url}: {_reason(error)}")
        except OSError as error:
            raise UsageError(
                f"'{folder}' cannot take the download: {error.strerror}; set {CACHE_VARIABLE} to a "
                "folder with room that can be written"
            ) from error
    raise DownloadError(f"{remote.name} could not be downloaded ({'; '.join(reasons)})")


def fetch_unpacked(remote, folder, member):
    """Returns the path `folder/member`, of an archive that is downloaded unless that is there.

    Args:
        remote: RemoteFile, the archive.
        folder, member: as of `unpack`.

    Raises:
        DownloadError, UsageError: as `fetch` and `unpack`.
    """
    unpacked = pathlib.Path(folder) / member
    return unpacked if unpacked.exists() else unpack(fetch(remote, folder), folder, member)


def find_images(named, sample, archive, member, sample_name, what):
    """Returns a folder of images: a named one, that of an archive in the cache, or the sample.

    Args:
        named: a folder, or None.
        sample: take the sample outright.
        archive: RemoteFile.
        member: the folder in the archive, and in the cache.
        sample_name: as of `sample_folder`.
        what: what the sample is, as of `warn_of_sample`.

    Returns:
        (pathlib.Path, whether it is the sample).
    """
    if named is not None:
        return pathlib.Path(named), False
    if not sample:
        try:
            return fetch_unpacked(archive, cache_folder(member), member), False
        except DownloadError as error:
            warn_of_sample(what, error)
    return sample_folder(sample_name), True


_MIRROR_FAILURES = (
    DownloadError,
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


def _reason(error):
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _size_fits(path, size):
    return size is None or path.stat().st_size == size


def _digest_fits(path, remote):
    return remote.sha256 is None or _digest(path) == remote.sha256


def _digest(path):
    digest = hashlib.sha256()
    with pathlib.Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _download(url, remote, target):
    request = urllib.request.Request(url, headers={"User-Agent": "graph-tutorials"})
    with (
        urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT) as response,
        target.open("wb") as stream,
    ):
        expected = response.length if remote.size is None else remote.size
        with progress.bar(expected, remote.name, "B", unit_scale=True) as bar:
            for chunk in _chunks_in_time(response):
                stream.write(chunk)
                bar.update(len(chunk))
                if expected is not None and stream.tell() > expected:
                    break
    if not _size_fits(target, expected):
        less_or_more = "fewer" if target.stat().st_size < expected else "more"
        raise DownloadError(f"sent {less_or_more} than the expected {expected} bytes")
    if not _digest_fits(target, remote):
        raise DownloadError("sent other bytes than the published file (sha256 differs)")


def _chunks_in_time(response):
    """Yields the body of `response`; raises DownloadError where it trickles."""
    window_start, window_bytes = time.monotonic(), 0
    while chunk := response.read1(_CHUNK):
        yield chunk
        window_bytes += len(chunk)
        elapsed = time.monotonic() - window_start
        if elapsed > PATIENCE:
            if window_bytes < SLOWEST * elapsed:
                raise DownloadError(f"slower than {SLOWEST} bytes per second")
            window_start, window_bytes = time.monotonic(), 0


def unpack(archive, folder, member):
    """Unpacks a .tar.gz or .zip so that `folder/member` appears whole or not at all.

    Of an archive that holds more than `member`, the rest is left out.

    Args:
        archive: path of the archive.
        folder: where `member` goes.
        member: the top-level folder or file of the archive that is wanted.

    Returns:
        the path `folder/member`; where that exists already, nothing is unpacked.

    Raises:
        UsageError: the archive is cut off or no archive, lacks `member`, or has an entry that
            would be written outside of the folder.
    """
    target = pathlib.Path(folder) / member
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{member}-") as temporary:
        try:
            if zipfile.is_zipfile(archive):
                _unpack_zip(archive, temporary)
            else:
                _unpack_tar(archive, temporary)
        except (tarfile.FilterError, _UnsafeEntry) as error:
            raise UsageError(
                f"{archive}: not unpacked, an entry would leave its folder ({error}); "
                "use the archive as published"
            ) from error
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise UsageError(
                f"{archive}: cut off or not an archive ({error}); delete it to download it again"
            ) from error
        unpacked = pathlib.Path(temporary) / member
        if not unpacked.exists():
            raise UsageError(f"{archive}: holds no '{member}'; use the archive as published")
        try:
            unpacked.replace(target)
        except OSError:
            if not target.exists():  # else another program was faster
                raise
    return target


class _UnsafeEntry(Exception):
    """An archive entry that is a link, or whose path leads out of the folder."""


def _unpack_tar(archive, folder):
    with tarfile.open(archive, "r:*") as tar:
        for entry in tar:
            if not (entry.isfile() or entry.isdir()):
                raise _UnsafeEntry(f"'{entry.name}' is a link or a device")
            _check_inside(entry.name, folder)
            tar.extract(entry, folder, filter="data")


def _unpack_zip(archive, folder):
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise _UnsafeEntry(f"'{entry.filename}' is a link")
            _check_inside(entry.filename, folder)
            target = pathlib.Path(folder) / entry.filename
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(entry) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def _check_inside(name, folder):
    folder = pathlib.Path(folder).resolve()
    if not (folder / name).resolve().is_relative_to(folder) or pathlib.PurePath(name).is_absolute():
        raise _UnsafeEntry(f"'{name}'")


def warn_of_sample(what, error):
    """Says that the sample stands in for the full data set, and why.

    Args:
        what: for example "MNIST: 5,000 of the 70,000 images".
        error: the DownloadError.
    """
    LOG.warning(
        "training on the shipped SAMPLE (%s), because %s; for the full set, go online and start "
        "again, or name a folder that holds it",
        what,
        error,
    )
