"""Makes data/drawn_cats_and_dogs: drawings of cats and dogs, in the folders of the real photos.

    python data/scripts/make_catsdogs_sample.py data/drawn_cats_and_dogs

These are NOT photos. This script drew all of them: heads and shoulders with varying position, size,
tilt, coat and background. Cats and dogs have the same colours and backgrounds; they differ in ears,
eyes, muzzles and whiskers.
"""

import numpy as np
from drawing import Sheet, folder_from_command_line, vary, write

SEED = 20170313
COUNTS = {"train": 80, "validation": 50}  # pictures of each kind
COATS = [(225, 140, 60), (120, 120, 125), (45, 42, 45), (235, 230, 222), (120, 80, 50)]
PINK = (225, 150, 150)
TILT = (-0.45, 0.45)  # radians


def coat(sheet):
    """Returns (colour of a coat, a lighter colour)."""
    base = np.array(vary(sheet.random, COATS[sheet.random.integers(len(COATS))], 22))
    return tuple(base), tuple(np.clip(base + sheet.random.uniform(25, 55), 0, 255).astype(int))


def shoulders(sheet, colour):
    """Draws the shoulders."""
    width = sheet.random.uniform(0.75, 1.1)
    sheet.oval(width, 1.3, colour, sheet.random.uniform(-0.3, 0.3), 1.8)


def pair(draw, *values):
    """Calls `draw` for the left side (-1) and for the right side (1)."""
    for side in (-1, 1):
        draw(side, *values)


def cat(sheet):
    """A round head with pointed ears, slit eyes, a small nose and whiskers."""
    fur, light = coat(sheet)
    random = sheet.random
    shoulders(sheet, fur)
    spread, height = random.uniform(0.75, 0.95), random.uniform(1.25, 1.55)

    def ear(side, size, colour):
        tip = (side * spread, -height * size)
        sheet.shape([(side * 0.25, -0.7 * size), tip, (side * 0.95, -0.2 * size)], colour)

    pair(ear, 1.0, fur)
    pair(ear, 0.85, vary(random, PINK, 15))
    sheet.oval(1.0, random.uniform(0.82, 0.95), fur)
    if random.random() < 0.5:  # a tabby's forehead
        for x in (-0.25, 0.0, 0.25):
            stripe = tuple(int(value * 0.6) for value in fur)
            sheet.oval(0.06, 0.22, stripe, x, -0.6)
    iris = vary(random, [(170, 190, 60), (90, 150, 90), (200, 160, 50)][random.integers(3)], 20)
    slit = random.uniform(0.05, 0.12)

    def eye(side):
        sheet.oval(0.24, 0.19, iris, side * 0.42, -0.12)
        sheet.oval(slit, 0.18, (15, 15, 15), side * 0.42, -0.12)

    pair(eye)
    pair(lambda side: sheet.oval(0.26, 0.2, light, side * 0.2, 0.48))
    sheet.shape([(-0.12, 0.25), (0.12, 0.25), (0, 0.4)], vary(random, PINK, 20))

    def whiskers(side):
        for slope in (-0.12, 0.05, 0.22):
            end = (side * 1.35, 0.42 + slope * 1.5)
            start = 0.42 + slope * 0.4
            white = vary(random, (235, 235, 235), 15)
            sheet.shape([(side * 0.3, start - 0.02), end, (side * 0.3, start + 0.02)], white)

    pair(whiskers)


def dog(sheet):
    """A longer head with hanging ears, round dark eyes and a large nose on a muzzle."""
    fur, light = coat(sheet)
    random = sheet.random
    shoulders(sheet, fur)
    sheet.oval(0.85, random.uniform(0.95, 1.1), fur)
    dark = tuple(int(value * random.uniform(0.55, 0.8)) for value in fur)
    hang, length = random.uniform(0.1, 0.45), random.uniform(0.55, 0.8)
    pair(lambda side: sheet.oval(0.27, length, dark, side * 0.88, -0.35 + hang))
    if random.random() < 0.5:  # a patch round an eye
        sheet.oval(0.3, 0.28, dark, random.choice([-0.36, 0.36]), -0.25)

    def eye(side):
        sheet.disc(0.15, vary(random, (60, 35, 20), 12), side * 0.36, -0.22)
        sheet.disc(0.05, (235, 235, 235), side * 0.36 - 0.04, -0.26)

    pair(eye)
    if random.random() < 0.5:
        sheet.oval(0.16, 0.32, vary(random, (220, 90, 100), 15), 0, 0.95)
    sheet.oval(0.46, 0.42, light, 0, 0.5)
    sheet.oval(0.2, 0.14, (25, 22, 22), 0, random.uniform(0.25, 0.35))
    sheet.shape([(-0.02, 0.4), (0.02, 0.4), (0.02, 0.7), (-0.02, 0.7)], (40, 30, 30))


def main():
    """Draws both kinds for both folders."""
    folder = folder_from_command_line(__doc__)
    generator = np.random.default_rng(SEED)
    for part, count in COUNTS.items():
        for name, draw in {"drawn_cats": cat, "drawn_dogs": dog}.items():
            for number in range(1, count + 1):
                file = folder / part / name / f"{number:03d}.jpg"
                write(draw, Sheet(generator, TILT), file)


if __name__ == "__main__":
    main()
