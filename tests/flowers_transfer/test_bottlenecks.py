"""Bottlenecks of readable and unreadable pictures, the store's content, and batches."""

import argparse
import pathlib
import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from flowers_transfer import bottlenecks
from flowers_transfer.bottlenecks import Distortions
from tests import loopback, painted
from tests.flowers_transfer import tiny
from tutorial_support import feature_store, files, image_lists
from tutorial_support.programs import UsageError


def compute(folder="photos", store="store"):
    return bottlenecks.get_or_create_bottleneck(tiny.frozen(), image_lists.create(folder), store)


def one_by_one(paths):
    """The reference: the unchanged graph, from the bytes of a JPEG to one vector."""
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tf.import_graph_def(tiny.graph_def(), name="")
        return np.concatenate(
            [
                sess.run(
                    "pool_3/_reshape:0",
                    {"DecodeJpeg/contents:0": pathlib.Path("photos", path).read_bytes()},
                )
                for path in paths
            ]
        )


def test_batches_equal_one_picture_at_a_time():
    painted.write_pictures(pathlib.Path("photos"))
    found = compute()
    assert len(found.images.paths) == 60 and not found.bad
    np.testing.assert_allclose(
        found.read(np.arange(60)), one_by_one(found.images.paths), rtol=1e-4, atol=1e-6
    )


def test_what_the_store_holds_is_not_computed_again(monkeypatch):
    painted.write_pictures(pathlib.Path("photos"))
    before = compute()
    computed = []
    real = bottlenecks.prepare_picture
    monkeypatch.setattr(
        bottlenecks,
        "prepare_picture",
        lambda sess, tensors, path, *rest: (
            computed.append(path) or real(sess, tensors, path, *rest)
        ),
    )
    after = compute()
    assert not computed
    np.testing.assert_array_equal(before.read(np.arange(60)), after.read(np.arange(60)))
    painted.picture((1, 2, 3), 5).save("photos/red/000.jpg")
    painted.picture((1, 2, 3), 6).save("photos/red/new.jpg")
    changed = compute()
    assert {path.name for path in computed} == {"000.jpg", "new.jpg"}
    place = changed.images.paths.index("red/000.jpg")
    np.testing.assert_allclose(changed.read([place]), one_by_one(["red/000.jpg"]), rtol=1e-4)


