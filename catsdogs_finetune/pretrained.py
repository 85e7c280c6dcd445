"""Finds a file of MobileNetV2's weights and puts them into a graph's variables."""

import argparse
import collections
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, photo_input
from tutorial_support import files, h5_weights, runs
from tutorial_support.programs import LOG, UsageError, number

IMAGENET, CIFAR10 = "imagenet", "cifar10"
SHIPPED_ALPHA = 0.35
SIZES = (96, 128, 160, 192, 224)  # pixels, for which weights from ImageNet are published
_URLS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/",
    "https://github.com/JonathanCMitchell/mobilenet_v2_keras/releases/download/v1.1/",
)
# What is known of the published files: their bytes, by alpha.
_BYTES = {0.35: 2_019_640, 1.0: 9_406_464}
_REMEDY = "name a file of MobileNetV2's weights of the same --alpha with --weights"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which net is the base, and where its bottlenecks go."""
    group = parser.add_argument_group("base")
    group.add_argument(
        "--weights",
        help="An h5 or .keras file; or imagenet, downloaded once, which is taken where it can be "
        "had; or cifar10, shipped.",
    )
    group.add_argument(
        "--alpha",
        type=float,
        choices=mobilenet_v2.ALPHAS,
        help="The net's width; by default that of the weights, 1.0 for imagenet.",
    )
    group.add_argument(
        "--bottleneck_dir", help="Where bottlenecks are kept; by default in the cache."
    )
    group.add_argument(
        "--image_size",
        type=number(int, 32),
        help=f"Pixels, height and width; {photo_input.IMAGE_SIZE} by default, "
        f"{photo_input.SAMPLE_IMAGE_SIZE} for the sample.",
    )


def load(flags: argparse.Namespace, kept: dict[str, Any]) -> tuple[pathlib.Path, str]:
    """Finds the weights that the flags name, or else those of the run whose flags were kept.

    Settles `flags.weights` and `flags.alpha`, and says what it found.

    Args:
        flags: with those of `add_flags`; its `sample` and `image_size` are settled.
        kept: flags and facts of a run.

    Returns:
        the file of weights, and its `digest`, a fact that a run keeps.

    Raises:
        UsageError: there are no such weights.
    """
    name = flags.weights or _kept_name(kept) or (CIFAR10 if flags.sample else None)
    path = find(name, flags.alpha, flags.image_size)
    is_shipped = path == shipped()
    # What ships or is in the cache is kept by its name: it is found again after a move.
    flags.weights = CIFAR10 if is_shipped else name or IMAGENET
    if flags.weights not in (CIFAR10, IMAGENET):
        flags.weights = str(path.resolve())
    if flags.alpha is None:
        flags.alpha = alpha_of(path)
    what = "a net that has seen CIFAR-10" if is_shipped else f"'{path}'"
    runs.print_line(f"The base: MobileNetV2, alpha {flags.alpha}, with the weights of {what}.")
    return path, digest(path)


def _kept_name(kept: dict[str, Any]) -> str | None:
    name = kept.get("weights")
    if name and pathlib.Path(name).name == shipped().name and not pathlib.Path(name).exists():
        return CIFAR10  # an earlier version kept the place of what ships, and it has moved
    return name


def published(alpha: float, size: int) -> files.RemoteFile:
    """Returns the file of the weights from ImageNet; `size` is one of SIZES."""
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
    return files.RemoteFile(name, _BYTES.get(alpha), None, tuple(url + name for url in _URLS))


def shipped() -> pathlib.Path:
    """Returns the path of the weights that ship with the package: alpha 0.35, from CIFAR-10."""
    return files.sample_folder("mobilenet_v2") / f"cifar10_{SHIPPED_ALPHA}.weights.h5"


def find(name: str | None, alpha: float | None, size: int) -> pathlib.Path:
    """Returns the path of a file of weights.

    Args:
        name: IMAGENET, which is downloaded once; CIFAR10, which is shipped; a file; or None for
            the first of them that can be had.
        alpha: the width that is wanted, of ALPHAS; of IMAGENET, None is 1.
        size: pixels, the height and width of the pictures.

    Raises:
        UsageError: there are no such weights.
    """
    if name == CIFAR10:
        return shipped()
    if name not in (IMAGENET, None):
        return pathlib.Path(name)
    nearest = size if size in SIZES else max(SIZES)
    try:
        remote = published(1.0 if alpha is None else alpha, nearest)
        return files.fetch(remote, files.cache_folder("mobilenet_v2"))
    except files.DownloadError as error:
        if name == IMAGENET or alpha not in (None, SHIPPED_ALPHA):
            raise UsageError(
                f"the weights from ImageNet cannot be had: {error}; go online, or name a file with "
                f"--weights, or take --weights {CIFAR10} of --alpha {SHIPPED_ALPHA}"
            ) from error
        LOG.warning(
            "taking the shipped weights of a narrow net that has seen CIFAR-10's small photos, not "
            "ImageNet, because %s",
            error,
        )
    return shipped()


def alpha_of(path: str | os.PathLike) -> float:
    """Returns the width of the net whose weights a file holds, one of mobilenet_v2.ALPHAS.

    Raises:
        UsageError: the file cannot be read, or no width goes with it.
    """
    found = collections.Counter(h5_weights.shapes(path, _REMEDY))
    for alpha in mobilenet_v2.ALPHAS:
        # How wide the blocks are between their ends, as the last convolution of each tells.
        projections = collections.Counter(
            (1, 1, block.expansion * block.inputs, block.channels)
            for block in mobilenet_v2.blocks(alpha)
        )
        if projections <= found:
            return alpha
    raise UsageError(
        f"--weights: '{path}' holds no MobileNetV2 of a width in {mobilenet_v2.ALPHAS}; name "
        "another file, or its width with --alpha"
    )


def digest(path: str | os.PathLike) -> str:
    """Returns a string that differs between files of weights; raises UsageError."""
    with files.reading(path, _REMEDY):
        return files.sha256(path)[:12]


def read(path: str | os.PathLike, variables: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Returns the weights in a file that a graph wants, float32 arrays by name.

    Args:
        path: the file.
        variables: from `mobilenet_v2.weights`.

    Raises:
        UsageError: as of `h5_weights.read`.
    """
    wanted = {name: variable.shape.as_list() for name, variable in variables.items()}
    return h5_weights.read(path, wanted, _REMEDY)


def initial_values(
    variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray]
) -> dict[tf.Tensor, np.ndarray]:
    """Returns what to feed when variables are initialized, so that they begin with given values.

    An initializer is an op that assigns its input to the variable. A feed may replace any tensor,
    this input too: so no weight is a constant in the graph, and no event file grows by them.

    Args:
        variables: by name.
        values: for each of them, or for more.
    """
    return {variable.initializer.inputs[1]: values[name] for name, variable in variables.items()}
