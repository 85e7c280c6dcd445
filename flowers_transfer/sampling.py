"""Which images make up a training batch: a pure function of the seed and the step."""

import numpy as np


class ByClass:
    """As in the original: each image of a batch is drawn anew, first its class, then the image.

    Every class has the same weight, however many images it has.
    """

    def __init__(self, labels, seed):
        """Args: labels, int array [images]; seed, int."""
        self._by_class = np.argsort(labels, kind="stable")
        self._counts = np.unique(labels, return_counts=True)[1]
        self._starts = np.cumsum(self._counts) - self._counts
        self._seed = seed

    def batch(self, step, size):
        """Returns int array [size], indices of images."""
        generator = np.random.default_rng([self._seed, step])
        classes = generator.integers(len(self._counts), size=size)
        places = (generator.random(size) * self._counts[classes]).astype(int)
        return self._by_class[self._starts[classes] + places]


class ByImage:
    """Goes through all images in a random order, then again in another one.

    Every image has the same weight.
    """

    def __init__(self, labels, seed):
        """Args: labels, int array [images], of which only the length counts; seed, int."""
        self._count, self._seed = len(labels), seed
        self._epoch, self._order = None, None

    def batch(self, step, size):
        """Returns int array [size], indices of images."""
        first = step * size
        return np.array([self._at(position) for position in range(first, first + size)])

    def _at(self, position):
        epoch, place = divmod(position, self._count)
        if epoch != self._epoch:
            generator = np.random.default_rng([self._seed, epoch])
            self._epoch, self._order = epoch, generator.permutation(self._count)
        return self._order[place]


SAMPLINGS = {"class": ByClass, "image": ByImage}
