"""Bottlenecks of good pictures, of bad ones, and of those that a store holds already."""

import pathlib
import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from flowers_transfer import bottlenecks
from flowers_transfer.bottlenecks import Distortions, distorted_bottlenecks
from tests import painted
from tests.flowers_transfer import tiny
from tutorial_support import feature_store, image_lists
from tutorial_support.programs import UsageError


def compute(folder="photos", store="store"):
    images = image_lists.create(folder)
    return bottlenecks.get_or_create_bottleneck(tiny.frozen(), images, store)


def one_by_one(paths):
    """The reference: the graph as it is, a JPEG's bytes in, one vector out."""
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
    real = bottlenecks.Extractor.prepare
    monkeypatch.setattr(
        bottlenecks.Extractor,
        "prepare",
        lambda self, path, *rest: computed.append(path) or real(self, path, *rest),
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
    with pytest.raises(UsageError, match="no training image of class 'blue' can be read: photos/"):
        compute()


def test_distorted_pictures_are_a_function_of_the_seed():
    folder = painted.write_pictures(pathlib.Path("photos"), count=3)
    paths = sorted(folder.glob("*/*.jpg"))
    some = Distortions(True, 20, 20, 30)
    with bottlenecks.Extractor(tiny.frozen()) as extractor:
        seeds, other_seeds = ([(0, step, n) for n in range(len(paths))] for step in (7, 8))
        first, again = (distorted_bottlenecks(extractor, paths, some, seeds) for _ in range(2))
        other = distorted_bottlenecks(extractor, paths, some, other_seeds)
        plain = distorted_bottlenecks(extractor, paths, Distortions(), seeds)
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
