"""Prepares a picture of a digit the way MNIST's authors prepared theirs.

They scaled each digit to fit 20x20 pixels, keeping its aspect ratio, and centred it by its centre
of mass in an image of 28x28 pixels. Ink is 1, paper is 0.
"""

import os

import numpy as np
from PIL import Image

from mnist_mechanics import mnist
from tutorial_support import pictures
from tutorial_support.programs import UsageError

DIGIT_SIZE = 20  # pixels, the digit's longer side
MIDDLE = mnist.IMAGE_SIZE / 2 + 0.5  # MNIST's digits are centred in pixel 14
LEAST_CONTRAST = 0.15  # between ink and paper; black on white has a contrast of 1
FAINTEST_INK = 0.2  # relative to the darkest ink; anything fainter is noise or a JPEG artefact


def prepare(path: str | os.PathLike) -> np.ndarray:
    """Returns a PNG or JPEG as input of the net: float32 [IMAGE_PIXELS] in [0, 1], ink is 1.

    The picture may have any size and colours, with dark ink on light paper or the reverse.

    Raises:
        UsageError: the file is not a complete PNG or JPEG, or its contrast is too low.
    """
    grey = np.asarray(pictures.read(path).convert("L"), np.float32) / 255
    ink = _ink(grey)
    if ink is None:
        raise UsageError(
            f"{path}: shows no digit, because its contrast is too low; name a picture of one digit"
        )
    return _centred(_fitted(ink)).reshape(mnist.IMAGE_PIXELS)


def _ink(grey: np.ndarray) -> np.ndarray | None:
    """Returns the digit's bounding box, float32 [height, width], from 0 (paper) to 1 (ink).

    Returns None if the contrast is too low.
    """
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = np.median(edge)
    darker, lighter = paper - grey.min(), grey.max() - paper
    ink = paper - grey if darker >= lighter else grey - paper
    if ink.max() < LEAST_CONTRAST:
        return None
    ink = np.clip(ink / ink.max(), 0, 1)
    ink[ink < FAINTEST_INK] = 0
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fitted(ink: np.ndarray) -> np.ndarray:
    """Returns the digit resized so that its longer side is DIGIT_SIZE."""
    height, width = ink.shape
    scale = DIGIT_SIZE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = Image.fromarray(ink.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.clip(np.asarray(fitted), 0, 1)


def _centred(digit: np.ndarray) -> np.ndarray:
    """Returns float32 [IMAGE_SIZE, IMAGE_SIZE] with the digit's centre of mass in the middle."""
    canvas = np.zeros((mnist.IMAGE_SIZE, mnist.IMAGE_SIZE), np.float32)
    corner = []
    for axis, length in enumerate(digit.shape):
        mass = digit.sum(axis=1 - axis)
        centre = np.average(np.arange(length) + 0.5, weights=mass)
        corner.append(int(np.clip(round(MIDDLE - centre), 0, mnist.IMAGE_SIZE - length)))
    top, left = corner
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas
