"""Unpacks published archives and finds folders of images in them."""

import pathlib
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from typing import IO

from tutorial_support import files
from tutorial_support.files import DownloadError, RemoteFile
from tutorial_support.programs import UsageError

_MAX_DEPTH = 100  # nested folders


def fetch_unpacked(remote: RemoteFile, folder: pathlib.Path, member: str) -> pathlib.Path:
    """Returns the path `folder/member`; downloads and unpacks the archive if it does not exist.

    Raises:
        DownloadError: as in `files.fetch`.
        UsageError: as in `unpack`.
    """
    unpacked = folder / member
    return unpacked if unpacked.exists() else unpack(files.fetch(remote, folder), folder, member)


def find_images(
    named: str | None, sample: bool, archive: RemoteFile, member: str, sample_name: str, what: str
) -> tuple[pathlib.Path, bool]:
    """Returns a folder of images: the named one, a downloaded archive's, or the sample's.

    Args:
        named: a folder, or None.
        sample: use the sample without trying the network.
        archive: the archive of the images.
        member: name of the folder in the archive and in the cache.
        sample_name: as in `files.sample_folder`.
        what: describes the sample, as in `files.warn_of_sample`.

    Returns:
        (the folder, whether it is the sample).

    Raises:
        UsageError: the archive is damaged.
    """
    if named is not None:
        return pathlib.Path(named), False
    if not sample:
        try:
            return fetch_unpacked(archive, files.cache_folder(member), member), False
        except DownloadError as error:
            files.warn_of_sample(what, error)
    return files.sample_folder(sample_name), True


def unpack(archive: pathlib.Path, folder: pathlib.Path, member: str) -> pathlib.Path:
    """Unpacks `member` of a .tar, .tar.gz or .zip file, completely or not at all.

    Args:
        archive: path of the archive.
        folder: the folder to unpack into.
        member: the top-level folder or file to unpack; the rest of the archive is skipped.

    Returns:
        the path `folder/member`. If it already exists, nothing is unpacked.

    Raises:
        UsageError: the archive is damaged, lacks `member`, or has an entry that would be written
            outside of the folder.
    """
    target = folder / member
    if target.exists():
        return target
    with files.temporary_folder(target) as temporary:
        with files.reading(archive, "delete it to download it again"):
            for name, stream in _entries(archive):
                _check_inside(archive, name)
                if pathlib.PurePosixPath(name).parts[:1] == (member,):
                    _write(temporary / name, stream)
        unpacked = temporary / member
        if not unpacked.exists():
            raise UsageError(f"{archive}: contains no '{member}'; use the archive as published")
        files.tree_to_disk(unpacked)
        try:
            unpacked.replace(target)
            files.to_disk(folder)
        except OSError:
            if not target.exists():  # otherwise another program has unpacked it meanwhile
                raise
    return target


def _entries(archive: pathlib.Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yields (name, content stream) of each entry; the stream of a folder is None."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise _unsafe(archive, f"'{entry.filename}' is a link")
                if entry.is_dir():
                    yield entry.filename, None
                else:
                    with packed.open(entry) as content:
                        yield entry.filename, content
        return
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()):
                raise _unsafe(archive, f"'{member.name}' is a link or a device")
            yield member.name, tar.extractfile(member)


def _write(path: pathlib.Path, stream: IO[bytes] | None) -> None:
    if stream is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:
        shutil.copyfileobj(stream, sink)


def _check_inside(archive: pathlib.Path, name: str) -> None:
    path = pathlib.PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or pathlib.PureWindowsPath(name).drive:
        raise _unsafe(archive, f"'{name}'")
    if len(path.parts) > _MAX_DEPTH:
        raise ValueError(f"its folders are nested {len(path.parts)} deep")


def _unsafe(archive: pathlib.Path, what: str) -> UsageError:
    return UsageError(
        f"{archive}: not unpacked, because an entry would be written outside of the folder "
        f"({what}); use the archive as published"
    )
