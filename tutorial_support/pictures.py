"""Reading a picture that a user names, whatever its kind and size."""

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=["PNG", "JPEG"])
        with image:
            return _in_rgb(image, largest)
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
