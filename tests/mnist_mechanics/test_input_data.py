"""Tests the reader against hand-made bytes, and the documented order of the batches."""

import argparse
import gzip
import struct

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from mnist_mechanics import input_data, input_pipeline
from tests import loopback
from tests.pipelines import elements
from tutorial_support import files
from tutorial_support.programs import UsageError

NAMES = list(input_data._PUBLISHED)


def images_bytes(images):
    return struct.pack(">4I", 2051, *images.shape) + images.tobytes()


def labels_bytes(labels):
    return struct.pack(">2I", 2049, len(labels)) + labels.tobytes()


def make_set(count=30, test_count=10, seed=0):
    """Returns the four arrays of a random data set in the order of NAMES."""
    rng = np.random.default_rng(seed)
    arrays = []
    for n in (count, test_count):
        arrays.append(rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        arrays.append(rng.integers(0, 10, n, dtype=np.uint8))
    return arrays


def write_set(folder, arrays, gzipped=True):
    folder.mkdir(exist_ok=True)
    for name, array in zip(NAMES, arrays, strict=True):
        body = images_bytes(array) if array.ndim == 3 else labels_bytes(array)
        if gzipped:
            (folder / name).write_bytes(gzip.compress(body))
        else:
            (folder / name.removesuffix(".gz")).write_bytes(body)
    return folder


@pytest.mark.parametrize("gzipped", [True, False])
def test_reads_hand_made_files(tmp_path, gzipped):
    arrays = make_set()
    folder = write_set(tmp_path / "set", arrays, gzipped)
    sets = input_data.read_data_sets(input_data.find_folder(folder), validation_size=5)
    assert [s.num_examples for s in sets] == [25, 5, 10]
    np.testing.assert_allclose(sets.validation.images, arrays[0][:5].reshape(5, 784) / 255, 1e-6)
    assert sets.train.images.dtype == np.float32
    np.testing.assert_array_equal(sets.train.labels, arrays[1][5:])
    np.testing.assert_array_equal(sets.test.pixels, arrays[2].reshape(10, 784))


@pytest.mark.parametrize("changed", [0, 1])  # the images, the labels
def test_other_training_data_gives_a_run_other_facts(changed, tmp_path):
    facts = []
    for name, change in (("one", 0), ("other", 1)):
        arrays = make_set()
        arrays[changed].flat[-1] ^= change
        flags = argparse.Namespace(
            input_data_dir=str(write_set(tmp_path / name, arrays)), sample=False, fake_data=False
        )
        facts.append(input_data.load(flags, {})[1]["data"])
    assert facts[0] != facts[1]


def test_other_forms_of_images_and_labels(tmp_path):
    arrays = make_set()
    folder = write_set(tmp_path / "set", arrays)
    sets = input_data.read_data_sets(
        folder, one_hot=True, dtype=np.uint8, reshape=False, validation_size=0
    )
    images, labels = sets.train.next_batch(7, shuffle=False)
    np.testing.assert_array_equal(images, arrays[0][:7, :, :, None])
    np.testing.assert_array_equal(labels, np.eye(10)[arrays[1][:7]])


def test_plain_files_with_a_dot_in_the_name(tmp_path):
    folder = write_set(tmp_path / "set", make_set(), gzipped=False)
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert input_data.read_data_sets(folder).test.num_examples == 10


def test_sizes_of_the_validation_set(tmp_path):
    folder = write_set(tmp_path / "set", make_set(count=40))
    assert input_data.read_data_sets(folder).validation.num_examples == 4
    nine = input_data.read_data_sets(write_set(tmp_path / "nine", make_set(count=9)))
    assert (nine.train.num_examples, nine.validation.num_examples) == (8, 1)
    with pytest.raises(UsageError, match="validation_size must be from 0 to 39"):
        input_data.read_data_sets(folder, validation_size=40)


def bad_files():
    images, labels, *_ = make_set()
    body, label_body = images_bytes(images), labels_bytes(labels)
    out_of_range = labels.copy()
    out_of_range[17] = 10
    return {
        "empty": (0, b"", "empty, expected an idx file of images"),
        "empty gzip": (0, gzip.compress(b""), "empty, expected an idx file of images"),
        "foreign": (0, b"<html>not found</html>", "expected 2051 for idx images"),
        "foreign gzip": (0, gzip.compress(b"no idx file"), "expected 2051 for idx images"),
        "swapped images": (0, label_body, "starts with 2049.*holds labels"),
        "swapped labels": (1, body, "starts with 2051.*holds images"),
        "cut header": (0, body[:9], "truncated in its header"),
        "cut body": (0, body[:-1], "expected 23520 bytes after the header.*only 23519"),
        "too long": (0, body + b"\0", "there are more"),
        "cut gzip": (
            0,
            gzip.compress(body)[:-300],
            "cannot be read.*expected an idx file of images",
        ),
        "damaged gzip": (
            0,
            gzip.compress(body)[:-8] + bytes(8),
            "cannot be read.*expected an idx file of images",
        ),
        "count differs": (1, labels_bytes(labels[:-1]), "30 images, but .* 29 labels"),
        "no images": (0, images_bytes(images[:0]), "holds no images"),
        "QMNIST's labels": (1, struct.pack(">3I", 3074, 30, 8) + bytes(960), "QMNIST labels"),
        "EMNIST's letters": (1, labels_bytes(labels % 3 + 24), "label number .* EMNIST letters"),
        "label above 9": (1, labels_bytes(out_of_range), "label number 17 is 10"),
        "other size": (0, images_bytes(images[:, :20]), "20x28 pixels, expected 28x28"),
        "huge header": (0, struct.pack(">4I", 2051, 2**32 - 1, 28, 28), "declares 33672.* bytes"),
    }


@pytest.mark.parametrize("case", bad_files())
def test_bad_file_is_named(tmp_path, case):
    which, body, message = bad_files()[case]
    folder = write_set(tmp_path / "set", make_set())
    (folder / NAMES[which]).write_bytes(body)
    with pytest.raises(UsageError, match=message) as failure:
        input_data.read_data_sets(folder)
    assert NAMES[which] in str(failure.value)


def test_what_a_small_gzip_file_unpacks_to_is_bounded(tmp_path):
    """The header determines how much is read; one that declares too much is refused."""
    packed = gzip.compress(bytes(1 << 20)) * 256
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">4I", 2051, 2, 28, 28)) + packed)
    with pytest.raises(UsageError, match="images.gz: expected 1568 bytes .* there are more"):
        input_data.read_images(path)
    path.write_bytes(gzip.compress(struct.pack(">4I", 2051, 2_000_000, 28, 28)) + packed)
    with pytest.raises(UsageError, match="images.gz: its header declares 1568000000 bytes"):
        input_data.read_images(path)


