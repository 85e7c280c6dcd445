"""From a folder of class folders to training, validation and test images.

Every image is assigned to its split by a hash of its path in the folder. So it stays there when
images are added or the folder is moved, and runs that are repeated agree.
"""

import dataclasses
import hashlib
import os
import pathlib
import unicodedata
import zlib

import numpy as np

from tutorial_support import SPLITS, TRAIN
from tutorial_support.programs import UsageError

ENDINGS = (".jpg", ".jpeg", ".png")
GROUP_MARK = "_nohash_"  # images that are alike up to it stay together


@dataclasses.dataclass(frozen=True)
class ImageList:
    """The images of a folder, sorted by class and name.

    Attributes:
        folder: pathlib.Path.
        class_names: tuple of strings, the names of the class folders.
        paths: tuple of strings, each relative to `folder`, with "/" between class and file name.
        labels: int array [images], indices into class_names.
        splits: int array [images], indices into SPLITS.
    """

    folder: pathlib.Path
    class_names: tuple
    paths: tuple
    labels: np.ndarray
    splits: np.ndarray

    def of_split(self, split):
        """Returns the indices of a split's images, int array; `split` is one of SPLITS."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def files(self, chosen):
        """Returns the paths of the files with the indices `chosen`."""
        return [self.folder / self.paths[i] for i in chosen]

    def without(self, bad):
        """Returns the ImageList that is left when pictures that cannot be read are taken out.

        Args:
            bad: dict from a path to a sentence on what is wrong with it.
        """
        return self.only([i for i, path in enumerate(self.paths) if path not in bad])

    def check_training(self, bad):
        """Raises UsageError where a class has lost its training images; `bad` as of `without`."""
        for label, name in enumerate(self.class_names):
            if label not in self.labels[self.of_split(TRAIN)]:
                raise UsageError(
                    f"no training image of class '{name}' can be read: {next(iter(bad.values()))}"
                )

    def fingerprint(self):
        """Returns a string that differs between image lists, from the paths and their splits."""
        digest = 0
        for path, split in zip(self.paths, self.splits, strict=True):
            digest = zlib.crc32(f"{path}\0{split}\n".encode("utf-8", "surrogateescape"), digest)
        return f"{len(self.paths)} images with CRC {digest:08x}"

    def only(self, chosen):
        """Returns the ImageList of the images whose indices, int array, are given."""
        return dataclasses.replace(
            self,
            paths=tuple(self.paths[i] for i in chosen),
            labels=self.labels[chosen],
            splits=self.splits[chosen],
        )


def create(folder, testing_percentage=10, validation_percentage=10, seed=0, flag="--image_dir"):
    """Lists the images of a folder and assigns each to its split.

    Links are followed, hidden entries left out. A split that a class would lack, although its
    percentage is not 0, gets the image whose hash comes next.

    Args:
        folder: with a folder a class.
        testing_percentage, validation_percentage: numbers, below 100 together.
        seed: int, gives other splits.
        flag: the flag that names the folder, for error messages.

    Returns:
        ImageList.

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
    for label, name in enumerate(class_names):
        members = [
            f"{name}/{file}"
            for file in _entries(folder / name, "the class folder", pathlib.Path.is_file)
            if file.lower().endswith(ENDINGS)
        ]
        paths += members
        labels += [label] * len(members)
        splits += _split(folder / name, members, testing_percentage, validation_percentage, seed)
    return ImageList(folder, class_names, tuple(paths), np.array(labels), np.array(splits))


def _entries(folder, what, wanted):
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


def _split(folder, paths, testing_percentage, validation_percentage, seed):
    """Returns the index of each path's split, a list of int."""
    hashes = [percentile(path, seed) for path in paths]
    # Where one hash is, there is one group: it is moved as a whole.
    groups = sorted(set(hashes))
    shares = (100 - testing_percentage - validation_percentage, validation_percentage)
    shares += (testing_percentage,)
    wanted = [split for split, share in enumerate(shares) if share > 0]
    if len(groups) < len(wanted):
        raise UsageError(
            f"the class folder '{folder}' holds {len(paths)} images (of {', '.join(ENDINGS)}; "
            f"those that share a name up to {GROUP_MARK} count once) where {len(wanted)} are "
            "needed; add images or move the folder away"
        )
    members = {split: [] for split in range(len(SPLITS))}
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


def percentile(path, seed=0):
    """Returns a number in [0, 100) that depends on path and seed alone, evenly spread over paths.

    Args:
        path: "class/file name"; what follows GROUP_MARK is left out, and it does not matter in
            which of Unicode's two ways a disk writes an accented letter.
        seed: int.
    """
    group = unicodedata.normalize("NFC", path).partition(GROUP_MARK)[0]
    digest = hashlib.sha1(f"{seed}/{group}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100
