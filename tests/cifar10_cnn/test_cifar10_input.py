"""Tests records against hand-made bytes, the order of batches, and distortions against numpy."""

import argparse
import hashlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10_input, distortions
from cifar10_cnn.recipes import RECIPES
from tests import loopback
from tests.cifar10_cnn import records as made
from tests.pipelines import elements
from tutorial_support import files
from tutorial_support.programs import UsageError


def evaluate(tensors, feed=None):
    with tf.Session() as sess:
        return sess.run(tensors, feed)


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def test_a_hand_made_record_is_parsed(graph):
    record = bytearray(cifar10_input.RECORD_BYTES)
    record[0] = 7
    record[1 + 0 * 1024 + 2 * 32 + 5] = 200  # red at row 2, column 5
    record[1 + 1 * 1024 + 2 * 32 + 5] = 100  # green, the same pixel
    record[1 + 2 * 1024 + 31 * 32 + 0] = 50  # blue, last row, first column
    images, labels = evaluate(cifar10_input.parse(tf.constant([bytes(record)] * 2)))
    assert images.dtype == np.uint8
    assert labels.tolist() == [7, 7]
    assert images[1, 2, 5].tolist() == [200, 100, 0]
    assert images[1, 31, 0].tolist() == [0, 0, 50]
    assert images[1].sum() == 350


def numbered(folder, counts=(600, 300)):
    """Writes record files whose first two pixels encode the record's number; returns Records."""
    folder.mkdir()
    number = 0
    for batch, count in enumerate(counts, start=1):
        values = np.zeros((count, cifar10_input.RECORD_BYTES), np.uint8)
        values[:, 1] = np.arange(number, number + count) // 256
        values[:, 2] = np.arange(number, number + count) % 256
        (folder / f"data_batch_{batch}.bin").write_bytes(values.tobytes())
        number += count
    (folder / "batches.meta.txt").write_text("a\nb\n")
    return cifar10_input.training_records(folder)


def as_floats(images):
    return tf.cast(images, tf.float32)


def numbers(images):
    return (images[:, 0, 0, 0] * 256 + images[:, 0, 1, 0]).astype(int)


def served(records, first_step, count, seed=3):
    """The record numbers and the images of `count` training batches of 50 from first_step on."""

    def distort(images, step_seed):
        return tf.cast(images, tf.float32)

    found = elements(
        lambda: cifar10_input.training_batches(
            records, 50, seed, tf.constant(first_step, tf.int64), distort
        ),
        count,
    )
    return np.array([numbers(images) for images, _ in found])


def test_every_epoch_serves_every_record_once_in_another_order(tmp_path):
    records = numbered(tmp_path / "set")
    epochs = served(records, 0, 36).reshape(2, 900)
    assert (np.sort(epochs) == np.arange(900)).all()
    assert (epochs[0] != epochs[1]).mean() > 0.9
    # The whole set is shuffled, not only single blocks: a batch has records of both files, and the
    # first half of an epoch has records from all parts.
    assert (np.corrcoef(epochs[0], np.arange(900))[0, 1]) ** 2 < 0.02
    assert (served(records, 0, 36, seed=4).ravel() != epochs.ravel()).mean() > 0.9


def test_batch_k_does_not_depend_on_where_the_stream_starts(tmp_path):
    records = numbered(tmp_path / "set")
    whole = served(records, 0, 40)
    for first_step in (1, 17, 18, 25):  # 18 steps are an epoch
        np.testing.assert_array_equal(served(records, first_step, 5), whole[first_step:][:5])


def test_batches_across_the_end_of_an_epoch(tmp_path):
    records = numbered(tmp_path / "set", (70, 50))
    epochs = served(records, 0, 12).ravel().reshape(5, 120)
    assert (np.sort(epochs) == np.arange(120)).all()


def test_distortions_of_step_k_are_a_function_of_seed_and_step(tmp_path):
    folder = made.write(tmp_path / "set")
    records = cifar10_input.training_records(folder)

    def images(seed, first_step):
        found = elements(
            lambda: cifar10_input.training_batches(
                records, 8, seed, tf.constant(first_step, tf.int64), RECIPES["cookbook"].distort
            ),
            6,
        )
        return np.array([batch[0] for batch in found])

    whole = images(1, 0)
    np.testing.assert_array_equal(images(1, 3)[:3], whole[3:])
    assert (images(2, 0) != whole).any()


def test_evaluation_passes_over_everything_once_in_order(tmp_path):
    records = numbered(tmp_path / "set")
    found = elements(lambda: cifar10_input.evaluation_batches(records, 400, as_floats))
    assert [len(labels) for _, labels in found] == [400, 400, 100]
    np.testing.assert_array_equal(
        np.concatenate([numbers(images) for images, _ in found]), np.arange(900)
    )


