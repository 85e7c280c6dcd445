"""Finds Keras' h5 files of weights and puts them into a graph's variables.

Three layouts are read: that of Keras 2 and of Keras' published files (`Conv1/Conv1/kernel:0`); that
of whole models (`model_weights/Conv1/...`); and that of Keras 3's `.weights.h5`, where
`layers/conv2d_7/vars/0` keeps no layer's name but its place. Some published files have the layers'
first names (`mobl1_conv_1_expand` for `block_1_expand`). What belongs to a net's top is left out.
"""

import collections
import contextlib
import hashlib
import pathlib
import re

import h5py
import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2
from tutorial_support import checkpoints, datasets
from tutorial_support.programs import LOG, UsageError

IMAGENET, CIFAR10 = ("imagenet", "cifar10")
SHIPPED_ALPHA = 0.35
SIZES = (96, 128, 160, 192, 224)  # pixels, for which weights from ImageNet are published
_URLS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/",
    "https://github.com/JonathanCMitchell/mobilenet_v2_keras/releases/download/v1.1/",
)
# What is known of the published files: their bytes, by alpha.
_BYTES = {0.35: 2_019_640, 1.0: 9_406_464}

# Keras 3 numbers layers by their kind, and a layer's variables in the order in which it makes them.
_KINDS = {
    "conv2d": ("(^Conv1|^Conv_1|_expand|_project)$", ["kernel"]),
    "depthwise_conv2d": ("_depthwise$", ["depthwise_kernel"]),
    "batch_normalization": (
        "(^bn_Conv1|_BN|_bn)$",
        ["gamma", "beta", "moving_mean", "moving_variance"],
    ),
}


def published(alpha, size):
    """Returns the datasets.RemoteFile of the weights from ImageNet; `size` one of SIZES."""
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
    return datasets.RemoteFile(name, _BYTES.get(alpha), None, tuple(url + name for url in _URLS))


def shipped():
    """Returns the path of the weights that ship with the package: alpha 0.35, from CIFAR-10."""
    return datasets.sample_folder("mobilenet_v2") / f"cifar10_{SHIPPED_ALPHA}.weights.h5"


