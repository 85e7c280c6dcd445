"""Creates noisy pictures in class folders."""

import numpy as np
from PIL import Image


def picture(colour, seed, size=(20, 16)):
    """A PIL image of noise around a colour."""
    noise = np.random.default_rng(seed).normal(0, 12, (size[1], size[0], 3))
    return Image.fromarray(np.uint8(np.clip(np.array(colour) + noise, 0, 255)))


COLOURS = {"blue": (40, 40, 200), "green": (40, 170, 40), "red": (200, 40, 40)}


def write_pictures(folder, count=20, colours=COLOURS):
    """A folder of class folders of JPEGs; each class has its own colour."""
    for place, (name, colour) in enumerate(colours.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            file = folder / name / f"{number:03d}.jpg"
            picture(colour, 1000 * place + number).save(file, quality=95)
    return folder