@pytest.mark.parametrize("count", [1, 250, 300, 450, 899])
def test_holding_out_records(tmp_path, count):
    records = numbered(tmp_path / "set")
    parts = records.hold_out(count)
    assert [part.num_examples for part in parts] == [900 - count, count]
    found = [
        np.concatenate(
            [
                numbers(images)
                for images, _ in elements(
                    lambda part=part: cifar10_input.evaluation_batches(part, 100, as_floats)
                )
            ]
        )
        for part in parts
    ]
    np.testing.assert_array_equal(np.concatenate(found), np.arange(900))
    with pytest.raises(UsageError, match="--validation_size 900 must be smaller"):
        records.hold_out(900)


def damage(folder, case):
    batch = folder / "data_batch_2.bin"
    if case == "cut":
        batch.write_bytes(batch.read_bytes()[:-100])
    elif case == "empty":
        batch.write_bytes(b"")
    elif case == "label":
        values = bytearray(batch.read_bytes())
        values[5 * cifar10_input.RECORD_BYTES] = 4
        batch.write_bytes(values)
    elif case == "missing batch":
        (folder / "data_batch_1.bin").unlink()
    elif case == "no batches":
        for path in folder.glob("data_batch*"):
            path.unlink()
    elif case == "missing names":
        (folder / "batches.meta.txt").unlink()
    elif case == "one name":
        (folder / "batches.meta.txt").write_text("cat\n")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("cut", r"data_batch_2\.bin: its size of 122820 bytes is not a multiple of 3073"),
        ("empty", r"data_batch_2\.bin: its size of 0 bytes is not a multiple"),
        ("label", r"data_batch_2\.bin: record 5 has label 4, but batches.meta.txt names 4 classes"),
        ("missing batch", r"lacks data_batch_1\.bin"),
        ("no batches", r"has no data_batch_1\.bin"),
        (
            "missing names",
            r"there is no file '.*batches\.meta\.txt'; it has one class name per line",
        ),
        ("one name", r"batches\.meta\.txt: names 1 classes"),
    ],
)
def test_bad_files_are_named(tmp_path, case, message):
    folder = made.write(tmp_path / "set")
    damage(folder, case)
    with pytest.raises(UsageError, match=message):
        cifar10_input.training_records(folder)


def test_missing_test_batch_is_named(tmp_path):
    folder = made.write(tmp_path / "set")
    (folder / "test_batch.bin").unlink()
    with pytest.raises(UsageError, match=r"there is no file '.*test_batch\.bin'; unpack"):
        cifar10_input.test_records(folder)


def test_folders_that_can_be_named(tmp_path):
    folder = made.write(tmp_path / "data" / "cifar-10-batches-bin")
    assert cifar10_input.find_folder(folder) == (folder, False)
    assert cifar10_input.find_folder(tmp_path / "data") == (folder, False)
    (tmp_path / "packed").mkdir()
    made.archive(folder, tmp_path / "packed" / "cifar-10-binary.tar.gz")
    unpacked, _ = cifar10_input.find_folder(tmp_path / "packed")
    assert cifar10_input.training_records(unpacked).num_examples == 80
    with pytest.raises(UsageError, match="--data_dir: .* contains no test_batch.bin"):
        cifar10_input.find_folder(tmp_path)


def test_cut_archive_is_named(tmp_path):
    whole = made.archive(made.write(tmp_path / "set"), tmp_path / "cifar-10-binary.tar.gz")
    whole.write_bytes(whole.read_bytes()[:-5000])
    with pytest.raises(UsageError, match=r"cifar-10-binary\.tar\.gz: cannot be read \(Compressed"):
        cifar10_input.find_folder(tmp_path)
    assert not (tmp_path / "cifar-10-batches-bin").exists()


def test_download_is_unpacked_once(tmp_path, monkeypatch):
    body = made.archive(made.write(tmp_path / "set"), tmp_path / "a.tar.gz").read_bytes()
    with loopback.serve({"/a": loopback.sends(body)}) as address:
        remote = files.RemoteFile(
            "cifar-10-binary.tar.gz", len(body), hashlib.sha256(body).hexdigest(), (address + "/a",)
        )
        monkeypatch.setattr(cifar10_input, "ARCHIVE", remote)
        folder, is_sample = cifar10_input.find_folder()
    assert not is_sample
    assert folder == files.cache_folder("cifar10") / "cifar-10-batches-bin"
    assert cifar10_input.find_folder() == (folder, False)  # the server is gone
    assert cifar10_input.test_records(folder).num_examples == 30