def bomb(path):
    """A small PNG that claims 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def test_bad_pictures_are_left_out_and_named_and_good_ones_of_any_kind_are_read():
    folder = painted.write_pictures(pathlib.Path("photos"))
    whole = (folder / "red/001.jpg").read_bytes()
    (folder / "red/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "red/empty.jpg").touch()
    (folder / "red/page.jpg").write_text("<html>not found</html>")
    (folder / "red/gif.jpg").write_bytes(b"GIF89a\1\0\1\0\0\0\0;")
    bomb(folder / "red/bomb.png")
    (folder / "red/half.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 30)

    flat = Image.new("RGB", (24, 24), (200, 60, 30))
    flat.save(folder / "red/good.png")
    Image.new("RGBA", (24, 24), (200, 60, 30, 255)).save(folder / "red/alpha.png")
    flat.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "red/palette.png")
    (folder / "red/png named.jpg").write_bytes((folder / "red/good.png").read_bytes())
    flat.save(folder / "red/plain.jpg", quality=100, subsampling=0)
    flat.convert("CMYK").save(folder / "red/cmyk.jpg", quality=100)
    exif = Image.Exif()
    exif[0x0112] = 6
    flat.save(folder / "red/turned.jpg", quality=100, subsampling=0, exif=exif)
    grey = Image.new("L", (24, 24), 77)
    grey.save(folder / "red/grey.png")
    grey.save(folder / "red/grey.jpg", quality=100)
    Image.fromarray(np.full((24, 24), 77 * 257, np.uint16)).save(folder / "red/deep.png")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compute()
    bad = " ".join(found.bad)
    for name in ("truncated.jpg", "empty.jpg", "page.jpg", "gif.jpg", "bomb.png", "half.png"):
        assert f"{folder}/red/{name}: " in bad
        assert f"red/{name}" not in found.images.paths
    assert len(found.bad) == 6 and len(found.images.paths) == 70

    def vector(name):
        return found.read([found.images.paths.index(f"red/{name}")])[0]

    for name in ("alpha.png", "png named.jpg"):
        np.testing.assert_array_equal(vector(name), vector("good.png"))
    for name in ("palette.png", "plain.jpg", "cmyk.jpg", "turned.jpg"):
        np.testing.assert_allclose(vector(name), vector("good.png"), atol=0.05)
    for name in ("grey.jpg", "deep.png"):
        np.testing.assert_allclose(vector(name), vector("grey.png"), atol=0.05)
    assert np.abs(vector("grey.png") - vector("good.png")).max() > 0.2


def test_a_damaged_jpeg_never_stops_the_run_nor_leaves_what_is_not_a_number():
    folder = painted.write_pictures(pathlib.Path("photos"))
    random = np.random.default_rng(0)
    for number in range(60):
        content = bytearray((folder / "red/001.jpg").read_bytes())
        for place in random.integers(2, len(content), 4):
            content[place] = random.integers(256)
        (folder / f"red/fuzzed{number}.jpg").write_bytes(content)
    found = compute()
    assert len(found.images.paths) + len(found.bad) == 120
    assert np.isfinite(found.read(np.arange(len(found.images.paths)))).all()


def test_a_class_without_a_readable_picture_is_named():
    folder = painted.write_pictures(pathlib.Path("photos"), count=5)
    for path in (folder / "blue").iterdir():
        path.write_text("no picture")
    with pytest.raises(
        UsageError, match="no training image of class 'blue' can be read: photos/blue/"
    ):
        compute()


def test_distorted_pictures_are_a_function_of_the_seed():
    folder = painted.write_pictures(pathlib.Path("photos"), count=3)
    paths = sorted(folder.glob("*/*.jpg"))
    some, distorted = Distortions(True, 20, 20, 30), bottlenecks.distorted_bottlenecks
    with bottlenecks.Extractor(tiny.frozen()) as extractor:
        seeds, other_seeds = ([(0, step, n) for n in range(len(paths))] for step in (7, 8))
        first, again = (distorted(extractor, paths, some, seeds) for _ in range(2))
        other = distorted(extractor, paths, some, other_seeds)
        plain = distorted(extractor, paths, Distortions(), seeds)
    np.testing.assert_array_equal(first, again)
    assert (np.abs(first - other).max(axis=1) > 1e-3).all()
    expected = one_by_one([path.relative_to(folder) for path in paths])
    np.testing.assert_allclose(plain, expected, rtol=1e-4, atol=1e-6)


def test_each_distortion_against_numpy():
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert not Distortions() and Distortions(random_scale=1)
    np.testing.assert_array_equal(Distortions().apply(picture, [0]), picture)
    flipped = [
        np.array_equal(Distortions(flip_left_right=True).apply(picture, [s]), picture[:, ::-1])
        for s in range(200)
    ]
    assert 70 < sum(flipped) < 130
    cropped = Distortions(random_crop=25).apply(picture, [3])
    assert cropped.shape == (24, 32, 3)
    assert any(
        np.array_equal(cropped, picture[top : top + 24, left : left + 32])
        for top in range(7)
        for left in range(9)
    )
    heights = {Distortions(random_scale=100).apply(picture, [s]).shape[0] for s in range(200)}
    assert min(heights) in (15, 16) and max(heights) == 30 and len(heights) > 10
    bright = Distortions(random_brightness=50).apply(picture, [3]).astype(float)
    factor = bright[picture == 100].mean() / 100
    assert 0.5 <= factor <= 1.5
    np.testing.assert_allclose(bright, np.minimum(255, picture * factor), atol=1.6)


def test_stores_of_different_folders_and_bases_are_different():
    folders = {
        feature_store.store_folder("stores", folder, digest)
        for folder in ("a/photos", "b/photos")
        for digest in ("1", "2")
    }
    assert len(folders) == 4
    assert all(folder.parent == pathlib.Path("stores") for folder in folders)


def uneven():
    """Bottlenecks of 5, 50 and 500 training images; a bottleneck is its image's index, twice."""
    labels = np.repeat([0, 1, 2], [5, 50, 500])
    images = image_lists.ImageList(
        pathlib.Path("photos"),
        ("a", "b", "c"),
        tuple(f"{n}.jpg" for n in range(555)),
        labels,
        np.zeros(555, int),
    )

    class Store:
        def read(self, rows):
            return np.stack([rows, rows], axis=1).astype(np.float32)

    return bottlenecks.Bottlenecks(images, 2, [], Store(), np.arange(555))


