"""From class folders to batches of photos, compared with Keras' reading and rotation."""

import argparse
import collections
import pathlib

import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from catsdogs_finetune import photo_input
from tests import painted, pipelines
from tutorial_support import SPLITS, pictures
from tutorial_support.programs import UsageError

SIZE = 24


def write(folder, **count):
    """A folder of noisy pictures; every fourth is a PNG, and no two have the same proportions."""
    for place, (name, number) in enumerate(count.items()):
        (folder / name).mkdir(parents=True)
        for i in range(number):
            colour = (40 + 60 * place, 90, 150)
            picture = painted.picture(colour, 100 * place + i, (31 + i, 40 - i))
            picture.save(folder / name / f"{i:02d}.{'jpg' if i % 4 else 'png'}")
    return folder


def test_pictures_equal_those_that_keras_reads(tmp_path):
    images = photo_input.find_images(write(tmp_path / "photos", cats=8, dogs=8))
    expected = keras.utils.image_dataset_from_directory(
        tmp_path / "photos", image_size=(SIZE, SIZE), batch_size=16, shuffle=False
    )
    ((pixels, labels),) = [(x.numpy(), y.numpy()) for x, y in expected]
    found = pipelines.elements(
        lambda: photo_input.evaluation_batches(images, np.arange(16), SIZE, 5)
    )
    assert [len(batch) for _, batch in found] == [5, 5, 5, 1]
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in found]), labels)
    np.testing.assert_array_equal(
        np.concatenate([batch for batch, _ in found]), photo_input.scale(pixels)
    )


@pytest.mark.parametrize("part", [0.1, -0.07, 0.2])
def test_turning_equals_keras(part):
    images = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    layer = keras.layers.RandomRotation((part, part), fill_mode="reflect")
    expected = layer(images, training=True).numpy()
    mirrored = layer(images[:, :, ::-1], training=True).numpy()
    with tf.Graph().as_default(), tf.Session() as sess:
        turn = tf.fill([2], np.float32(-2 * np.pi * part))
        for side, wanted in ((1.0, expected), (-1.0, mirrored)):
            found = sess.run(photo_input.turned(tf.constant(images), turn, tf.fill([2], side)))
            np.testing.assert_allclose(found, wanted, atol=0.01)