def test_missing_folder_and_file_are_named(tmp_path):
    with pytest.raises(UsageError, match="--input_data_dir: there is no folder '/no/where'"):
        input_data.find_folder("/no/where")
    folder = write_set(tmp_path / "set", make_set())
    (folder / NAMES[3]).unlink()
    with pytest.raises(UsageError, match=f"has no file '{NAMES[3]}'"):
        input_data.find_folder(folder)
    of_emnist = "emnist-digits-test-labels-idx1-ubyte.gz"
    (folder / of_emnist).touch()
    with pytest.raises(UsageError, match=f"or rename '{of_emnist}' if that is the file"):
        input_data.find_folder(folder)


def test_the_sample_is_balanced_mnist():
    sets = input_data.read_data_sets(input_data.find_folder(sample=True))
    assert [s.num_examples for s in sets] == [3600, 400, 1000]
    assert (np.bincount(sets.test.labels) == 100).all()
    labels = np.concatenate([sets.train.labels, sets.validation.labels])
    assert (np.bincount(labels) == 400).all()
    assert sets.train.labels[:20].std() > 1  # shuffled


def test_download_into_the_cache(tmp_path, monkeypatch):
    import hashlib

    folder = write_set(tmp_path / "served", make_set())
    bodies = {name: (folder / name).read_bytes() for name in NAMES}
    answers = {f"/{name}": loopback.sends(body) for name, body in bodies.items()}
    with loopback.serve(answers) as address:
        published = {n: (len(b), hashlib.sha256(b).hexdigest()) for n, b in bodies.items()}
        monkeypatch.setattr(input_data, "_PUBLISHED", published)
        monkeypatch.setattr(input_data, "_MIRRORS", (f"{address}/",))
        found = input_data.find_folder()
    assert found == files.cache_folder("mnist")
    assert input_data.find_folder() == found  # from the cache; the server is gone
    assert input_data.read_data_sets(found).test.num_examples == 10


