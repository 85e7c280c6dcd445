"""From a folder of class folders to training, validation and test images.

Every image is assigned to its split by a hash of its path in the folder. So it stays there when
images are added or the folder is moved, and runs that are repeated agree.

One exception: where the hashes leave a split of a class empty, as they may among fewer than 30
images, another image of the class stands in. Once images are added, that image may go back to the
split that its hash says, mostly from validation or test to training. No rule could avoid this
and still let hashes decide as soon as there are enough images. To compare runs while such a folder
grows, keep a copy of its test images outside of it.
"""

import dataclasses
import hashlib
import os
import pathlib
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tutorial_support import SPLITS, TRAIN, pictures
from tutorial_support.programs import LOG, UsageError, one_line

GROUP_MARK = "_nohash_"  # images that are alike up to it stay together


@dataclasses.dataclass(frozen=True)
class ImageList:
    """The images of a folder, sorted by class and name.

    Attributes:
        folder: of the class folders.
        class_names: the names of the class folders.
        paths: each relative to `folder`, with "/" between class and file name.
        labels: int [images], indices into class_names.
        splits: int [images], indices into SPLITS.
    """

    folder: pathlib.Path
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray
    splits: np.ndarray

    def of_split(self, split: str) -> np.ndarray:
        """Returns the indices of a split's images, int [n]; `split` is one of SPLITS."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def files(self, chosen: Iterable[int]) -> list[pathlib.Path]:
        """Returns the paths of the files with the indices `chosen`."""
        return [self.folder / self.paths[i] for i in chosen]

    def without(self, bad: Mapping[str, str]) -> "ImageList":
        """Returns the ImageList that is left when pictures that cannot be read are taken out.

        Args:
            bad: from a path to a sentence on what is wrong with it.
        """
        return self.only([i for i, path in enumerate(self.paths) if path not in bad])

    def check_training(self, bad: Mapping[str, str]) -> None:
        """Raises UsageError where all training images of a class are `bad`, as of `without`."""
        for label, name in enumerate(self.class_names):
            own = [self.paths[i] for i in self.of_split(TRAIN) if self.labels[i] == label]
            if bad.keys() >= set(own):
                raise UsageError(
                    f"no training image of class '{one_line(name)}' can be read: {bad[own[0]]}"
                )

    def fingerprint(self) -> str:
        """Returns a string that differs between image lists, from the paths and their splits."""
        digest = 0
        for path, split in zip(self.paths, self.splits, strict=True):
            digest = zlib.crc32(f"{path}\0{split}\n".encode("utf-8", "surrogateescape"), digest)
        return f"{len(self.paths)} images with CRC {digest:08x}"

    def only(self, chosen: Sequence[int] | np.ndarray) -> "ImageList":
        """Returns the ImageList of the images whose indices are given."""
        return dataclasses.replace(
            self,
            paths=tuple(self.paths[i] for i in chosen),
            labels=self.labels[chosen],
            splits=self.splits[chosen],
        )


def create(
    folder: str | os.PathLike,
    testing_percentage: float = 10,
    validation_percentage: float = 10,
    seed: int = 0,
    flag: str = "--image_dir",
) -> ImageList:
    """Lists the images of a folder and assigns each to its split.

    Links are followed, hidden entries left out. What else is no picture in a class folder itself is
    left out with a warning. A split that a class would lack, although its
    percentage is not 0, gets the image with the lowest hash of the split that has most.

    Args:
        folder: holds a folder for each class.
        testing_percentage, validation_percentage: below 100 together.
        seed: another one gives other splits.
        flag: the flag that names the folder, for error messages.

    Raises:
        UsageError: the folder cannot be read, or holds fewer than two classes, or a class has too
            few images.
    """
    folder = pathlib.Path(folder)
    class_names = tuple(_entries(folder, flag, pathlib.Path.is_dir))
    if len(class_names) < 2:
        raise UsageError(
            f"{flag}: '{folder}' holds {len(class_names)} class folders; it needs a folder of "
            "images for each of two classes or more"
        )
    paths, labels, splits = [], [], []
    left_out: list[pathlib.Path] = []
    for label, name in enumerate(class_names):
        every = _entries(folder / name, "the class folder", lambda path: True)
        members = []
        for file in every:
            if pictures.is_picture(folder / name / file):
                members.append(f"{name}/{file}")
            else:
                left_out.append(folder / name / file)
        paths += members
        labels += [label] * len(members)
        splits += _split(folder / name, members, testing_percentage, validation_percentage, seed)
    if left_out:
        LOG.warning("left out of '%s': %s", folder, _described(left_out))
    return ImageList(folder, class_names, tuple(paths), np.array(labels), np.array(splits))


def _described(left_out: Sequence[pathlib.Path]) -> str:
    """Returns how many of what was no picture in a class folder."""
    folders = [path for path in left_out if path.is_dir()]
    below = sum(path.is_file() for folder in folders for path in folder.rglob("*"))
    others = sorted({path.suffix or path.name for path in left_out if path not in folders})
    counts = []
    if len(left_out) > len(folders):
        kinds = ", ".join(others[:5]) + ", ..." * (len(others) > 5)
        counts.append(f"{len(left_out) - len(folders)} files that are no pictures ({kinds})")
    if folders:
        counts.append(
            f"{below} files in folders below the class folders ('{folders[0]}' is one); move them "
            "up to use them"
        )
    return one_line(" and ".join(counts))


def _entries(folder: pathlib.Path, what: str, wanted: Callable[[pathlib.Path], bool]) -> list[str]:
    """Returns the sorted names in `folder` of what satisfies `wanted`, hidden ones left out."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(
            f"{what} '{folder}' cannot be read ({error.strerror}); name a folder with a folder of "
            "images for each class"
        ) from error
    return [name for name in names if wanted(folder / name)]


def _split(
    folder: pathlib.Path,
    paths: list[str],
    testing_percentage: float,
    validation_percentage: float,
    seed: int,
) -> list[int]:
    """Returns the index of each path's split."""
    hashes = [percentile(path, seed) for path in paths]
    # Where one hash is, there is one group: it is moved as a whole.
    groups = sorted(set(hashes))
    training_percentage = 100 - testing_percentage - validation_percentage
    shares = (training_percentage, validation_percentage, testing_percentage)
    wanted = [split for split, share in enumerate(shares) if share > 0]
    if len(groups) < len(wanted):
        raise UsageError(
            f"the class folder '{folder}' holds {len(paths)} images ("
            f"those that share a name up to {GROUP_MARK} count once) where {len(wanted)} are "
            "needed; add images or move the folder away"
        )
    members: dict[int, list[float]] = {split: [] for split in range(len(SPLITS))}
    for group in groups:
        if group < validation_percentage:
            members[1].append(group)
        elif group < validation_percentage + testing_percentage:
            members[2].append(group)
        else:
            members[0].append(group)
    for split in wanted:
        if not members[split]:
            richest = max(members, key=lambda other: len(members[other]))
            members[split].append(members[richest].pop(0))
    split_of = {group: split for split, found in members.items() for group in found}
    return [split_of[number] for number in hashes]


def percentile(path: str, seed: int = 0) -> float:
    """Returns a number in [0, 100) that depends on path and seed alone, evenly spread over paths.

    Args:
        path: "class/file name"; what follows GROUP_MARK is left out, and it does not matter in
            which of Unicode's two ways a disk writes an accented letter.
        seed: gives other numbers.
    """
    group = unicodedata.normalize("NFC", path).partition(GROUP_MARK)[0]
    digest = hashlib.sha1(f"{seed}/{group}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100
