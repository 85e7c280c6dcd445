"""Prepares a picture of a digit as the makers of MNIST prepared theirs.

They fitted each digit into 20x20 pixels, keeping its proportions, and put it into 28x28 with its
centre of mass in the middle; ink is 1, paper 0.
"""

import os

import numpy as np
from PIL import Image

from mnist_mechanics import mnist
from tutorial_support import pictures
from tutorial_support.programs import UsageError

DIGIT_SIZE = 20  # pixels of the digit's longer side
MIDDLE = mnist.IMAGE_SIZE / 2 + 0.5  # where MNIST's digits have their centre: in pixel 14
LEAST_CONTRAST = 0.15  # between ink and paper, where black to white is 1
FAINTEST_INK = 0.2  # of the darkest ink; what is fainter is noise or a compression artefact


def prepare(path: str | os.PathLike) -> np.ndarray:
    """Returns a PNG or JPEG as the net's input: float32 [IMAGE_PIXELS], in [0, 1], ink 1.

    The picture may have any size and colours, dark ink on light paper or the other way round.

    Raises:
        UsageError: the file is no whole PNG or JPEG, or nothing in it stands out.
    """
    grey = np.asarray(pictures.read(path).convert("L"), np.float32) / 255
    ink = _ink(grey)
    if ink is None:
        raise UsageError(
            f"{path}: shows no digit, nothing in it stands out; name a picture of one digit"
        )
    return _centred(_fitted(ink)).reshape(mnist.IMAGE_PIXELS)


def _ink(grey: np.ndarray) -> np.ndarray | None:
    """Returns float32 [height, width], 0 for paper up to 1 for ink, cut to the digit; or None."""
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
    """Returns the digit with its longer side DIGIT_SIZE, smoothed by averaging."""
    height, width = ink.shape
    scale = DIGIT_SIZE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = Image.fromarray(ink.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.clip(np.asarray(fitted), 0, 1)


def _centred(digit: np.ndarray) -> np.ndarray:
    """Returns float32 [IMAGE_SIZE, IMAGE_SIZE] with the digit's centre of mass in its middle."""
    canvas = np.zeros((mnist.IMAGE_SIZE, mnist.IMAGE_SIZE), np.float32)
    corner = []
    for axis, length in enumerate(digit.shape):
        mass = digit.sum(axis=1 - axis)
        centre = np.average(np.arange(length) + 0.5, weights=mass)
        corner.append(int(np.clip(round(MIDDLE - centre), 0, mnist.IMAGE_SIZE - length)))
    top, left = corner
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas
