"""Pictures of all formats, damaged pictures, and pictures that would fill the memory."""

import io
import os
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from tests import painted
from tutorial_support import image_lists, pictures
from tutorial_support.programs import UsageError

KINDS = {"jfif": "JPEG", "jpe": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF"}


def save(path, kind="JPEG", **options):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    painted.picture((200, 40, 40), 1).save(path, kind, **options)
    return path


def test_a_picture_is_read_by_its_content_whatever_its_ending():
    for name, kind in (KINDS | {"jpg": "PNG", "": "JPEG", "dat": "WEBP"}).items():
        path = save(f"x.{name}", kind)
        mean = np.asarray(pictures.read(path)).mean(axis=(0, 1))
        np.testing.assert_allclose(mean, (200, 40, 40), atol=12)


def test_every_picture_of_a_class_folder_is_listed_and_what_is_left_out_is_told(caplog):
    for name in ("a", "b"):
        for ending, kind in (KINDS | {"png": "PNG", "unknown": "PNG"}).items():
            save(f"photos/{name}/1.{ending}", kind)
    save("photos/a/more/2.jpg"), save("photos/a/more/still/3.jpg"), save("photos/a/._1.jpg")
    for name in ("a/notes.txt", "b/Thumbs.db"):
        pathlib.Path("photos", name).write_text("no picture")
    os.mkfifo("photos/a/pipe.jpg")
    images = image_lists.create("photos")
    assert len(images.paths) == 2 * 8
    assert caplog.messages == [
        "skipped in 'photos': 3 files that are not pictures (.db, .jpg, .txt) and 2 files in "
        "subfolders of the class folders (such as 'photos/a/more'); move them up to use them"
    ]


def test_hidden_files_are_not_found():
    save("photos/1.jpg"), save("photos/._1.jpg"), save("photos/.trash/2.jpg")
    save("photos/sub/3.gif", "GIF")
    assert [p.name for p in pictures.find(["photos"])] == ["1.jpg", "3.gif"]


def exif_of_two_bytes_a_number():
    """An orientation tag that claims to be rational numbers, but contains none."""
    entry = b"\x01\x12\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00"
    return b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"


@pytest.mark.parametrize("read", [pictures.read, pictures.encoded, pictures.jpeg_or_pixels])
def test_damaged_exif_is_one_sentence_or_no_matter(read):
    save("x.jpg", exif=exif_of_two_bytes_a_number())
    try:
        read("x.jpg")
    except UsageError as error:
        assert str(error).startswith("x.jpg: cannot be read (")


@pytest.mark.parametrize("read", [pictures.read, pictures.encoded, pictures.jpeg_or_pixels])
def test_whatever_pillow_raises_names_the_picture(read, monkeypatch):
    def raises(*arguments):
        raise TypeError("object of type 'int' has no len()")

    monkeypatch.setattr(Image.Image, "getexif", raises)
    save("x.jpg")
    with pytest.raises(UsageError, match=r"x\.jpg: cannot be read \(.* no len"):
        read("x.jpg")


@pytest.mark.parametrize("read", [pictures.read, pictures.encoded, pictures.jpeg_or_pixels])
def test_what_is_no_file_keeps_nobody_waiting(read):
    os.mkfifo("pipe.jpg")
    pathlib.Path("folder.jpg").mkdir()
    pathlib.Path("loop.jpg").symlink_to("loop.jpg")
    for name, said in {"pipe": "a named pipe", "folder": "a folder", "loop": "symbolic"}.items():
        with pytest.raises(UsageError, match=rf"{name}\.jpg: cannot be read .*{said}"):
            read(f"{name}.jpg")


def png_of_zeros(path, width, height):
    """A huge grey PNG that is small on the disk, written without creating its pixels."""

    def chunk(kind, content):
        body = kind + content
        return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    pathlib.Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_a_picture_of_too_many_pixels_is_refused():
    png_of_zeros("x.png", 10_000, 9_001)
    with pytest.raises(UsageError, match=r"10000x9001 is more than 90000000 pixels"):
        pictures.read("x.png")


def test_large_pictures_are_read_in_bounded_memory(program_environment):
    """A photo of 100 megapixels, and drawings of 80 that eight threads read at once."""
    png_of_zeros("drawing.png", 10_000, 8_000)
    photo = Image.new("RGB", (800, 500), "red").resize((12_500, 8_000), Image.Resampling.NEAREST)
    photo.save("photo.jpg")
    program = """
import concurrent.futures, resource
from tutorial_support import pictures
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
photo = pictures.jpeg_or_pixels("photo.jpg")
assert photo.shape[1:] == (1024, 3), photo.shape
assert abs(photo.mean(axis=(0, 1)) - (254, 0, 0)).max() < 2
with concurrent.futures.ThreadPoolExecutor(8) as threads:
    drawings = list(threads.map(pictures.encoded, ["drawing.png"] * 4))
assert all(drawing == drawings[0] and len(drawing) < 100_000 for drawing in drawings)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=program_environment, stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) < 400_000  # kB


def test_photos_of_usual_size_are_handed_on_as_they_are():
    save("x.jpg")
    content = pathlib.Path("x.jpg").read_bytes()
    assert pictures.encoded("x.jpg") == pictures.jpeg_or_pixels("x.jpg") == content
    save("x.png", "PNG")
    assert pictures.encoded("x.png") == pathlib.Path("x.png").read_bytes()
    save("x.gif", "GIF")
    assert Image.open(io.BytesIO(pictures.encoded("x.gif"))).format == "PNG"


@pytest.mark.parametrize("orientation", range(2, 9))
def test_photos_that_are_stored_turned_or_mirrored_are_set_upright(orientation):
    pixels = np.full((16, 24, 3), 255, np.uint8)
    pixels[:8, :8] = 0  # dark in the upper left
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save("x.jpg", exif=exif, quality=100)
    # The visual position of the stored first row and first column, from the Exif standard.
    upside_down, mirrored = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    shape = (16, 24, 3) if orientation < 5 else (24, 16, 3)
    for shown in (
        pictures.jpeg_or_pixels("x.jpg"),
        np.asarray(Image.open(io.BytesIO(pictures.encoded("x.jpg")))),
        np.asarray(pictures.read("x.jpg")),
    ):
        assert shown.shape == shape
        corner = shown[::-1] if upside_down else shown
        corner = corner[:, ::-1] if mirrored else corner
        assert corner[:7, :7].max() < 60 and corner[-7:, -7:].min() > 200
