"""Random changes to a training picture before the base sees it.

They make the head less dependent on where and how bright a thing is. They cost: a distorted
picture has no kept bottleneck, and goes through the base anew in every step.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Distortions:
    """What may happen to a picture.

    Attributes:
        flip_left_right: whether half of the pictures are mirrored.
        random_crop: percent by which a margin around the crop may enlarge the picture.
        random_scale: percent by which the picture may be enlarged besides.
        random_brightness: percent by which its pixels may be multiplied up or down.
    """

    flip_left_right: bool = False
    random_crop: int = 0
    random_scale: int = 0
    random_brightness: int = 0

    def __bool__(self):
        return any(dataclasses.astuple(self))

    def apply(self, picture, seed):
        """Returns the distorted picture.

        Args:
            picture: uint8 [height, width, 3].
            seed: sequence of ints; the same seed gives the same result.

        Returns:
            uint8 [height', width', 3]: a window of the picture, of its proportions.
        """
        generator = np.random.default_rng(seed)
        scale = (1 + self.random_crop / 100) * generator.uniform(1, 1 + self.random_scale / 100)
        height, width = (max(1, round(side / scale)) for side in picture.shape[:2])
        top = generator.integers(picture.shape[0] - height + 1)
        left = generator.integers(picture.shape[1] - width + 1)
        window = picture[top : top + height, left : left + width]
        if generator.random() < 0.5 and self.flip_left_right:
            window = window[:, ::-1]
        change = self.random_brightness / 100
        factor = generator.uniform(1 - change, 1 + change)
        return np.clip(np.rint(window * factor), 0, 255).astype(np.uint8)
