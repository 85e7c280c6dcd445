"""Splits a folder of class folders into training, validation and test images.

A hash of its path in the folder assigns each image to a split. An image therefore stays in its
split when images are added or the folder is moved, and repeated runs use the same splits.

There is one exception. With fewer than about 30 images, the hashes may leave a split of a class
empty; then another image of the class is moved into it. When more images are added, that image may
return to the split of its hash, usually from validation or test to training. No rule can avoid this
and still let the hashes decide once there are enough images. To compare runs while such a folder
grows, keep a copy of its test images elsewhere.
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

GROUP_MARK = "_nohash_"  # images whose names agree up to this mark stay in the same split


@dataclasses.dataclass(frozen=True)
class ImageList:
    """The images of a folder, sorted by class and name.

    Attributes:
        folder: the folder that contains the class folders.
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
        """Returns the indices of the images in `split`, one of SPLITS: int [n]."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def files(self, chosen: Iterable[int]) -> list[pathlib.Path]:
        """Returns the paths of the files at the indices `chosen`."""
        return [self.folder / self.paths[i] for i in chosen]

    def without(self, bad: Mapping[str, str]) -> "ImageList":
        """Returns the ImageList without the unreadable pictures.

        Args:
            bad: dict from path to error message.
        """
        return self.only([i for i, path in enumerate(self.paths) if path not in bad])

    def check_training(self, bad: Mapping[str, str]) -> None:
        """Raises UsageError if all training images of a class are in `bad`; see `without`."""
        for label, name in enumerate(self.class_names):
            own = [self.paths[i] for i in self.of_split(TRAIN) if self.labels[i] == label]
            if bad.keys() >= set(own):
                raise UsageError(
                    f"no training image of class '{one_line(name)}' can be read: {bad[own[0]]}; "
                    "replace the images"
                )

    def fingerprint(self) -> str:
        """Returns a string that identifies the list by its paths and their splits."""
        digest = 0
        for path, split in zip(self.paths, self.splits, strict=True):
            digest = zlib.crc32(f"{path}\0{split}\n".encode("utf-8", "surrogateescape"), digest)
        return f"{len(self.paths)} images with CRC {digest:08x}"

    def only(self, chosen: Sequence[int] | np.ndarray) -> "ImageList":
        """Returns the ImageList of the images at the indices `chosen`."""
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
    """Lists the images of a folder and assigns each to a split.

    It follows links and skips hidden entries. Anything else in a class folder that is not a picture
    is skipped with a warning. If a split with a percentage above 0 would get no image of a class,
    it gets the image with the lowest hash from that class's largest split.

    Args:
        folder: contains one folder per class.
        testing_percentage, validation_percentage: in percent; their sum must be below 100.
        seed: selects one of many possible splits.
        flag: the flag that names the folder, for error messages.

    Raises:
        UsageError: the folder cannot be read or has fewer than two classes, or a class has too few
            images.
    """
    folder = pathlib.Path(folder)
    class_names = tuple(_entries(folder, flag, pathlib.Path.is_dir))
    if len(class_names) < 2:
        raise UsageError(
            f"{flag}: '{folder}' contains {len(class_names)} class folders; it needs one folder of "
            "images per class, and at least two classes"
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
        LOG.warning("skipped in '%s': %s", folder, _described(left_out))
    return ImageList(folder, class_names, tuple(paths), np.array(labels), np.array(splits))


def _described(left_out: Sequence[pathlib.Path]) -> str:
    """Returns a summary of the entries in class folders that are not pictures."""
    folders = [path for path in left_out if path.is_dir()]
    below = sum(path.is_file() for folder in folders for path in folder.rglob("*"))
    others = sorted({path.suffix or path.name for path in left_out if path not in folders})
    counts = []
    if len(left_out) > len(folders):
        kinds = ", ".join(others[:5]) + ", ..." * (len(others) > 5)
        counts.append(f"{len(left_out) - len(folders)} files that are not pictures ({kinds})")
    if folders:
        counts.append(
            f"{below} files in subfolders of the class folders (such as '{folders[0]}'); move them "
            "up to use them"
        )
    return one_line(" and ".join(counts))


def _entries(folder: pathlib.Path, what: str, wanted: Callable[[pathlib.Path], bool]) -> list[str]:
    """Returns the sorted names of the visible entries in `folder` that satisfy `wanted`."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(
            f"{what} '{folder}' cannot be read ({error.strerror}); name a folder that contains one "
            "folder of images per class"
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
    # Images of a group have the same hash, so a group is moved as a whole.
    groups = sorted(set(hashes))
    training_percentage = 100 - testing_percentage - validation_percentage
    shares = (training_percentage, validation_percentage, testing_percentage)
    wanted = [split for split, share in enumerate(shares) if share > 0]
    if len(groups) < len(wanted):
        raise UsageError(
            f"the class folder '{folder}' has {len(groups)} distinct images in {len(paths)} files "
            f"(files whose names agree up to {GROUP_MARK} count once), but needs {len(wanted)}; "
            "add images or move the folder away"
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
            largest = max(members, key=lambda other: len(members[other]))
            members[split].append(members[largest].pop(0))
    split_of = {group: split for split, found in members.items() for group in found}
    return [split_of[number] for number in hashes]


def percentile(path: str, seed: int = 0) -> float:
    """Returns a number in [0, 100), uniform over paths, that depends only on path and seed.

    Args:
        path: "class/file name". Anything after GROUP_MARK is ignored, and accented letters are
            normalized, because disks differ in how they encode them.
        seed: selects other numbers.
    """
    group = unicodedata.normalize("NFC", path).partition(GROUP_MARK)[0]
    digest = hashlib.sha1(f"{seed}/{group}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100
