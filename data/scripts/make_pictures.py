"""Makes data/pictures: a digit, a ship, a flower and a cat to try a trained net on.

    python data/scripts/make_pictures.py data/pictures

This script drew all of them. The flower and the cat are drawn like those in the samples, with a
seed that the samples do not use.
"""

import math

import make_catsdogs_sample
import make_flowers_sample
import numpy as np
from drawing import Sheet, folder_from_command_line, write
from PIL import Image, ImageDraw, ImageFilter

SEED = 101
FINE = 8  # draw at this multiple of the size, then average, for smooth edges


def digit():
    """Returns a handwritten 3, dark on light, 84 x 84 pixels, like a photo of one."""
    side = 84 * FINE
    image = Image.new("L", (side, side), 245)
    draw = ImageDraw.Draw(image)
    for middle, radius, start, end in ((0.35, 0.15, -200, 85), (0.64, 0.165, -85, 190)):
        for step in range(101):
            angle = math.radians(start + (end - start) * step / 100)
            x, y = 0.48 + 1.1 * radius * math.cos(angle), middle + radius * math.sin(angle)
            dot = [(value - 0.028) * side for value in (x, y)] + [
                (value + 0.028) * side for value in (x, y)
            ]
            draw.ellipse(dot, fill=35)
    return image.resize((84, 84), Image.Resampling.BOX)


def ship():
    """Returns a ship on the sea under a pale sky, 128 x 128 pixels."""
    side = 128 * FINE
    ramp = np.linspace(0, 1, side)[:, None, None]
    sky = np.array([150, 185, 220]) * (1 - ramp) + np.array([225, 232, 238]) * ramp
    sea = np.array([75, 110, 140]) * (1 - ramp) + np.array([30, 60, 95]) * ramp
    pixels = np.where(ramp < 0.62, sky, sea) * np.ones((side, side, 3))
    image = Image.fromarray(np.uint8(pixels)).filter(ImageFilter.GaussianBlur(side / 80))
    draw = ImageDraw.Draw(image)

    def shape(points, colour):
        draw.polygon([(x * side, y * side) for x, y in points], fill=colour)

    shape([(0.08, 0.56), (0.93, 0.53), (0.84, 0.70), (0.16, 0.70)], (45, 48, 58))  # the hull
    shape([(0.13, 0.655), (0.86, 0.655), (0.84, 0.70), (0.16, 0.70)], (140, 40, 35))
    shape([(0.24, 0.44), (0.72, 0.44), (0.76, 0.55), (0.22, 0.56)], (238, 238, 232))
    shape([(0.30, 0.36), (0.60, 0.36), (0.62, 0.44), (0.28, 0.44)], (228, 228, 222))
    shape([(0.42, 0.20), (0.50, 0.20), (0.51, 0.36), (0.41, 0.36)], (190, 60, 45))  # the funnel
    shape([(0.70, 0.20), (0.71, 0.20), (0.715, 0.45), (0.695, 0.45)], (70, 70, 75))  # a mast
    for x in np.linspace(0.28, 0.68, 9):
        shape([(x, 0.48), (x + 0.02, 0.48), (x + 0.02, 0.51), (x, 0.51)], (60, 80, 105))
    for x in np.linspace(0.02, 0.9, 9):
        shape([(x, 0.72), (x + 0.08, 0.715), (x + 0.06, 0.725)], (150, 175, 195))
    return image.resize((128, 128), Image.Resampling.BOX)


def main():
    """Draws the four pictures."""
    folder = folder_from_command_line(__doc__)
    folder.mkdir(parents=True, exist_ok=True)
    digit().save(folder / "digit.png", optimize=True)
    ship().save(folder / "ship.png", optimize=True)
    generator = np.random.default_rng(SEED)
    write(make_flowers_sample.tulip, Sheet(generator), folder / "flower.jpg")
    write(make_catsdogs_sample.cat, Sheet(generator, make_catsdogs_sample.TILT), folder / "cat.jpg")


if __name__ == "__main__":
    main()
