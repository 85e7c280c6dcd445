"""Reads a net's weights from Keras' files, whichever Keras wrote them, by the net's own names.

Four layouts are read: that of Keras 2 and of the published files (`Conv1/Conv1/kernel:0`); that of
whole models (`model_weights/Conv1/...`); that of Keras 3's `.weights.h5`, where
`layers/conv2d_7/vars/0` keeps no layer's name but its place; and a `.keras` file, which is a zip
file with one of those in it. The net may stand alone in the file or be a part of a larger model:
what else the file holds is left out.

A file is not trusted: it may hold references, strings and links in place of numbers.
"""

import contextlib
import io
import itertools
import os
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence

import h5py
import numpy as np

from tutorial_support import checkpoints, files
from tutorial_support.programs import LOG, UsageError

_LARGEST = 1 << 30  # bytes of weights in a .keras file
# What Keras 3 calls a layer, by a variable that only layers of this kind have.
_KINDS = {
    "depthwise_kernel": "depthwise_conv2d",
    "kernel": "conv2d",
    "moving_mean": "batch_normalization",
}
_NUMBERED = re.compile(
    r"(?P<container>(?:.*/)?)(?:layers|_layer_checkpoint_dependencies)/(?P<key>[^/]+/vars/\d+)"
)


def shapes(path: str | os.PathLike, remedy: str) -> list[tuple[int, ...]]:
    """Returns the shape of every array of weights in a file, whatever its name.

    Args:
        path: the file.
        remedy: what the user can do about a file that cannot be used.

    Raises:
        UsageError: the file cannot be read.
    """
    with _opened(path, remedy) as file:
        return [dataset.shape for dataset in _datasets(file).values()]


def read(
    path: str | os.PathLike, wanted: Mapping[str, Sequence[int]], remedy: str
) -> dict[str, np.ndarray]:
    """Returns the weights that a net wants, float32 arrays by name.

    Args:
        path: the file.
        wanted: the shape of each, by its name in Keras 2 (`Conv1/kernel`), in the order in which
            the net's layers and their variables are made.
        remedy: as of `shapes`.

    Raises:
        UsageError: the file cannot be read; or weights are missing, misshapen, not finite, or a
            negative variance: then the message lists them.
    """
    with _opened(path, remedy) as file:
        found = _named(_datasets(file), wanted)
        _check_shapes(path, {name: list(d.shape) for name, d in found.items()}, wanted, remedy)
        values = {name: np.asarray(found[name][()], np.float32) for name in wanted}
    for fault, is_bad in _FAULTS.items():
        bad = [name for name, value in values.items() if is_bad(name, value)]
        if bad:
            raise UsageError(f"'{path}' holds {fault} in {', '.join(bad)}; {remedy}")
    return values


_FAULTS = {
    "numbers that are not finite": lambda name, value: not np.isfinite(value).all(),
    "negative variances": lambda name, value: name.endswith("variance") and (value < 0).any(),
}


@contextlib.contextmanager
def _opened(path: str | os.PathLike, remedy: str) -> Iterator[h5py.File]:
    """Yields the open h5 file; whatever goes wrong is a UsageError."""
    path = pathlib.Path(path)
    with files.reading(path, remedy), path.open("rb") as stream:
        source: io.IOBase = stream
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as packed, packed.open("model.weights.h5") as member:
                source = io.BytesIO(member.read(_LARGEST + 1))
            if source.seek(0, io.SEEK_END) > _LARGEST:
                raise ValueError("its weights are too large")
        source.seek(0)
        with h5py.File(source, "r") as file:
            yield file


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Returns the arrays of floating-point numbers in a file by their keys."""
    found = {}

    def visit(key: str, item: h5py.HLObject) -> None:
        if not isinstance(item, h5py.Dataset) or key.startswith("optimizer"):
            return
        if item.external or item.is_virtual:
            raise ValueError("it refers to other files")
        if item.dtype.kind == "f" and item.shape is not None:
            found[key] = item

    file.visititems(visit)
    return found


def _named(
    datasets: Mapping[str, h5py.Dataset], wanted: Mapping[str, Sequence[int]]
) -> dict[str, h5py.Dataset]:
    """Returns datasets by the names of Keras 2."""
    containers: dict[str, dict[str, h5py.Dataset]] = {}
    for key, dataset in datasets.items():
        if match := _NUMBERED.fullmatch(key):
            containers.setdefault(match["container"], {})[match["key"]] = dataset
    if not containers:
        return {_name(key): dataset for key, dataset in datasets.items()}
    # A model that is a layer of another one numbers its layers itself: take the one that fits best.
    names = _numbered_names(wanted)
    best = max(containers.values(), key=lambda keys: len(names.keys() & keys.keys()))
    return {names.get(key, key): dataset for key, dataset in best.items()}


def _numbered_names(wanted: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Returns names by Keras 3's keys, such as `conv2d_7/vars/0`.

    Keras 3 numbers layers by their kind, and a layer's variables in the order of their making.
    """
    names: dict[str, str] = {}
    counts = {kind: itertools.count() for kind in _KINDS.values()}
    for _, group in itertools.groupby(wanted, key=lambda name: name.rpartition("/")[0]):
        members = list(group)
        variables = [name.rpartition("/")[2] for name in members]
        kind = next(kind for variable, kind in _KINDS.items() if variable in variables)
        number = next(counts[kind])
        layer = f"{kind}_{number}" if number else kind
        names |= {f"{layer}/vars/{place}": name for place, name in enumerate(members)}
    return names


def _name(key: str) -> str:
    """Returns `Conv1/kernel` for `Conv1/Conv1/kernel:0`, whatever groups lie before."""
    layer, _, variable = key.removesuffix(":0").rpartition("/")
    layer = _renamed(layer.rpartition("/")[2])
    if layer.endswith("depthwise") and variable == "kernel":
        variable = "depthwise_kernel"  # Keras 3 calls both kinds just kernel
    return f"{layer}/{variable}"


def _renamed(layer: str) -> str:
    """Returns the present name of a layer of MobileNetV2 for its first one; others stay.

    In files that were published first, `mobl0_conv_0_depthwise` is `expanded_conv_depthwise`, and
    `bn3_conv_3_bn_project` is `block_3_project_BN`.
    """
    first = re.fullmatch(r"(mobl|bn)(\d+)_conv_\2_(?:bn_)?(expand|depthwise|project)", layer)
    if not first:
        return layer
    kind, number, part = first.groups()
    prefix = "expanded_conv" if number == "0" else f"block_{number}"
    return f"{prefix}_{part}" + "_BN" * (kind == "bn")


def _check_shapes(
    path: str | os.PathLike,
    found: Mapping[str, list[int]],
    wanted: Mapping[str, Sequence[int]],
    remedy: str,
) -> None:
    lines = checkpoints.compare(found, {name: list(shape) for name, shape in wanted.items()})
    differences = [line.replace("the checkpoint", "the file") for line in lines]
    surplus = [line for line in differences if line.startswith("surplus")]
    if len(surplus) < len(differences):
        raise UsageError(
            f"'{path}' does not fit the net:\n  " + "\n  ".join(differences) + f"\n{remedy}"
        )
    if surplus:
        LOG.info("'%s' also holds, unused: %s", path, "; ".join(surplus))
