"""Shared code of the drawing scripts: a sheet to draw on, and a function to write files."""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 96  # pixels
FINE = 4  # draw at this multiple of the size, then average, for smooth edges


class Sheet:
    """A drawing; the unit is the radius of the drawn object, the origin its centre."""

    def __init__(self, generator, turns=(0, 2 * np.pi)):
        """Draws the background; `turns` is the range of the object's rotation, in radians."""
        self.random = generator
        side = SIZE * FINE
        self.image = background(generator, side)
        self._draw = ImageDraw.Draw(self.image)
        self._radius = side * generator.uniform(0.2, 0.34)
        self._centre = side * generator.uniform(0.36, 0.64, 2)
        self._turn = generator.uniform(*turns)

    def place(self, x, y, turned=True):
        """Returns pixels for a point in units of the radius."""
        turn = self._turn if turned else 0.0
        cosine, sine = np.cos(turn), np.sin(turn)
        offset = np.array([cosine * x - sine * y, sine * x + cosine * y])
        return tuple(self._centre + self._radius * offset)

    def shape(self, points, colour, turned=True):
        """Fills a polygon."""
        self._draw.polygon([self.place(x, y, turned) for x, y in points], fill=colour)

    def petal(self, angle, length, width, colour, start=0.0):
        """Fills an ellipse that points away from the centre."""
        t = np.linspace(0, 2 * np.pi, 30, endpoint=False)
        along = start + (length - start) * (1 + np.cos(t)) / 2
        across = width * np.sin(t)
        cosine, sine = np.cos(angle), np.sin(angle)
        self.shape(
            np.stack([cosine * along - sine * across, sine * along + cosine * across], 1), colour
        )

    def disc(self, radius, colour, x=0.0, y=0.0):
        """Fills a circle."""
        self.oval(radius, radius, colour, x, y)

    def oval(self, width, height, colour, x=0.0, y=0.0):
        """Fills an ellipse with these half axes."""
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        self.shape(np.stack([x + width * np.cos(t), y + height * np.sin(t)], 1), colour)


def vary(generator, colour, spread):
    """Returns a colour near another one."""
    changed = np.array(colour) + generator.uniform(-spread, spread, 3)
    return tuple(int(value) for value in np.clip(changed, 0, 255))


def background(generator, side):
    """Returns an image: a shaded meadow or sky with blurred spots."""
    colours = [(70, 130, 60), (110, 150, 80), (120, 160, 210), (60, 80, 50), (170, 180, 160)]
    base = np.array(vary(generator, colours[generator.integers(len(colours))], 30), float)
    ramp = np.linspace(-1, 1, side)[:, None, None] * generator.uniform(-40, 40)
    pixels = np.broadcast_to(base + ramp, (side, side, 3))
    image = Image.fromarray(np.uint8(np.clip(pixels, 0, 255)))
    draw = ImageDraw.Draw(image)
    for _ in range(generator.integers(8, 20)):
        x, y = generator.uniform(0, side, 2)
        radius = generator.uniform(0.02, 0.1) * side
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], vary(generator, base, 35))
    return image.filter(ImageFilter.GaussianBlur(side / 60))


def write(draw, sheet, path):
    """Calls `draw(sheet)` and writes the sheet as a JPEG."""
    draw(sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.image.resize((SIZE, SIZE), Image.Resampling.BOX).save(path, quality=85)


def folder_from_command_line(description):
    """Returns the folder that the command line names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=pathlib.Path)
    return parser.parse_args().folder