def test_another_data_set_is_downloaded_from_its_address(tmp_path):
    """As Fashion-MNIST's README shows it: same names, other files than MNIST's."""
    arrays = make_set()
    served = write_set(tmp_path / "served", arrays)
    answers = {f"/fashion/{name}": loopback.sends((served / name).read_bytes()) for name in NAMES}
    with loopback.serve(answers) as address:
        for source_url in (f"{address}/fashion/", f"{address}/fashion"):
            folder = tmp_path / f"data{len(source_url)}"
            sets = input_data.read_data_sets(folder, source_url=source_url, validation_size=5)
            np.testing.assert_array_equal(sets.train.pixels, arrays[0][5:].reshape(25, 784))
            np.testing.assert_array_equal(sets.test.labels, arrays[3])
    assert input_data.read_data_sets(folder).test.num_examples == 10  # the server is gone


def test_without_a_network_the_sample_stands_in_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(input_data, "_MIRRORS", ("http://127.0.0.1:9/nothing/",))
    assert input_data.find_folder() == input_data.SAMPLE
    assert "SAMPLE" in caplog.text
    assert "5,000 of its 70,000" in caplog.text
    assert "127.0.0.1:9" in caplog.text


def numbered(count, seed=0):
    """A DataSet in which each label equals the first pixel of its image."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(count)
    return input_data.DataSet(images, np.arange(count, dtype=np.uint8), dtype=np.uint8, seed=seed)


def test_next_batch_serves_every_example_once_an_epoch():
    data_set = numbered(25)
    served = []
    for _ in range(10):
        images, labels = data_set.next_batch(10)
        np.testing.assert_array_equal(images[:, 0], labels)
        served.extend(labels)
    epochs = np.reshape(served, (4, 25))
    assert (np.sort(epochs) == np.arange(25)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert data_set.epochs_completed == 4


def test_next_batch_is_a_function_of_seed_and_position():
    first, again, other = numbered(25, seed=1), numbered(25, seed=1), numbered(25, seed=2)
    batches = [first.next_batch(10)[1] for _ in range(8)]
    again.seek(60)
    np.testing.assert_array_equal(again.next_batch(10)[1], batches[6])
    assert (np.concatenate([other.next_batch(10)[1] for _ in range(8)]) != np.ravel(batches)).any()


def test_next_batch_of_more_than_an_epoch_and_unshuffled():
    data_set = numbered(4)
    np.testing.assert_array_equal(
        data_set.next_batch(10, shuffle=False)[1], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    )
    assert (np.bincount(data_set.next_batch(6)[1], minlength=4) >= 1).all()


def test_batches_pass_over_everything_once():
    sizes = [len(labels) for _, labels in numbered(25).batches(10)]
    assert sizes == [10, 10, 5]


def test_fake_data():
    sets = input_data.read_data_sets(None, fake_data=True)
    images, labels = sets.train.next_batch(5)
    assert (images == 1).all()
    assert not labels.any()
    images, labels = numbered(3).next_batch(5, fake_data=True)
    assert images.shape == (5, 784)


def training_labels(first_step, steps, seed=1):
    data_set = numbered(25)

    def make():
        return input_pipeline.training_dataset(
            tf.constant(data_set.pixels), tf.constant(data_set.labels), 10, seed, first_step
        )

    batches = elements(make, steps)
    for images, labels in batches:
        np.testing.assert_allclose(images[:, 0], labels / 255, rtol=1e-6)
    return np.array([labels for _, labels in batches])


def test_training_dataset_keeps_the_promises_of_next_batch():
    labels = training_labels(0, 10)
    epochs = labels.reshape(4, 25)
    assert (np.sort(epochs) == np.arange(25)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 4
    for first_step in (1, 3, 5, 7):
        np.testing.assert_array_equal(training_labels(first_step, 3), labels[first_step:][:3])
    assert (training_labels(0, 10, seed=2) != labels).any()


def test_evaluation_dataset_passes_over_everything_once():
    data_set = numbered(25)
    batches = elements(
        lambda: input_pipeline.evaluation_dataset(data_set.pixels, data_set.labels, 10)
    )
    assert [len(labels) for _, labels in batches] == [10, 10, 5]
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), np.arange(25))
    np.testing.assert_allclose(batches[2][0][:, 0], np.arange(20, 25) / 255, rtol=1e-6)
