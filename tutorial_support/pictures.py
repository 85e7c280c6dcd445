"""Reads users' pictures of any common format and size."""

import contextlib
import functools
import io
import math
import os
import pathlib
import threading
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageOps

from tutorial_support import files
from tutorial_support.programs import UsageError

# Formats of photos and drawings. Pillow supports more, but runs external programs for some.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# Files with these extensions count as pictures without being opened.
_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_REMEDY = "name a picture file, or save it again as PNG or JPEG"
# Larger pictures and files are reduced while they are read, one at a time. This bounds the memory,
# no matter how many threads read.
_LARGE_PICTURE = 1 << 22  # pixels
_LARGE_FILE = 1 << 26  # bytes
_MAX_PIXELS = 90_000_000  # for formats that cannot be decoded at a fraction of their size
_one_at_a_time = threading.Lock()
_filters = threading.Lock()  # Python's warning filters are global to the process


def read(path: str | os.PathLike, largest: int = 1024) -> Image.Image:
    """Returns a picture as an upright RGB PIL image; transparent parts become white.

    Args:
        path: a file in any common format; the content determines the format.
        largest: longest side in pixels; a larger picture is reduced to it.

    Raises:
        UsageError: the file is missing, damaged, not a picture, or too large to decode safely.
    """
    with _opened(path) as image:
        return _in_rgb(image, largest)


def find(names: Sequence[str]) -> list[pathlib.Path]:
    """Returns the named files, and all visible pictures in the named folders and their subfolders.

    Raises:
        UsageError: there is none.
    """
    paths: list[pathlib.Path] = []
    for path in map(pathlib.Path, names):
        if path.is_dir():
            for below in sorted(path.rglob("*")):
                parts = below.relative_to(path).parts
                if not any(part.startswith(".") for part in parts) and is_picture(below):
                    paths.append(below)
        else:
            paths.append(path)
    if not paths:
        raise UsageError(f"no picture in {', '.join(names)}; name another folder")
    return paths


def is_picture(path: pathlib.Path) -> bool:
    """Returns whether a file is a picture, judging by its extension or else its first bytes."""
    if not path.is_file():
        return False
    if path.suffix.lower() in _ENDINGS:
        return True
    try:
        with _opened(path):
            return True
    except UsageError:
        return False


def as_characters(image: np.ndarray) -> str:
    """Returns an image as lines of characters, from a space for the minimum to @ for the maximum.

    Args:
        image: float [height, width, 3] or [height, width], or a square image as [height * width].
    """
    if image.ndim == 1:
        image = image.reshape(math.isqrt(len(image)), -1)
    grey = image.mean(axis=-1) if image.ndim == 3 else image
    grey = grey[:: max(1, len(grey) // 32), :: max(1, len(grey) // 32)]
    shares = (grey - grey.min()) / max(float(np.ptp(grey)), 1e-12)
    shades = np.array(list(" .:-=+*#%@"))
    rows = shades[np.int32(np.rint(shares * (len(shades) - 1)))]
    return "\n".join("  " + "".join(row) for row in rows)


def middle_square(image: Image.Image, size: int) -> Image.Image:
    """Returns the middle square of a PIL image, resized to `size` x `size` pixels."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def jpeg_or_pixels(path: str | os.PathLike) -> bytes | np.ndarray:
    """Reads a picture for a graph that decodes JPEGs itself.

    Returns:
        the file's bytes if it is an upright JPEG in RGB or grey, which TensorFlow decodes
        correctly; else the picture from `read`, uint8 [height, width, 3].

    Raises:
        UsageError: as in `read`; but a truncated JPEG may be detected only when it is decoded.
    """
    with _opened(path) as image:
        if image.format == "JPEG" and _is_plain(image, path):
            return pathlib.Path(path).read_bytes()
        return np.asarray(_in_rgb(image, 1024))


def encoded(path: str | os.PathLike) -> bytes:
    """Reads a picture for `tf.io.decode_image`.

    Returns:
        the file's bytes if TensorFlow decodes them correctly; else the bytes of a PNG of the
        picture from `read`.

    Raises:
        UsageError: as in `read`; but a truncated file may be detected only when it is decoded.
    """
    with _opened(path) as image:
        if image.format in ("JPEG", "PNG") and _is_plain(image, path):
            return pathlib.Path(path).read_bytes()
        png = io.BytesIO()
        _in_rgb(image, 1024).save(png, "PNG", compress_level=1)
        return png.getvalue()


def _is_plain(image: Image.Image, path: str | os.PathLike) -> bool:
    """Returns whether a picture is upright, 8-bit RGB or grey, opaque and not large."""
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    opaque = image.mode in ("RGB", "L") and "transparency" not in image.info
    small = not _is_large(image) and pathlib.Path(path).stat().st_size <= _LARGE_FILE
    return upright and opaque and small


_ORIENTATION = 0x0112  # the Exif tag


def _is_large(image: Image.Image) -> bool:
    return image.width * image.height > _LARGE_PICTURE


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Yields a PIL image after reading its header; turns every error into a UsageError."""
    with files.reading(path, _REMEDY):
        with _filters, warnings.catch_warnings():
            # Pillow warns about pictures above 89 million pixels and refuses twice as many.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_formats())
        with image:
            pixels = image.width * image.height
            if pixels > _MAX_PIXELS and image.format not in ("JPEG", "MPO"):
                raise ValueError(f"{image.width}x{image.height} is more than {_MAX_PIXELS} pixels")
            yield image


@functools.cache
def _formats() -> list[str]:
    """Returns the formats in _FORMATS that the installed Pillow can read."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _in_rgb(image: Image.Image, largest: int) -> Image.Image:
    is_large = _is_large(image)
    with _one_at_a_time if is_large else contextlib.nullcontext():
        if image.mode.startswith("I"):  # 16 bits; convert() would clip the values at 255
            image = Image.fromarray(np.uint8(np.asarray(image) // 256))
        if is_large:  # decodes a JPEG at a fraction of its size, other formats completely
            image.thumbnail((2 * largest, 2 * largest))
        image = ImageOps.exif_transpose(image).convert("RGBA")
        image.thumbnail((largest, largest))
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