def find(name, alpha, size):
    """Returns the path of a file of weights.

    Args:
        name: IMAGENET, which is downloaded once; CIFAR10, which is shipped; a file; or None for
            the first of them that can be had.
        alpha: float or None, the width that is wanted, of ALPHAS; of IMAGENET, None is 1.
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
        return datasets.fetch(remote, datasets.cache_folder("mobilenet_v2"))
    except datasets.DownloadError as error:
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


def alpha_of(path):
    """Returns the width of the net whose weights a file holds, one of mobilenet_v2.ALPHAS.

    Raises:
        UsageError: the file cannot be read, or no width goes with it.
    """
    with _opened(path) as file:
        shapes = {name: item.shape for name, item in _datasets(file, path).items()}
    for alpha in mobilenet_v2.ALPHAS:
        blocks = mobilenet_v2.blocks(alpha)
        kernels = [shapes.get(f"{block.prefix}project/kernel", (0,)) for block in blocks]
        if [kernel[-1] for kernel in kernels] == [block.channels for block in blocks]:
            return alpha
    raise UsageError(
        f"--weights: '{path}' holds no MobileNetV2 of a width in {mobilenet_v2.ALPHAS}; name "
        "another file, or its width with --alpha"
    )


def digest(path):
    """Returns a string that differs between files of weights.

    Raises:
        UsageError: the file cannot be read.
    """
    with _opened(path):
        return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:12]


def read(path, wanted):
    """Returns the weights in an h5 file that a graph wants: dict from name to float32 array.

    Args:
        path: the file.
        wanted: dict from name to shape, in the order of the net's layers; for example
            {v.op.name: v.shape.as_list() for v in tf.global_variables()}.

    Raises:
        UsageError: the file is none of the three layouts; or weights are missing, misshapen or
            not finite: then the message lists them.
    """
    with _opened(path) as file:
        found = _datasets(file, path)
        _check_shapes(path, {name: list(d.shape) for name, d in found.items()}, wanted)
        values = {name: np.asarray(found[name], np.float32) for name in wanted}
    infinite = [name for name, value in values.items() if not np.isfinite(value).all()]
    if infinite:
        raise UsageError(
            f"--weights: '{path}' holds numbers that are not finite in {', '.join(infinite)}; name "
            "another file"
        )
    return values


def fill_feed_dict(path, variables):
    """Returns what to feed when variables are initialized, so that they take the values in a file.

    Args:
        path: the file.
        variables: of the default graph.

    Raises:
        UsageError: as of `read`.
    """
    return initial_values(read(path, {v.op.name: v.shape.as_list() for v in variables}))


def initial_values(values):
    """Returns the same for values that are there: so no weight is a constant in the graph.

    Args:
        values: dict from the name of a variable in the default graph to its value.
    """
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    return {variables[name].initializer.inputs[1]: value for name, value in values.items()}


@contextlib.contextmanager
def _opened(path):
    """Yields an h5py.File; what cannot be read of it is a UsageError."""
    try:
        with h5py.File(path) as file:
            yield file
    except OSError as error:
        raise UsageError(
            f"--weights: '{path}' cannot be read as an h5 file ({str(error).splitlines()[0]}); "
            "name a file of MobileNetV2's weights"
        ) from error


def _datasets(file, path):
    """Returns dict from a variable's name to its dataset; the net's top included."""
    found = {}

    def visit(key, item):
        if isinstance(item, h5py.Dataset) and not key.startswith("optimizer"):
            if item.external or item.is_virtual:
                raise UsageError(f"--weights: '{path}' refers to other files; name a plain one")
            found[key] = item

    file.visititems(visit)
    if "layers" in file:
        numbered = _numbered_names()
        return {numbered.get(key, key): dataset for key, dataset in found.items()}
    return {_name(key): dataset for key, dataset in found.items()}


def _name(key):
    """Returns `Conv1/kernel` for `Conv1/Conv1/kernel:0`, whatever groups lie before."""
    layer, _, variable = key.removesuffix(":0").rpartition("/")
    layer = _renamed(layer.rpartition("/")[2])
    if layer.endswith("depthwise") and variable == "kernel":
        variable = "depthwise_kernel"  # Keras 3 calls both kinds just kernel
    return f"{layer}/{variable}"


def _renamed(layer):
    """Returns a layer's present name for its first one; any other name stays.

    `mobl0_conv_0_depthwise` is `expanded_conv_depthwise`, `bn3_conv_3_bn_project` is
    `block_3_project_BN`.
    """
    first = re.fullmatch(r"(mobl|bn)(\d+)_conv_\2_(?:bn_)?(expand|depthwise|project)", layer)
    if not first:
        return layer
    kind, number, part = first.groups()
    prefix = "expanded_conv" if number == "0" else f"block_{number}"
    return f"{prefix}_{part}" + "_BN" * (kind == "bn")


def _numbered_names():
    """Returns dict from Keras 3's keys, such as `layers/conv2d_7/vars/0`, to names."""
    names, count = {}, collections.Counter()
    for layer in mobilenet_v2.layer_names(1.0):  # of every width, the layers are the same
        for kind, (pattern, variables) in _KINDS.items():
            if re.search(pattern, layer):
                folder = f"{kind}_{count[kind]}" if count[kind] else kind
                count[kind] += 1
                for place, variable in enumerate(variables):
                    names[f"layers/{folder}/vars/{place}"] = f"{layer}/{variable}"
    return names


def _check_shapes(path, found, wanted):
    lines = checkpoints.compare(found, wanted)
    differences = [line.replace("the checkpoint", "the file") for line in lines]
    surplus = [line for line in differences if line.startswith("surplus")]
    if len(surplus) < len(differences):
        raise UsageError(
            f"--weights: '{path}' does not fit the net:\n  "
            + "\n  ".join(differences)
            + "\nName weights of the same --alpha."
        )
    if surplus:
        LOG.info("'%s' also holds, unused: %s", path, "; ".join(surplus))
