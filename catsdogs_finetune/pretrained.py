"""Finds a file of MobileNetV2 weights and loads it into a graph's variables."""

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
SIZES = (96, 128, 160, 192, 224)  # pixels, for which ImageNet weights are published
_URLS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/",
    "https://github.com/JonathanCMitchell/mobilenet_v2_keras/releases/download/v1.1/",
)
# Known sizes of the published files in bytes, by alpha.
_BYTES = {0.35: 2_019_640, 1.0: 9_406_464}
_REMEDY = "use --weights to name MobileNetV2 weights with the same --alpha"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the base and the folder of its bottlenecks."""
    group = parser.add_argument_group("base")
    group.add_argument(
        "--weights",
        help="An .h5 or .keras file; or imagenet, which is downloaded once; or cifar10, which "
        "ships with the package. By default imagenet, or cifar10 for the sample or if the download "
        "fails.",
    )
    group.add_argument(
        "--alpha",
        type=float,
        choices=mobilenet_v2.ALPHAS,
        help="The width of the net; by default that of the weights, 1.0 for imagenet.",
    )
    group.add_argument(
        "--bottleneck_dir", help="The folder for bottlenecks; by default one in the cache."
    )
    group.add_argument(
        "--image_size",
        type=number(int, 32),
        help=f"Height and width of images, in pixels; by default {photo_input.IMAGE_SIZE}, or "
        f"{photo_input.SAMPLE_IMAGE_SIZE} for the sample.",
    )


def load(flags: argparse.Namespace, kept: dict[str, Any]) -> tuple[pathlib.Path, str]:
    """Finds the weights that the flags name, or else those of the run that is resumed.

    Sets `flags.weights` and `flags.alpha`, and prints what it found.

    Args:
        flags: must include those of `add_flags`, after `photo_input.load` set `sample` and
            `image_size`.
        kept: flags and facts saved with the run; empty for a new one.

    Returns:
        the file of weights, and its `digest` to save with the run.

    Raises:
        UsageError: the weights are missing, or no width fits them.
    """
    name = flags.weights or _kept_name(kept) or (CIFAR10 if flags.sample else None)
    path = find(name, flags.alpha, flags.image_size)
    is_shipped = path == shipped()
    # Keep the name of shipped and cached weights, not their path, which may change.
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
        return CIFAR10  # an earlier version kept the path of the shipped file, which has moved
    return name


def published(alpha: float, size: int) -> files.RemoteFile:
    """Returns the remote file of the ImageNet weights.

    Args:
        alpha: one of mobilenet_v2.ALPHAS.
        size: pixels, one of SIZES.
    """
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
    return files.RemoteFile(name, _BYTES.get(alpha), None, tuple(url + name for url in _URLS))


def shipped() -> pathlib.Path:
    """Returns the path of the shipped weights: alpha 0.35, trained on CIFAR-10."""
    return files.sample_folder("mobilenet_v2") / f"cifar10_{SHIPPED_ALPHA}.weights.h5"


def find(name: str | None, alpha: float | None, size: int) -> pathlib.Path:
    """Returns the path of a file of weights.

    Args:
        name: IMAGENET, which is downloaded once; CIFAR10, which is shipped; a path; or None for
            IMAGENET, with CIFAR10 as the fallback.
        alpha: one of ALPHAS; None means 1 for IMAGENET.
        size: height and width of the pictures, in pixels.

    Raises:
        UsageError: the download fails, and the shipped weights do not fit the request.
    """
    if name == CIFAR10:
        return shipped()
    if name not in (IMAGENET, None):
        return pathlib.Path(name)
    # A convolution does not care about the image size, but weights suit the size they were trained
    # with best. Keras also takes those of 224 pixels for any other size.
    nearest = size if size in SIZES else max(SIZES)
    try:
        remote = published(1.0 if alpha is None else alpha, nearest)
        return files.fetch(remote, files.cache_folder("mobilenet_v2"))
    except files.DownloadError as error:
        if name == IMAGENET or alpha not in (None, SHIPPED_ALPHA):
            raise UsageError(
                f"cannot download the ImageNet weights: {error}; go online, name a file with "
                f"--weights, or use --weights {CIFAR10} --alpha {SHIPPED_ALPHA}"
            ) from error
        LOG.warning(
            "using the shipped weights of a narrow net trained on CIFAR-10's small photos instead "
            "of ImageNet, because %s",
            error,
        )
    return shipped()


def alpha_of(path: str | os.PathLike) -> float:
    """Returns the width of the net in a file of weights, one of mobilenet_v2.ALPHAS.

    Raises:
        UsageError: the file cannot be read, or holds no MobileNetV2 of these widths.
    """
    found = collections.Counter(h5_weights.shapes(path, _REMEDY))
    for alpha in mobilenet_v2.ALPHAS:
        # The shape of each block's projection, its last convolution, depends on alpha.
        projections = collections.Counter(
            (1, 1, block.expansion * block.inputs, block.channels)
            for block in mobilenet_v2.blocks(alpha)
        )
        if projections <= found:
            return alpha
    raise UsageError(
        f"--weights: '{path}' holds no MobileNetV2 of a width in {mobilenet_v2.ALPHAS}; name "
        "another file, or set the width with --alpha"
    )


def digest(path: str | os.PathLike) -> str:
    """Returns 12 hexadecimal digits that identify a file of weights.

    Raises:
        UsageError: the file cannot be read.
    """
    # The digest of the content, not the path: a file may be replaced under the same name.
    with files.reading(path, _REMEDY):
        return files.sha256(path)[:12]


def read(path: str | os.PathLike, variables: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Reads the values of a graph's variables from a file: float32 arrays by name.

    Args:
        path: the file of weights.
        variables: from `mobilenet_v2.weights`.

    Raises:
        UsageError: the file is damaged, or does not hold all variables in these shapes.
    """
    # Both sides use Keras' names, so the file's values need no table of names to find their place.
    wanted = {name: variable.shape.as_list() for name, variable in variables.items()}
    return h5_weights.read(path, wanted, _REMEDY)


def initial_values(
    variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray]
) -> dict[tf.Tensor, np.ndarray]:
    """Returns a feed dictionary that gives variables these values when they are initialized.

    An initializer is an op that assigns its input tensor to the variable. Feeding replaces that
    tensor. The weights never become constants in the graph, so event files stay small.

    Args:
        variables: the variables by name.
        values: the values by name; other names are ignored.
    """
    # `variable.initializer` is the assign op; its inputs are the variable's handle and the value.
    return {variable.initializer.inputs[1]: values[name] for name, variable in variables.items()}