def test_augmentation_turns_and_mirrors_within_its_bounds():
    """The positions of two bright pixels show the rotation and the mirroring."""
    image = np.zeros((1, 65, 65, 3), np.float32)
    image[0, 32 - 24, 32, 0] = image[0, 32, 32 + 24, 1] = 1000
    image = np.repeat(image, 400, axis=0)
    with tf.Graph().as_default(), tf.Session() as sess:
        found = sess.run(photo_input.rotate_and_flip(0.2, tf.constant(image), [3, 7]))
        again = sess.run(photo_input.rotate_and_flip(0.2, tf.constant(image), [3, 7]))
        other = sess.run(photo_input.rotate_and_flip(0.2, tf.constant(image), [3, 8]))
    assert np.array_equal(found, again) and not np.array_equal(found, other)

    def angles(channel):
        places = found[..., channel].reshape(len(found), -1).argmax(axis=1)
        return np.arctan2(places % 65 - 32, 32 - places // 65) / (2 * np.pi)

    top, side = angles(0), angles(1)
    assert -0.205 < top.min() < -0.18 and 0.18 < top.max() < 0.205
    assert abs(top.mean()) < 0.02
    quarter = np.round((side - top) % 1 * 4)
    assert set(quarter) == {1, 3} and 0.4 < np.mean(quarter == 3) < 0.6


def indices(first_step, count, seed=0):
    def make():
        first = tf.constant(first_step, tf.int64)
        return photo_input.index_batches(np.arange(10, 20), 4, seed, first)

    return [list(batch) for batch in pipelines.elements(make, count)]


def test_every_epoch_has_each_image_once_in_an_order_of_its_own():
    steps = indices(0, 9)
    assert [len(batch) for batch in steps] == [4, 4, 2] * 3
    epochs = [sum(steps[i : i + 3], []) for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10, 20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != list(range(10, 20))
    assert indices(5, 4) == steps[5:] and indices(0, 3, seed=1) != steps[:3]


def test_training_batches_are_a_pure_function_of_seed_and_step(tmp_path):
    images = photo_input.find_images(write(tmp_path / "photos", cats=7, dogs=7))

    def batches(first_step, count):
        return pipelines.elements(
            lambda: photo_input.training_batches(
                images,
                np.arange(14),
                SIZE,
                4,
                5,
                tf.constant(first_step, tf.int64),
                lambda pixels, seed: photo_input.rotate_and_flip(0.2, pixels, seed),
            ),
            count,
        )

    whole = batches(0, 7)
    for (pixels, labels), (again, labels_again) in zip(whole[3:], batches(3, 4), strict=True):
        assert np.array_equal(pixels, again) and np.array_equal(labels, labels_again)
    assert pixels.min() >= -1.001 and pixels.max() <= 1.001


def test_held_out_images_are_divided_and_never_trained_on(tmp_path):
    write(tmp_path / "set" / "train", cats=20, dogs=20)
    write(tmp_path / "set" / "validation", cats=40, dogs=40)
    images = photo_input.find_images(tmp_path / "set")
    parts = {name: images.of_split(name) for name in SPLITS}
    assert [len(part) for part in parts.values()][0] == 40
    assert sum(len(part) for part in parts.values()) == 120 == len(set(images.paths))
    assert all(images.paths[i].startswith("train/") for i in parts["train"])
    assert all(images.paths[i].startswith("validation/") for i in parts["test"])
    assert 6 <= len(parts["test"]) <= 30
    counts = collections.Counter(zip(images.splits, images.labels, strict=True))
    assert len(counts) == 6
    # Adding photos moves no image to another split.
    before = dict(zip(images.paths, images.splits, strict=True))
    painted.picture((9, 9, 9), 1).save(tmp_path / "set" / "validation" / "cats" / "new.jpg")
    images = photo_input.find_images(tmp_path / "set")
    assert before.items() <= dict(zip(images.paths, images.splits, strict=True)).items()


def test_folders_of_different_classes_are_refused(tmp_path):
    write(tmp_path / "set" / "train", cats=3, dogs=3)
    write(tmp_path / "set" / "validation", cats=9, wolves=9)
    with pytest.raises(UsageError, match="has the classes cats, dogs.*cats, wolves"):
        photo_input.find_images(tmp_path / "set")
    with pytest.raises(UsageError, match="--data_dir 'nowhere' cannot be read"):
        photo_input.find_images("nowhere")


def test_bad_pictures_are_found_and_odd_ones_read_as_people_see_them(tmp_path):
    folder = write(tmp_path / "photos", cats=8, dogs=8)
    whole = (folder / "cats" / "01.jpg").read_bytes()
    (folder / "cats" / "01.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cats" / "02.jpg").write_text("<html>")
    upright = Image.new("RGB", (20, 40), "red")
    upright.paste("blue", (0, 20, 20, 40))
    turned = upright.rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "cats" / "03.jpg", exif=exif, quality=100)
    upright.convert("CMYK").save(folder / "cats" / "05.jpg", quality=100)
    clear = upright.convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 20, 20))
    clear.save(folder / "cats" / "00.png")
    images = photo_input.find_images(folder)
    bad = photo_input.unreadable(images)
    assert bad.keys() == {"cats/01.jpg", "cats/02.jpg"}
    assert "02.jpg: cannot be read" in bad["cats/02.jpg"]
    chosen = [images.paths.index(f"cats/{name}") for name in ("03.jpg", "05.jpg", "00.png")]
    ((pixels, _),) = pipelines.elements(
        lambda: photo_input.evaluation_batches(images, chosen, SIZE, 3)
    )
    colours = np.round(pixels[:, [4, 19], 12] / 2 + 0.5)
    expected = [[[1, 0, 0], [0, 0, 1]]] * 2 + [[[1, 1, 1], [0, 0, 1]]]
    np.testing.assert_array_equal(colours, expected)
    assert (
        pictures.encoded(folder / "dogs" / "01.jpg")
        == pathlib.Path(folder / "dogs" / "01.jpg").read_bytes()
    )


def test_a_run_on_the_sample_is_resumed_on_it_without_being_told(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_input, "find_images", str)  # without reading them
    write(tmp_path / "cache" / photo_input.FOLDER / photo_input.TRAIN, cats=2, dogs=2)
    flags = argparse.Namespace(data_dir=None, sample=True, image_size=SIZE)
    sample = photo_input.find(flags, {})
    flags = argparse.Namespace(data_dir=None, sample=False, image_size=SIZE)
    assert photo_input.find(flags, {"sample": True}) == sample and flags.sample


def test_what_a_run_keeps_says_whether_it_is_of_the_sample():
    write(pathlib.Path("photos"), cats=30, dogs=30)
    flags = argparse.Namespace(data_dir="photos", sample=False, image_size=SIZE)
    _, facts = photo_input.load(flags, {})
    assert facts["sample"] is False
