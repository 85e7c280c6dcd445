"""Reads a net's weights from the files of any Keras version, by the net's own variable names.

It supports four layouts: Keras 2 and the published files (`Conv1/Conv1/kernel:0`); whole models
(`model_weights/Conv1/...`); Keras 3's `.weights.h5`, in which `layers/conv2d_7/vars/0` gives a
layer's position but not its name; and `.keras`, a zip file that contains such a file. The net may
be part of a larger model; other weights in the file are ignored.

Files are not trusted: they may contain references, strings and links instead of numbers.
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
# Keras 3's names of the layer types, each with a variable that only this type has.
_KINDS = {
    "depthwise_kernel": "depthwise_conv2d",
    "kernel": "conv2d",
    "moving_mean": "batch_normalization",
}
_NUMBERED = re.compile(
    r"(?P<container>(?:.*/)?)(?:layers|_layer_checkpoint_dependencies)/(?P<key>[^/]+/vars/\d+)"
)


def shapes(path: str | os.PathLike, remedy: str) -> list[tuple[int, ...]]:
    """Returns the shapes of all weight arrays in a file.

    Args:
        path: the file.
        remedy: what the user can do about an unusable file, for the error message.

    Raises:
        UsageError: the file cannot be read.
    """
    with _opened(path, remedy) as file:
        return [dataset.shape for dataset in _datasets(file).values()]


def read(
    path: str | os.PathLike, wanted: Mapping[str, Sequence[int]], remedy: str
) -> dict[str, np.ndarray]:
    """Returns the weights of a net, float32 arrays by name.

    Args:
        path: the file.
        wanted: the shape of each array by its Keras 2 name (`Conv1/kernel`), in the order in which
            the net creates its layers and their variables.
        remedy: as in `shapes`.

    Raises:
        UsageError: the file cannot be read; or weights are missing, misshapen, not finite, or
            negative variances, which the message then lists.
    """
    with _opened(path, remedy) as file:
        found = _named(_datasets(file), wanted)
        _check_shapes(path, {name: list(d.shape) for name, d in found.items()}, wanted, remedy)
        values = {name: np.asarray(found[name][()], np.float32) for name in wanted}
    for fault, is_bad in _FAULTS.items():
        bad = [name for name, value in values.items() if is_bad(name, value)]
        if bad:
            raise UsageError(f"'{path}' has {fault} in {', '.join(bad)}; {remedy}")
    return values


_FAULTS = {
    "numbers that are not finite": lambda name, value: not np.isfinite(value).all(),
    "negative variances": lambda name, value: name.endswith("variance") and (value < 0).any(),
}


@contextlib.contextmanager
def _opened(path: str | os.PathLike, remedy: str) -> Iterator[h5py.File]:
    """Yields the open h5 file; turns every error into a UsageError."""
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
    """Returns the floating-point arrays in a file by their keys."""
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
    """Returns the datasets by their Keras 2 names."""
    containers: dict[str, dict[str, h5py.Dataset]] = {}
    for key, dataset in datasets.items():
        if match := _NUMBERED.fullmatch(key):
            containers.setdefault(match["container"], {})[match["key"]] = dataset
    if not containers:
        return {_name(key): dataset for key, dataset in datasets.items()}
    # A nested model numbers its own layers. Take the model whose keys fit best.
    names = _numbered_names(wanted)
    best = max(containers.values(), key=lambda keys: len(names.keys() & keys.keys()))
    return {names.get(key, key): dataset for key, dataset in best.items()}


def _numbered_names(wanted: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Returns the Keras 2 names by Keras 3's keys, such as `conv2d_7/vars/0`.

    Keras 3 numbers the layers of each type, and a layer's variables in the order of creation.
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
    """Returns `Conv1/kernel` for `Conv1/Conv1/kernel:0`, ignoring the outer groups."""
    layer, _, variable = key.removesuffix(":0").rpartition("/")
    layer = _renamed(layer.rpartition("/")[2])
    if layer.endswith("depthwise") and variable == "kernel":
        variable = "depthwise_kernel"  # Keras 3 calls it just kernel
    return f"{layer}/{variable}"


def _renamed(layer: str) -> str:
    """Returns the current name of a MobileNetV2 layer for its old name; other names are unchanged.

    In the first published files, `expanded_conv_depthwise` was called `mobl0_conv_0_depthwise`, and
    `block_3_project_BN` was called `bn3_conv_3_bn_project`.
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
        LOG.info("'%s' has unused weights: %s", path, "; ".join(surplus))
