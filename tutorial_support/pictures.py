"""Reading a picture that a user names, whatever its kind and size."""

import contextlib
import io
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps

from tutorial_support.programs import UsageError


def read(path, largest=1024):
    """Returns a PNG or JPEG as a PIL image in RGB, upright, on white where it is transparent.

    Args:
        path: the file.
        largest: pixels; a picture with a longer side is made smaller.

    Raises:
        UsageError: the file is missing, no whole PNG or JPEG, or too large to be unpacked safely.
    """
    with _opened(path) as image:
        return _in_rgb(image, largest)


def prepared(paths, prepare):
    """Yields (path, prepare(path)) of each good picture, and names the bad ones at the end.

    Args:
        paths: files.
        prepare: function from a path; raises UsageError where the picture is bad.

    Raises:
        UsageError: at the end, names all bad pictures.
    """
    refused = []
    for path in paths:
        try:
            picture = prepare(path)
        except UsageError as error:
            refused.append(str(error))
            continue
        yield path, picture
    if refused:
        raise UsageError("\nerror: ".join(refused))


def middle_square(image, size):
    """Returns the middle square of a PIL image, resized to `size` pixels both ways."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def jpeg_or_pixels(path):
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


def encoded(path):
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


def _is_plain(image):
    """Whether it is upright, of 8 bits, in RGB or grey, and not transparent."""
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    return upright and image.mode in ("RGB", "L") and "transparency" not in image.info


_ORIENTATION = 0x0112  # Exif's tag


@contextlib.contextmanager
def _opened(path):
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


def _in_rgb(image, largest):
    if image.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
        image = Image.fromarray(np.uint8(np.asarray(image) // 256))
    image = ImageOps.exif_transpose(image).convert("RGBA")
    image.thumbnail((largest, largest))
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image).convert("RGB")
