"""The limits of the processor, to compare other figures with."""

import time

import numpy as np


def products(shapes):
    """Returns a contestant that only multiplies float32 matrices.

    Args:
        shapes: list of (rows, inner, columns), the products of one step.
    """
    random = np.random.default_rng(0)
    pairs = [
        (
            random.standard_normal((rows, inner), dtype=np.float32),
            random.standard_normal((inner, columns), dtype=np.float32),
            np.empty((rows, columns), np.float32),
        )
        for rows, inner, columns in shapes
    ]

    def work(count):
        for _ in range(count):
            for left, right, out in pairs:
                np.matmul(left, right, out=out)

    return work


def best_product():
    """Returns the floating-point operations per second of the fastest large product."""
    size = 2048
    work = products([(size, size, size)])
    work(1)
    return max(2 * size**3 / _seconds(work) for _ in range(5))


def best_copy():
    """Returns the bytes per second of a large copy, reads and writes together."""
    source = np.zeros(1 << 26, np.uint8)
    target = np.empty_like(source)

    def work(count):
        for _ in range(count):
            np.copyto(target, source)

    work(1)
    return max(2 * source.nbytes / _seconds(work) for _ in range(5))


def _seconds(work):
    started = time.perf_counter()
    work(1)
    return time.perf_counter() - started


def dense(batch, sizes):
    """Returns the shapes of a training step's products in dense layers: forward and gradients.

    Args:
        batch: int.
        sizes: list of int, the sizes of the input and of each layer.
    """
    shapes = []
    for number, (inner, units) in enumerate(zip(sizes, sizes[1:], strict=False)):
        shapes += [(batch, inner, units), (inner, batch, units)]
        if number:  # the first layer needs no gradient of its input
            shapes.append((batch, units, inner))
    return shapes
