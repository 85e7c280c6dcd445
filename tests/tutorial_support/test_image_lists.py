"""Splitting folders of class folders."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from tutorial_support import SPLITS, image_lists
from tutorial_support.programs import UsageError


def make(folder, names):
    """Empty files are enough, because the list does not open them."""
    for name in names:
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return pathlib.Path(folder)


def many(folder="photos", count=200, classes=("a", "b")):
    return make(folder, [f"{name}/{i}.jpg" for name in classes for i in range(count)])


def split_of(images):
    return dict(zip(images.paths, images.splits, strict=True))


def test_every_image_is_in_one_split_of_about_its_share():
    images = image_lists.create(many(count=1000), 20, 10)
    parts = [images.of_split(split) for split in SPLITS]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(2000))
    assert np.allclose([len(part) / 2000 for part in parts], [0.7, 0.1, 0.2], atol=0.03)
    assert images.class_names == ("a", "b")
    assert [images.paths[i].partition("/")[0] == "b" for i in range(2000)] == list(images.labels)


def test_the_fingerprint_tells_other_images_labels_and_splits_apart():
    folders = [many(), many("more", 201), many("other", classes=("a", "c"))]
    lists = [image_lists.create(folder) for folder in folders]
    lists.append(image_lists.create(folders[0], seed=1))
    relabelled = [path.replace("b/", "c/") for path in lists[0].paths]
    lists.append(dataclasses.replace(lists[0], paths=relabelled))  # the same splits
    assert len({images.fingerprint() for images in lists}) == len(lists)
    shutil.move(folders[0], "moved")
    assert image_lists.create("moved").fingerprint() == lists[0].fingerprint()


def test_neither_moving_nor_adding_moves_an_image():
    before = split_of(image_lists.create(many()))
    shutil.move("photos", "elsewhere")
    make("elsewhere", [f"a/new{i}.jpg" for i in range(300)])
    after = split_of(image_lists.create("elsewhere"))
    assert before.items() <= after.items() and len(after) == 700


def by_hash(path):
    """The split for the hash of a path, with 10% each for validation and test."""
    number = image_lists.percentile(path)
    return 1 if number < 10 else 2 if number < 20 else 0


def test_where_hashes_fill_every_split_they_alone_decide():
    images = image_lists.create(many(count=100))
    assert [by_hash(path) for path in images.paths] == list(images.splits)


def test_an_empty_split_gets_the_lowest_hash_of_the_split_that_has_most():
    seen = set()
    for start in range(0, 400, 10):
        names = [f"{c}/{start + i}.jpg" for c in "ab" for i in range(5)]
        images = image_lists.create(make(f"p{start}", names))
        for label, name in enumerate(images.class_names):
            paths = [path for path in images.paths if path.startswith(name)]
            members = [[p for p in paths if by_hash(p) == split] for split in range(3)]
            seen.add(tuple(map(bool, members)))
            for split in range(3):
                if not members[split]:
                    most = max(members, key=len)
                    most.remove(lowest := min(most, key=image_lists.percentile))
                    members[split] = [lowest]
            expected = {path: split for split in range(3) for path in members[split]}
            found = split_of(images.only(np.flatnonzero(images.labels == label)))
            assert found == expected
    assert {(True, True, False), (True, False, True), (True, False, False)} <= seen


def test_only_an_image_that_stood_in_for_an_empty_split_ever_moves():
    moved = 0
    for start in range(0, 2000, 40):
        names = [f"{c}/{start + i}.jpg" for c in "ab" for i in range(12)]
        folder = make(f"p{start}", [name for name in names if int(name[2:-4]) < start + 8])
        before = split_of(image_lists.create(folder))
        after = split_of(image_lists.create(make(folder, names)))
        for path, split in before.items():
            if after[path] != split:
                moved += 1
                others = [by_hash(p) for p in before if p[0] == path[0]]
                assert len(set(others)) < 3
                assert split != by_hash(path) or after[path] != by_hash(path)
    assert moved


def test_another_seed_gives_other_splits():
    first, second = (image_lists.create(many(), seed=seed).splits for seed in (0, 1))
    assert 0.2 < (first != second).mean() < 0.5


def test_groups_stay_together():
    names = [f"{c}/plant{i}_nohash_{k}.jpg" for c in "ab" for i in range(60) for k in range(4)]
    splits = split_of(image_lists.create(make("photos", names)))
    for name in names:
        assert splits[name] == splits[f"{name[:-5]}0.jpg"]
    assert set(splits.values()) == {0, 1, 2}


@pytest.mark.parametrize("count", range(3, 12))
def test_no_split_of_a_class_is_empty(count):
    for start in range(0, 400, 20):
        folder = make(f"p{start}", [f"{c}/{start + i}.jpg" for c in "abc" for i in range(count)])
        images = image_lists.create(folder)
        for label in range(3):
            assert set(images.splits[images.labels == label]) == {0, 1, 2}


def test_a_split_of_no_percent_is_empty():
    images = image_lists.create(many(), testing_percentage=0)
    assert not len(images.of_split("test")) and len(images.of_split("validation"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"],
            r"'photos/a' has 2 distinct images in 2 files",
        ),
        (
            ["a/x_nohash_1.jpg", "a/x_nohash_2.jpg", "a/y.jpg", "b/1.jpg"],
            r"'photos/a' has 2 distinct images in 3 files",
        ),
        (["a/1.txt", "b/1.jpg"], r"'photos/a' has 0 distinct images"),
        (["a/1.jpg", "LICENSE.txt"], r"contains 1 class folders; it needs"),
    ],
)
def test_too_little_is_named_with_the_remedy(names, said):
    with pytest.raises(UsageError, match=said):
        image_lists.create(make("photos", names))
    with pytest.raises(UsageError, match="'missing' cannot be read .*name a folder"):
        image_lists.create("missing")


def test_endings_hidden_files_unicode_spaces_and_links():
    names = ["1.JPG", "2.jpeg", "3.Png", "4 with spaces.jpg", "fünf 花.jpg", ".hidden.jpg", "6.gif"]
    folder = make("photos", [f"{c}/{name}" for c in ("ä b", "c") for name in names])
    (folder / "c" / "link.jpg").symlink_to((folder / "c" / "1.JPG").resolve())
    (folder / "c" / "dangling.jpg").symlink_to("nowhere")
    (folder / "linked class").symlink_to((folder / "ä b").resolve())
    make(folder, [".cache/1.jpg"])
    images = image_lists.create(folder)
    assert images.class_names == ("c", "linked class", "ä b")
    assert len(images.paths) == len(set(images.paths)) == 7 + 6 + 6
    assert "c/link.jpg" in images.paths and "c/.hidden.jpg" not in images.paths


def test_a_class_without_training_images_is_named_with_a_picture_of_its_own():
    """An image of another class or split does not count."""
    images = image_lists.create(many(count=5))
    split = split_of(images)
    of_b = [path for path in images.paths if path.startswith("b/")]
    bad = {path: f"{path}: gone" for path in sorted(of_b, key=lambda path: -split[path])}
    bad = {"a/0.jpg": "a/0.jpg: broken", **bad}
    first = next(path for path in of_b if split[path] == 0)
    with pytest.raises(UsageError, match=f"of class 'b' can be read: {first}: gone"):
        images.check_training(bad)
    del bad[first]
    images.check_training(bad)


def test_unicode_forms_of_one_name_have_one_hash():
    assert image_lists.percentile("é/ü.jpg") == image_lists.percentile("e\u0301/u\u0308.jpg")
