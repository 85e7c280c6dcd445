"""Makes data/drawn_flowers: drawings of flowers as JPEGs, one folder per class.

    python data/scripts/make_flowers_sample.py data/drawn_flowers

These are NOT photos. This script drew all of them: five kinds of flowers with varying position,
size, angle and colour on meadows and skies, so that the tutorial's programs run without a network.
"""

import numpy as np
from drawing import Sheet, folder_from_command_line, vary, write

SEED = 20160103
PER_CLASS = 36


def stem(sheet):
    """Draws a stem with one or two leaves, upright even if the flower is turned."""
    green = vary(sheet.random, (50, 120, 40), 25)
    bend = sheet.random.uniform(-0.4, 0.4)
    sheet.shape([(-0.06, 0), (0.06, 0), (bend + 0.06, 4), (bend - 0.06, 4)], green, False)
    for side in (-1, 1):
        reach = side * sheet.random.uniform(0.5, 1.0)
        low = sheet.random.uniform(1.5, 2.2)
        sheet.shape([(0, low + 0.4), (reach, low - 0.6), (reach * 0.5, low + 0.2)], green, False)


def daisy(sheet):
    """White rays round a small yellow disc."""
    stem(sheet)
    count = sheet.random.integers(13, 20)
    for k in range(count):
        colour = vary(sheet.random, (240, 240, 235), 12)
        sheet.petal(2 * np.pi * k / count, 1.0, 0.13, colour, start=0.2)
    sheet.disc(0.28, vary(sheet.random, (235, 190, 40), 20))


def dandelion(sheet):
    """Very many thin yellow rays, without a disc."""
    stem(sheet)
    for length in (1.0, 0.75, 0.5, 0.25):
        for k in range(30):
            colour = vary(sheet.random, (245 - 25 * length, 205 - 25 * length, 30), 18)
            angle = 2 * np.pi * (k + sheet.random.uniform(-0.4, 0.4)) / 30
            sheet.petal(angle, length, 0.05, colour)


def rose(sheet):
    """Round red or pink petals, one layer within another, darker inwards."""
    stem(sheet)
    base = np.array([(200, 30, 50), (225, 100, 140), (180, 20, 90)][sheet.random.integers(3)])
    for layer in range(5):
        reach = 0.75 - 0.15 * layer
        for k in range(5):
            angle = 2 * np.pi * k / 5 + layer * 0.7
            colour = vary(sheet.random, base * (1 - 0.12 * layer), 12)
            sheet.disc(0.42 * reach + 0.08, colour, reach * np.cos(angle), reach * np.sin(angle))


def sunflower(sheet):
    """Pointed yellow rays round a wide brown disc with seeds."""
    stem(sheet)
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
    stem(sheet)
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
    folder = folder_from_command_line(__doc__)
    generator = np.random.default_rng(SEED)
    for name, draw in KINDS.items():
        for number in range(1, PER_CLASS + 1):
            write(draw, Sheet(generator), folder / name / f"{number:02d}.jpg")


if __name__ == "__main__":
    main()