def test_sampling_by_class_gives_each_class_the_same_weight():
    sampler = bottlenecks.Sampler(uneven(), "train", "class", seed=0)
    drawn = np.concatenate([sampler.batch(step, 100) for step in range(60)])
    shares = np.bincount(uneven().images.labels[drawn]) / len(drawn)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    assert len(np.unique(drawn)) > 530


def test_sampling_by_image_gives_each_image_the_same_weight():
    sampler = bottlenecks.Sampler(uneven(), "train", "image", seed=0)
    drawn = np.concatenate([sampler.batch(step, 37) for step in range(555 * 3 // 37)])
    assert np.array_equal(np.bincount(drawn), np.full(555, 3))


@pytest.mark.parametrize("sampling", ["class", "image"])
def test_a_batch_is_a_function_of_seed_and_step(sampling):
    first, again, other = (
        bottlenecks.Sampler(uneven(), "train", sampling, seed) for seed in (1, 1, 2)
    )
    batches = [first.batch(step, 100) for step in range(20)]
    assert np.array_equal(again.batch(13, 100), batches[13])
    assert not np.array_equal(other.batch(13, 100), batches[13])
    assert not np.array_equal(batches[12], batches[13])


@pytest.mark.parametrize("sampling", ["class", "image"])
def test_a_batch_is_of_one_split(sampling):
    found = uneven()
    found.images.splits[:] = np.arange(555) % 3
    drawn = bottlenecks.Sampler(found, "validation", sampling, seed=0).batch(0, 4000)
    assert set(drawn) == set(range(1, 555, 3))


def test_cached_bottlenecks_are_those_of_the_batch_and_its_parts():
    found = uneven()
    sampler = bottlenecks.Sampler(found, "train", "class", seed=0)
    vectors, labels = bottlenecks.get_random_cached_bottlenecks(found, sampler, 40, 7)
    chosen = sampler.batch(7, 40)
    np.testing.assert_array_equal(vectors[:, 1], chosen)
    np.testing.assert_array_equal(labels, found.images.labels[chosen])
    part = bottlenecks.get_random_cached_bottlenecks(found, sampler, 40, 7, slice(1, None, 2))
    np.testing.assert_array_equal(part[0], vectors[1::2])
    every, labels = bottlenecks.get_random_cached_bottlenecks(found, sampler, -1, 7)
    np.testing.assert_array_equal(every[:, 0], range(555))
    np.testing.assert_array_equal(labels, found.images.labels)


def test_distorted_bottlenecks_differ_by_step_and_place_and_divide_into_parts():
    painted.write_pictures(pathlib.Path("photos"), count=6)
    found = compute()
    sampler = bottlenecks.Sampler(found, "train", "class", seed=3)
    with bottlenecks.Extractor(tiny.frozen()) as extractor:
        brighter_or_darker = Distortions(random_brightness=60)

        def batch(step, part=slice(None), distortions=brighter_or_darker):
            return bottlenecks.get_random_distorted_bottlenecks(
                found, sampler, 20, step, part, extractor=extractor, distortions=distortions
            )

        vectors, labels = batch(2)
        plain, _ = batch(2, distortions=Distortions())
        halves = [batch(2, slice(first, None, 2)) for first in (0, 1)]
    cached, expected_labels = bottlenecks.get_random_cached_bottlenecks(found, sampler, 20, 2)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_allclose(plain, cached, rtol=1e-4, atol=1e-6)
    ratios = (vectors / np.maximum(cached, 1e-3)).mean(axis=1)
    assert len(np.unique(ratios.round(3))) > 15  # no two pictures with the same factor
    for first, (part, _) in enumerate(halves):
        np.testing.assert_allclose(part, vectors[first::2], rtol=1e-4, atol=1e-6)


def test_brightness_goes_both_ways():
    grey = np.full((4, 4, 3), 100, np.uint8)
    change = Distortions(random_brightness=30)
    values = np.array([change.apply(grey, [seed])[0, 0, 0] for seed in range(300)])
    assert 69 <= values.min() <= 73 and 127 <= values.max() <= 131
    assert 0.4 < (values < 100).mean() < 0.6


def test_test_bottlenecks_come_once_and_in_order(monkeypatch):
    monkeypatch.setattr(bottlenecks, "_FED_AT_ONCE", 100)
    found = uneven()
    parts = list(bottlenecks.get_test_bottlenecks(found, "train"))
    assert len(parts) == 6 and max(map(len, parts)) <= 100
    np.testing.assert_array_equal(np.concatenate(parts)[:, 0], range(555))
    (nothing,) = bottlenecks.get_test_bottlenecks(found)
    assert nothing.shape == (0, 2)


def test_one_picture_through_any_entrance():
    folder = painted.write_pictures(pathlib.Path("photos"), count=1)
    jpeg = (folder / "red/000.jpg").read_bytes()
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tensors = bottlenecks.base_graph.attach(tiny.frozen())

        def run(image_data, tensor):
            return bottlenecks.run_bottleneck_on_image(
                sess, image_data, tensor, tensors.bottlenecks
            )

        decoded, prepared = sess.run([tensors.decoded, tensors.prepared], {tensors.contents: jpeg})
        found = run(jpeg, tensors.contents)
        np.testing.assert_array_equal(found, run(decoded, tensors.decoded))
        np.testing.assert_array_equal(found, run(prepared, tensors.images))
    np.testing.assert_allclose(found, one_by_one(["red/000.jpg"]), rtol=1e-4)


def parsed(*argv):
    parser = argparse.ArgumentParser()
    bottlenecks.add_flags(parser)
    return parser.parse_args(argv)


def test_the_sample_is_found_where_the_photos_cannot_be_had_and_kept_by_name(monkeypatch, caplog):
    with loopback.serve({"/flower_photos.tgz": loopback.sends(b"not found", 404)}) as address:
        remote = files.RemoteFile("photos.tgz", 10, "0" * 64, (f"{address}/flower_photos.tgz",))
        monkeypatch.setattr(bottlenecks, "ARCHIVE", remote)
        images, facts = bottlenecks.create_image_lists(parsed(), {})
    assert "drawings of flowers, not photos" in caplog.text
    assert len(images.paths) == 180
    assert all(name.startswith("drawn_") for name in images.class_names)
    assert facts["sample"] and facts["image_dir"] is None
    # The run resumes with the sample, even if version 0.1.0 saved its path.
    for kept in (facts, facts | {"image_dir": "/moved/drawn_flowers"}):
        assert bottlenecks.create_image_lists(parsed(), kept)[1] == facts


def test_a_run_goes_on_with_its_own_images():
    folder = painted.write_pictures(pathlib.Path("photos"), count=8)
    _, facts = bottlenecks.create_image_lists(parsed("--image_dir", "photos"), {})
    assert facts["image_dir"] == str(folder.resolve())
    images, again = bottlenecks.create_image_lists(parsed(), facts)
    assert again == facts and images.folder == folder.resolve()
    assert bottlenecks.get_image_path(images, 3).is_file()
    folder.rename("moved")
    _, moved = bottlenecks.create_image_lists(parsed("--image_dir", "moved"), facts)
    assert moved["images"] == facts["images"]


def test_principal_plane_against_an_eigendecomposition():
    vectors = np.random.default_rng(0).normal(size=(60, 5)) * [1, 7, 2, 0.5, 4]
    points, share = bottlenecks.principal_plane(vectors)
    values, axes = np.linalg.eigh(np.cov(vectors.T))
    expected = (vectors - vectors.mean(axis=0)) @ axes[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    assert share == pytest.approx(values[-2:].sum() / values.sum())
