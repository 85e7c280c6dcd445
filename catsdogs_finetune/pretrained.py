"""Puts Keras' h5 files of weights into a graph's variables.

Three layouts are read: that of Keras 2 and of Keras' published files (`Conv1/Conv1/kernel:0`); that
of whole models (`model_weights/Conv1/...`); and that of Keras 3's `.weights.h5`, where
`layers/conv2d_7/vars/0` keeps no layer's name but its place. What belongs to a net's top is left
out.
"""

import h5py
import numpy as np
import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints
from tutorial_support.programs import LOG, UsageError

# Keras 3 numbers a layer's variables in the order in which it makes them.
_NUMBERED = {
    "conv2d": ("kernel",),
    "depthwise_conv2d": ("depthwise_kernel",),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


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
    try:
        with h5py.File(path) as file:
            datasets = _datasets(file, wanted, path)
            _check_shapes(path, {name: list(d.shape) for name, d in datasets.items()}, wanted)
            values = {name: np.asarray(datasets[name], np.float32) for name in wanted}
    except OSError as error:
        raise UsageError(
            f"--weights: '{path}' cannot be read as an h5 file ({str(error).splitlines()[0]}); "
            "name a file of MobileNetV2's weights"
        ) from error
    infinite = [name for name, value in values.items() if not np.isfinite(value).all()]
    if infinite:
        raise UsageError(
            f"--weights: '{path}' holds numbers that are not finite in {', '.join(infinite)}; name "
            "another file"
        )
    return values


def assign(sess, values):
    """Gives variables of the session's graph their values, without a constant in the graph.

    Each variable's initializer is run with its input fed.

    Args:
        sess: tf.Session.
        values: from `read`, of variables in the default graph.
    """
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    initializers = [variables[name].initializer for name in values]
    feed = {op.inputs[1]: value for op, value in zip(initializers, values.values(), strict=True)}
    sess.run(initializers, feed)


def _datasets(file, wanted, path):
    """Returns dict from a variable's name to its dataset; the net's top included."""
    found = {}

    def visit(key, item):
        if isinstance(item, h5py.Dataset) and not key.startswith("optimizer"):
            if item.external or item.is_virtual:
                raise UsageError(f"--weights: '{path}' refers to other files; name a plain one")
            found[key] = item

    file.visititems(visit)
    if "layers" in file:
        numbered = _numbered_names(wanted)
        return {numbered.get(key, key): dataset for key, dataset in found.items()}
    return {_name(key): dataset for key, dataset in found.items()}


def _name(key):
    """Returns `Conv1/kernel` for `Conv1/Conv1/kernel:0`, whatever groups lie before."""
    layer, _, variable = key.removesuffix(":0").rpartition("/")
    layer = layer.rpartition("/")[2]
    if layer.endswith("depthwise") and variable == "kernel":
        variable = "depthwise_kernel"  # Keras 3 calls both kinds just kernel
    return f"{layer}/{variable}"


def _numbered_names(wanted):
    """Returns dict from Keras 3's keys, such as `layers/conv2d_7/vars/0`, to names."""
    names = {}
    for kind, variables in _NUMBERED.items():
        layers = [name.rpartition("/")[0] for name in wanted if name.endswith(f"/{variables[0]}")]
        for number, layer in enumerate(layers):
            folder = f"{kind}_{number}" if number else kind
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
