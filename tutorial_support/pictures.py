"""Reading a picture that a user names, whatever its kind and size."""

import contextlib
import io
import math
import os
import pathlib
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageOps

from tutorial_support.programs import UsageError

ENDINGS = (".jpg", ".jpeg", ".png")


def read(path: str | os.PathLike, largest: int = 1024) -> Image.Image:
    """Returns a PNG or JPEG as a PIL image in RGB, upright, on white where it is transparent.

    Args:
        path: the file.
        largest: pixels; a picture with a longer side is made smaller.

    Raises:
        UsageError: the file is missing, no whole PNG or JPEG, or too large to be unpacked safely.
    """
    with _opened(path) as image:
        return _in_rgb(image, largest)


def find(names: Sequence[str]) -> list[pathlib.Path]:
    """Returns the named files, and of the named folders every picture in them and below.

    Raises:
        UsageError: there is none.
    """
    paths: list[pathlib.Path] = []
    for path in map(pathlib.Path, names):
        if path.is_dir():
            found = (p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
            paths += sorted(p for p in found if not p.name.startswith("."))
        else:
            paths.append(path)
    if not paths:
        raise UsageError(f"no PNG or JPEG file in {', '.join(names)}; name another folder")
    return paths


def as_characters(image: np.ndarray) -> str:
    """Returns an image as lines of characters, the darker ones for smaller numbers.

    Args:
        image: float [height, width, 3], [height, width], or a square one as [height * width].
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
    """Returns the middle square of a PIL image, resized to `size` pixels both ways."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def jpeg_or_pixels(path: str | os.PathLike) -> bytes | np.ndarray:
    """Reads a picture for a graph that decodes JPEGs itself.

    Returns:
        the file's bytes where it is an upright JPEG in RGB or grey, which TensorFlow decodes as
        it should; else the picture as `read` gives it, uint8 [height, width, 3].

    Raises:
        UsageError: as `read`; a JPEG that is cut off, however, may be told only by its decoding.
    """
    with _opened(path) as image:
        if image.format == "JPEG" and _is_plain(image):
            return pathlib.Path(path).read_bytes()
        return np.asarray(_in_rgb(image, 1024))


def encoded(path: str | os.PathLike) -> bytes:
    """Reads a picture for `tf.io.decode_image`.

    Returns:
        the file's bytes where it is plain, which TensorFlow decodes as it should; else those of a
        PNG of the picture as `read` gives it.

    Raises:
        UsageError: as `read`; a file that is cut off, however, may be told only by its decoding.
    """
    with _opened(path) as image:
        if _is_plain(image):
            return pathlib.Path(path).read_bytes()
        png = io.BytesIO()
        _in_rgb(image, 1024).save(png, "PNG", compress_level=1)
        return png.getvalue()


def _is_plain(image: Image.Image) -> bool:
    """Whether it is upright, of 8 bits, in RGB or grey, and not transparent."""
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    return upright and image.mode in ("RGB", "L") and "transparency" not in image.info


_ORIENTATION = 0x0112  # Exif's tag


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Yields a PIL image of which the header has been read; what goes wrong is a UsageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=["PNG", "JPEG"])
        with image:
            yield image
    except FileNotFoundError:
        raise UsageError(f"there is no file '{path}'; name a PNG or JPEG file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path}: too large a picture ({error}); make it smaller") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"{path}: not a whole PNG or JPEG file ({error}); save the picture again as one"
        ) from error


def _in_rgb(image: Image.Image, largest: int) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
        image = Image.fromarray(np.uint8(np.asarray(image) // 256))
    image = ImageOps.exif_transpose(image).convert("RGBA")
    image.thumbnail((largest, largest))
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image).convert("RGB")
