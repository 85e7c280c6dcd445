"""Makes data/cifar10/cifar-10-binary.tar.gz: drawn shapes in CIFAR-10's file format.

    python data/scripts/make_cifar10_sample.py data/cifar10/cifar-10-binary.tar.gz

These are NOT CIFAR-10's photographs. They are ten classes of shapes, which this script draws at
random positions, sizes, angles and colours on shaded backgrounds. The files have CIFAR-10's names
and format, so the tutorial's programs run without a network.
"""

import argparse
import gzip
import io
import pathlib
import tarfile

import numpy as np
from PIL import Image, ImageDraw

SEED = 20160102
PER_BATCH = 200  # images in each of the five training batches, and in the test batch
SIZE = 32
FINE = 8  # draw at this multiple of the size, then average, for smooth edges


def polygon(*points):
    """Returns a function that draws a polygon; its points are in units of the shape's radius."""
    return lambda draw, place: draw.polygon([place(x, y) for x, y in points], fill=255)


def star(points, inner):
    """Returns the corners of a star, radius 1 outside, `inner` inside."""
    angles = np.pi * np.arange(2 * points) / points
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return list(zip(radii * np.sin(angles), -radii * np.cos(angles), strict=True))


def circle(radius):
    """Returns the corners of a polygon that approximates a circle."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return list(zip(radius * np.cos(angles), radius * np.sin(angles), strict=True))


def several(*shapes):
    """Returns a function that draws shapes on top of each other; a shape may erase (fill 0)."""

    def paint(draw, place):
        for points, fill in shapes:
            draw.polygon([place(x, y) for x, y in points], fill=fill)

    return paint


def box(left, top, right, bottom):
    """Returns the corners of a rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def moved(points, x, y):
    """Returns points, shifted."""
    return [(px + x, py + y) for px, py in points]


SHAPES = {
    "disc": polygon(*circle(0.9)),
    "ring": several((circle(0.95), 255), (circle(0.55), 0)),
    "square": polygon(*box(-0.8, -0.8, 0.8, 0.8)),
    "frame": several((box(-0.85, -0.85, 0.85, 0.85), 255), (box(-0.5, -0.5, 0.5, 0.5), 0)),
    "triangle": polygon((0, -1), (0.9, 0.75), (-0.9, 0.75)),
    "star": polygon(*star(5, 0.4)),
    "cross": several((box(-0.3, -1, 0.3, 1), 255), (box(-1, -0.3, 1, 0.3), 255)),
    "stripes": several(*((box(-1, y, 1, y + 0.35), 255) for y in (-0.95, -0.2, 0.55))),
    "dots": several(
        *((moved(circle(0.36), x, y), 255) for x in (-0.55, 0.55) for y in (-0.55, 0.55))
    ),
    "crescent": several((circle(0.95), 255), (moved(circle(0.8), 0.5, 0), 0)),
}


def draw_shape(paint, rng):
    """Returns a mask, float [SIZE, SIZE] in [0, 1]."""
    radius = rng.uniform(7, 11)
    centre = rng.uniform(radius * 0.9, SIZE - radius * 0.9, 2)
    turn = rng.uniform(-0.35, 0.35)  # radians
    cosine, sine = np.cos(turn), np.sin(turn)

    def place(x, y):
        turned = np.array([cosine * x - sine * y, sine * x + cosine * y])
        return tuple(FINE * (centre + radius * turned))

    mask = Image.new("L", (SIZE * FINE, SIZE * FINE))
    paint(ImageDraw.Draw(mask), place)
    return np.asarray(mask.resize((SIZE, SIZE), Image.Resampling.BOX)) / 255


def picture(paint, rng):
    """Returns a shape on a shaded background, uint8 [SIZE, SIZE, 3]."""
    while True:
        near, far, ink = rng.uniform(20, 235, (3, 3))
        if np.abs(ink - (near + far) / 2).max() > 70:
            break
    slope = np.linspace(0, 1, SIZE)
    shade = slope[:, None] if rng.random() < 0.5 else slope[None, :]
    background = near + (far - near) * np.broadcast_to(shade, (SIZE, SIZE))[..., None]
    mask = draw_shape(paint, rng)[..., None]
    return np.round(background * (1 - mask) + ink * mask).astype(np.uint8)


def batch(rng):
    """Returns PER_BATCH records as bytes, with equally many of each class."""
    labels = rng.permutation(np.arange(PER_BATCH) % len(SHAPES))
    paints = list(SHAPES.values())
    images = np.stack([picture(paints[label], rng) for label in labels])
    planes = images.transpose(0, 3, 1, 2).reshape(PER_BATCH, -1)
    return np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1).tobytes()


def main():
    """Draws the batches and packs them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=pathlib.Path)
    args = parser.parse_args()

    rng = np.random.default_rng(SEED)
    members = {f"data_batch_{number}.bin": batch(rng) for number in range(1, 6)}
    members["test_batch.bin"] = batch(rng)
    members["batches.meta.txt"] = "".join(f"{name}\n" for name in SHAPES).encode()
    args.target.parent.mkdir(parents=True, exist_ok=True)
    with (
        args.target.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, body in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size, info.mode = len(body), 0o644
            tar.addfile(info, io.BytesIO(body))


if __name__ == "__main__":
    main()