def test_without_a_network_the_sample_stands_in_with_a_warning(monkeypatch, caplog):
    remote = files.RemoteFile("cifar-10-binary.tar.gz", 1, "0", ("http://127.0.0.1:9/a",))
    monkeypatch.setattr(cifar10_input, "ARCHIVE", remote)
    folder, is_sample = cifar10_input.find_folder()
    assert is_sample
    assert "not CIFAR-10" in caplog.text
    records = cifar10_input.training_records(folder)
    assert records.num_examples == 1000
    assert "crescent" in records.class_names


IMAGES = np.random.default_rng(0).integers(0, 256, (600, 32, 32, 3), dtype=np.uint8)


def windows_of(image, size):
    places = 32 - size + 1
    return {
        image[top : top + size, left : left + size].tobytes(): (top, left)
        for top in range(places)
        for left in range(places)
    }


def test_random_crops_are_windows_at_every_place(graph):
    crops = evaluate(distortions.random_crop(tf.constant(IMAGES), 24, tf.constant([1, 2])))
    places = [
        windows_of(image, 24)[crop.tobytes()] for image, crop in zip(IMAGES, crops, strict=True)
    ]
    tops, lefts = np.transpose(places)
    for offsets in (tops, lefts):
        assert set(offsets) == set(range(9))
        assert np.bincount(offsets).min() > 600 / 9 / 2
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.2


def test_random_flips_are_of_whole_images_and_half_of_them(graph):
    flipped = evaluate(distortions.random_flip(tf.constant(IMAGES), tf.constant([1, 2])))
    mirrored = np.array([(a == b[:, ::-1]).all() for a, b in zip(flipped, IMAGES, strict=True)])
    same = np.array([(a == b).all() for a, b in zip(flipped, IMAGES, strict=True)])
    assert (mirrored ^ same).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_random_brightness_adds_one_number_an_image(graph):
    images = IMAGES.astype(np.float32)
    delta = evaluate(distortions.random_brightness(images, 63.0, tf.constant([1, 2]))) - images
    np.testing.assert_allclose(delta - delta[:, :1, :1, :1], 0, atol=1e-4)
    assert -63 <= delta.min() < -55
    assert 55 < delta.max() <= 63


def test_random_contrast_scales_about_each_channels_mean(graph):
    images = IMAGES.astype(np.float32)
    result = evaluate(distortions.random_contrast(images, 0.2, 1.8, tf.constant([1, 2])))
    mean = images.mean(axis=(1, 2), keepdims=True)
    factors = ((result - mean) * (images - mean)).sum(axis=(1, 2, 3)) / np.square(
        images - mean
    ).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(
        result, (images - mean) * factors[:, None, None, None] + mean, atol=1e-2
    )
    assert 0.2 <= factors.min() < 0.3
    assert 1.7 < factors.max() <= 1.8


def test_standardization_is_tensorflows(graph):
    images = np.concatenate([IMAGES[:5], np.full((1, 32, 32, 3), 77, np.uint8)])
    ours = distortions.standardize(tf.constant(images))
    theirs = tf.map_fn(tf.image.per_image_standardization, tf.constant(images, tf.float32))
    ours, theirs = evaluate([ours, theirs])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert not ours[-1].any()


def test_central_crop(graph):
    crops = evaluate(distortions.central_crop(tf.constant(IMAGES), 24))
    np.testing.assert_array_equal(crops, IMAGES[:, 4:28, 4:28])


@pytest.mark.parametrize("count", distortions.VIEWS)
def test_views_are_the_middle_and_the_corners_each_with_its_mirror_image(graph, count):
    images = IMAGES[:3].astype(float)
    places = [(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)][: max(1, count // 2)]
    crops = [images[:, top : top + 24, left : left + 24] for top, left in places]
    crops += [crop[:, :, ::-1] for crop in crops] if count > 1 else []
    wanted = np.stack(crops, axis=1).reshape(3 * count, 24, 24, 3)
    wanted -= wanted.mean(axis=(1, 2, 3), keepdims=True)
    wanted /= wanted.std(axis=(1, 2, 3), keepdims=True)
    found = evaluate(distortions.views(tf.constant(IMAGES[:3]), count))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_random_functions_depend_on_the_seed_alone(graph):
    images = tf.constant(IMAGES[:20])
    seeds = [[1, 2], [1, 3], [2, 2]]
    results = evaluate(
        [RECIPES["cookbook"].distort(images, tf.constant(seed)) for seed in [*seeds, [1, 2]]]
    )
    np.testing.assert_array_equal(results[0], results[3])
    assert (results[0] != results[1]).any()
    assert (results[0] != results[2]).any()


def write_cifar100(folder):
    """Writes CIFAR-100 files: each record has a coarse label, a fine label and an image."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (50, 3074), dtype=np.uint8)
    rows[:, 0], rows[:, 1] = np.arange(50) % 2, np.arange(50) % 5
    (folder / "train.bin").write_bytes(rows.tobytes())
    (folder / "test.bin").write_bytes(rows[:20].tobytes())
    (folder / "coarse_label_names.txt").write_text("fish\nlarge carnivores\n")
    (folder / "fine_label_names.txt").write_text("a\nb\nc\nd\nsweet pepper\n")
    return rows


@pytest.mark.parametrize(("labels", "count", "column"), [("coarse", 2, 0), ("fine", 5, 1)])
def test_cifar100_is_read_with_either_label(tmp_path, labels, count, column):
    rows = write_cifar100(tmp_path / "cifar-100-binary")
    flags = argparse.Namespace(
        data_dir=str(tmp_path), sample=False, labels=labels, validation_size=0
    )
    training, testing, facts = cifar10_input.load(flags, {})
    assert len(facts["class_names"]) == count
    assert (training.num_examples, testing.num_examples) == (50, 20)
    expected = rows[:, 2:].reshape(50, 3, 32, 32).transpose(0, 2, 3, 1)
    for pipeline in (
        lambda: cifar10_input.evaluation_batches(training, 50, as_floats),
        lambda: cifar10_input.training_batches(
            training, 50, 0, tf.constant(0, tf.int64), lambda raw, seed: as_floats(raw)
        ),
    ):
        ((images, found),) = elements(pipeline, 1)
        order = [int((expected == image).all((1, 2, 3)).argmax()) for image in images]
        assert sorted(order) == list(range(50))
        np.testing.assert_array_equal(images, expected[order])
        np.testing.assert_array_equal(found, rows[order, column])
    np.testing.assert_array_equal(training.labels, rows[:, column])
    np.testing.assert_array_equal(training.images([3, 49]), expected[[3, 49]])


def test_labels_of_cifar100_are_fine_by_default_and_not_of_cifar10(tmp_path):
    write_cifar100(tmp_path / "hundred")
    folder = made.write(tmp_path / "ten")
    flags = argparse.Namespace(data_dir=str(tmp_path / "hundred"), sample=False, labels=None)
    assert cifar10_input.find(flags, {})[1] is False and flags.labels == "fine"
    kept = {"data_dir": str(tmp_path / "hundred"), "labels": "coarse", "sample": False}
    flags = argparse.Namespace(data_dir=None, sample=False, labels=None)
    cifar10_input.find(flags, kept)
    assert flags.labels == "coarse" and flags.data_dir == kept["data_dir"]
    flags = argparse.Namespace(data_dir=str(folder), sample=False, labels="fine")
    with pytest.raises(UsageError, match="--labels fine: .* have only one label"):
        cifar10_input.find(flags, {})


@pytest.mark.parametrize(
    "written",
    [
        b"fire truck\nhot dog\nice cream\n\n",
        b"\xef\xbb\xbffire truck  \r\nhot dog\t\r\nice cream",
    ],
    ids=["spaces", "byte order mark and trailing spaces"],
)
def test_names_are_lines(tmp_path, written):
    folder = made.write(tmp_path / "set", class_names=("a", "b", "c"))
    (folder / "batches.meta.txt").write_bytes(written)
    names = cifar10_input.training_records(folder).class_names
    assert names == ("fire truck", "hot dog", "ice cream")


def test_names_in_other_encodings_are_kept(tmp_path):
    folder = made.write(tmp_path / "set", class_names=("a", "b", "c"))
    (folder / "batches.meta.txt").write_bytes(b"caf\xe9\nb\nc\n")
    assert cifar10_input.training_records(folder).class_names[0] == "caf\udce9"


def test_images_and_labels_are_those_of_the_pipeline(tmp_path):
    folder = made.write(tmp_path / "set")
    kept, held_out = cifar10_input.training_records(folder).hold_out(50)
    for records in (kept, held_out):
        found = elements(
            lambda records=records: cifar10_input.evaluation_batches(records, 100, as_floats)
        )
        np.testing.assert_array_equal(records.images(range(records.num_examples)), found[0][0])
        np.testing.assert_array_equal(records.labels, found[0][1])
    assert held_out.pictures(np.array([2]))[0].max() <= 1
    nothing = held_out.hold_out(0)[1]
    assert len(nothing.labels) == 0


def test_the_checksum_sees_every_byte(tmp_path):
    folder = made.write(tmp_path / "set")
    found = {cifar10_input.training_records(folder).checksum()}
    for place in (0, 5 * cifar10_input.RECORD_BYTES, 39 * cifar10_input.RECORD_BYTES, 3072):
        batch = folder / "data_batch_1.bin"
        values = bytearray(batch.read_bytes())
        values[place] ^= 1
        batch.write_bytes(values)
        found.add(cifar10_input.training_records(folder).checksum())
    assert len(found) == 5
