"""Makes data/drawn_flowers: drawings of flowers, a folder a class, as JPEGs.

    python data/make_flowers_sample.py data/drawn_flowers

These are NOT photos. This script drew all of them: five kinds of flowers of varying place, size,
turn and colour on meadows and skies, so that the tutorial's programs run without a network.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SEED = 20160103
PER_CLASS = 36
SIZE = 96  # pixels
FINE = 4  # drawn so many times larger, then averaged, for smooth edges


class Sheet:
    """A drawing whose unit is the flower's radius and whose origin is its centre."""

    def __init__(self, generator):
        """Begins with a background and draws nothing else yet."""
        self.random = generator
        side = SIZE * FINE
        self.image = background(generator, side)
        self._draw = ImageDraw.Draw(self.image)
        self._radius = side * generator.uniform(0.2, 0.34)
        self._centre = side * generator.uniform(0.36, 0.64, 2)
        self._turn = generator.uniform(0, 2 * np.pi)

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
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        self.shape(np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], 1), colour)

    def stem(self):
        """Draws a stem with a leaf or two, upright whatever the flower's turn."""
        green = vary(self.random, (50, 120, 40), 25)
        bend = self.random.uniform(-0.4, 0.4)
        self.shape([(-0.06, 0), (0.06, 0), (bend + 0.06, 4), (bend - 0.06, 4)], green, False)
        for side in (-1, 1):
            reach = side * self.random.uniform(0.5, 1.0)
            low = self.random.uniform(1.5, 2.2)
            self.shape([(0, low + 0.4), (reach, low - 0.6), (reach * 0.5, low + 0.2)], green, False)


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


def daisy(sheet):
    """White rays round a small yellow disc."""
    sheet.stem()
    count = sheet.random.integers(13, 20)
    for k in range(count):
        colour = vary(sheet.random, (240, 240, 235), 12)
        sheet.petal(2 * np.pi * k / count, 1.0, 0.13, colour, start=0.2)
    sheet.disc(0.28, vary(sheet.random, (235, 190, 40), 20))


def dandelion(sheet):
    """Very many thin yellow rays, without a disc."""
    sheet.stem()
    for length in (1.0, 0.75, 0.5, 0.25):
        for k in range(30):
            colour = vary(sheet.random, (245 - 25 * length, 205 - 25 * length, 30), 18)
            angle = 2 * np.pi * (k + sheet.random.uniform(-0.4, 0.4)) / 30
            sheet.petal(angle, length, 0.05, colour)


def rose(sheet):
    """Round red or pink petals, one layer within another, darker inwards."""
    sheet.stem()
    base = np.array([(200, 30, 50), (225, 100, 140), (180, 20, 90)][sheet.random.integers(3)])
    for layer in range(5):
        reach = 0.75 - 0.15 * layer
        for k in range(5):
            angle = 2 * np.pi * k / 5 + layer * 0.7
            colour = vary(sheet.random, base * (1 - 0.12 * layer), 12)
            sheet.disc(0.42 * reach + 0.08, colour, reach * np.cos(angle), reach * np.sin(angle))


def sunflower(sheet):
    """Pointed yellow rays round a wide brown disc with seeds."""
    sheet.stem()
    count = sheet.random.integers(18, 26)
    for k in range(count):
        colour = vary(sheet.random, (240, 180, 20), 18)
        sheet.petal(2 * np.pi * k / count, 1.0, 0.12, colour, start=0.35)
    sheet.disc(0.55, vary(sheet.random, (80, 50, 25), 15))
    for k in range(40):
        radius, angle = 0.5 * np.sqrt(k / 40), k * 2.39996  # the golden angle
        colour = vary(sheet.random, (120, 85, 40), 15)
        sheet.disc(0.035, colour, radius * np.cos(angle), radius * np.sin(angle))


def tulip(sheet):
    """A cup of three petals on a stem, upright."""
    sheet.stem()
    colours = [(215, 40, 50), (240, 170, 60), (170, 70, 160), (235, 120, 150)]
    base = colours[sheet.random.integers(len(colours))]
    for x, tone in ((-0.42, 0.85), (0.42, 0.85), (0.0, 1.0)):
        colour = vary(sheet.random, np.array(base) * tone, 10)
        t = np.linspace(-1, 1, 20)
        width = 0.5 * np.sqrt(np.clip(1 - t**2, 0, 1)) * (1 - 0.35 * (t < 0) * -t)
        left = np.stack([x - width, t * 0.9 - 0.3], 1)
        right = np.stack([x + width, t * 0.9 - 0.3], 1)[::-1]
        sheet.shape(np.concatenate([left, right]), colour, turned=False)


KINDS = {
    "drawn_daisy": daisy,
    "drawn_dandelion": dandelion,
    "drawn_rose": rose,
    "drawn_sunflower": sunflower,
    "drawn_tulip": tulip,
}


def main():
    """Draws all classes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    generator = np.random.default_rng(SEED)
    for name, draw in KINDS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(1, PER_CLASS + 1):
            sheet = Sheet(generator)
            draw(sheet)
            image = sheet.image.resize((SIZE, SIZE), Image.Resampling.BOX)
            image.save(folder / name / f"{number:02d}.jpg", quality=85)


if __name__ == "__main__":
    main()
