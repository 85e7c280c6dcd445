"""Unpacking published archives, and finding folders of images in them."""

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

_DEEPEST = 100  # folders in one another


def fetch_unpacked(remote: RemoteFile, folder: pathlib.Path, member: str) -> pathlib.Path:
    """Returns the path `folder/member`, of an archive that is downloaded unless that is there.

    Raises:
        DownloadError, UsageError: as `files.fetch` and `unpack`.
    """
    unpacked = folder / member
    return unpacked if unpacked.exists() else unpack(files.fetch(remote, folder), folder, member)


def find_images(
    named: str | None, sample: bool, archive: RemoteFile, member: str, sample_name: str, what: str
) -> tuple[pathlib.Path, bool]:
    """Returns a folder of images: a named one, that of an archive in the cache, or the sample.

    Args:
        named: a folder, or None.
        sample: take the sample without asking the network.
        archive: holds the images.
        member: the folder in the archive, and in the cache.
        sample_name: of `files.sample_folder`.
        what: describes the sample, for `files.warn_of_sample`.

    Returns:
        (the folder, whether it is the sample).
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
    """Unpacks `member` of a .tar, .tar.gz or .zip so that it appears whole or not at all.

    Args:
        archive: path of the archive.
        folder: where `member` goes.
        member: the top-level folder or file of the archive that is wanted; the rest is left out.

    Returns:
        the path `folder/member`; where that exists already, nothing is unpacked.

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
            raise UsageError(f"{archive}: holds no '{member}'; use the archive as published")
        files.tree_to_disk(unpacked)
        try:
            unpacked.replace(target)
            files.to_disk(folder)
        except OSError:
            if not target.exists():  # otherwise another program was faster
                raise
    return target


def _entries(archive: pathlib.Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yields each entry's name and its content, a stream; None for a folder."""
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
    if len(path.parts) > _DEEPEST:
        raise ValueError(f"it has folders in one another, {len(path.parts)} deep")


def _unsafe(archive: pathlib.Path, what: str) -> UsageError:
    return UsageError(
        f"{archive}: not unpacked, an entry would leave its folder ({what}); use the archive as "
        "published"
    )
