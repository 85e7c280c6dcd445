"""Bases: frozen graphs that turn a picture into a bottleneck, a vector that says what is on it.

A frozen graph is a GraphDef whose variables have become constants. It needs no code of its own
and no checkpoint: `tf.import_graph_def` puts it into the default graph, and any of its tensors can
be fed or fetched by name.
"""

import dataclasses
import difflib
import hashlib
import json
import pathlib

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

from flowers_transfer import allowed_ops
from tutorial_support import datasets
from tutorial_support.programs import UsageError


@dataclasses.dataclass(frozen=True)
class Base:
    """Where a frozen graph takes pictures and gives bottlenecks.

    Attributes:
        jpeg_input: name of the string tensor that takes the bytes of one JPEG; None where the graph
            begins with decoded pictures.
        image_input: name of the tensor that can be fed with a batch of prepared pictures, float32
            [n, height, width, 3].
        bottleneck: name of the tensor with the batch's bottlenecks, float32 [n, k] or [n, 1, 1, k].
        size: pixels, height and width of a prepared picture.
        mean: what preparing subtracts from a pixel in [0, 255].
        scale: by what it multiplies the difference. A graph with a JPEG input does all that itself.
    """

    jpeg_input: str | None
    image_input: str
    bottleneck: str
    size: int
    mean: float
    scale: float


# The Inception-v3 of December 2015: its graph resizes a picture to 299x299 pixels, subtracts 128
# and multiplies by 1/128. `pool_3/_reshape:0` is `pool_3:0` of one picture, as a vector.
INCEPTION_2015 = Base("DecodeJpeg/contents:0", "Mul:0", "pool_3:0", 299, 128.0, 1 / 128)
INCEPTION_ARCHIVE = datasets.RemoteFile(
    "inception-2015-12-05.tgz",
    88_931_400,
    None,  # no checksum is published; the archive is checked by its size and its own CRC-32
    (
        "https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/"
        "inception-2015-12-05.tgz",
    ),
)
INCEPTION_FILE = "classify_image_graph_def.pb"

# The net of the CIFAR-10 tutorial, as its exporter writes it.
CIFAR10 = Base("DecodeJpeg/contents:0", "images:0", "bottleneck:0", 32, 0.0, 1.0)
CIFAR10_FILE = "frozen_graph.pb"


@dataclasses.dataclass(frozen=True)
class AttachedBase:
    """The tensors of a base in the default graph.

    Attributes:
        contents: string scalar placeholder for the bytes of one JPEG.
        decoded: uint8 [height, width, 3]; can be fed in place of `contents`.
        prepared: float32 [1, size, size, 3], the picture as the net takes it.
        images: float32 [n, size, size, 3], a placeholder whose default is `prepared`.
        bottlenecks: float32 [n, k].
    """

    contents: tf.Tensor
    decoded: tf.Tensor
    prepared: tf.Tensor
    images: tf.Tensor
    bottlenecks: tf.Tensor


def inception_2015():
    """Returns the path of Inception-v3's GraphDef, downloaded once.

    Raises:
        datasets.DownloadError: it is not in the cache and no mirror delivers it.
        UsageError: the archive is damaged.
    """
    folder = datasets.cache_folder("inception_2015")
    return datasets.fetch_unpacked(INCEPTION_ARCHIVE, folder, INCEPTION_FILE)


def cifar10():
    """Returns the path of the shipped CIFAR-10 net."""
    return datasets.sample_folder("cifar10_cnn") / CIFAR10_FILE


def described(path):
    """Returns the Base that a description beside a frozen graph states, or INCEPTION_2015.

    Args:
        path: of the frozen graph; `make_base` writes the description to the same name with .json.

    Raises:
        UsageError: the description is damaged.
    """
    path = pathlib.Path(path).with_suffix(".json")
    if not path.exists():
        return INCEPTION_2015
    try:
        return Base(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(
            f"{path}: no description of a base ({error}); write it anew with "
            "python -m flowers_transfer.make_base, or move it away"
        ) from error


def load(path, base):
    """Reads a frozen graph and checks that it is safe to run and has the base's tensors.

    Args:
        path: the file.
        base: Base.

    Returns:
        GraphDef.

    Raises:
        UsageError: the file is no GraphDef, holds ops that are not allowed, or lacks a tensor.
    """
    graph_def = tf.GraphDef()
    try:
        graph_def.ParseFromString(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise UsageError(
            f"the frozen graph '{path}' cannot be read ({error.strerror}); name another one with "
            "--base_graph"
        ) from error
    except DecodeError as error:
        raise UsageError(f"{path}: not a GraphDef in binary form; freeze the graph anew") from error
    allowed_ops.check(graph_def, path)
    names = {node.name for node in graph_def.node}
    for tensor in (base.jpeg_input, base.image_input, base.bottleneck):
        if tensor is not None and _op(tensor) not in names:
            raise UsageError(_missing(path, tensor, names))
    return graph_def


def _op(tensor):
    return tensor.partition(":")[0]


def _missing(path, tensor, names):
    nearest = difflib.get_close_matches(_op(tensor), sorted(names), n=3, cutoff=0.3)
    hint = ", ".join(f"{name}:0" for name in nearest) or "nothing alike"
    return (
        f"{path}: has no tensor '{tensor}'; the nearest names in it: {hint}; name the right ones "
        "with --jpeg_tensor, --image_tensor and --bottleneck_tensor"
    )


def digest(path, base):
    """Returns 16 hexadecimal digits that stand for a graph and the way it is used."""
    content = hashlib.sha256(pathlib.Path(path).read_bytes())
    content.update(json.dumps(dataclasses.asdict(base), sort_keys=True).encode())
    return content.hexdigest()[:16]


def attach(graph_def, base):
    """Imports a base into the default graph, which must not have its op names yet.

    The graph is imported in two pieces, for the way from a JPEG's bytes to the prepared picture
    handles one picture at a time, and what follows takes a batch. Fed with `contents`, the whole
    works for one picture.

    Args:
        graph_def: from `load`.
        base: Base.

    Returns:
        AttachedBase.

    Raises:
        UsageError: the graph does not fit the description.
    """
    try:
        if base.jpeg_input is None:
            contents, decoded, prepared = preparation(base.size, base.mean, base.scale)
        else:
            contents, decoded, prepared = _own_preparation(graph_def, base)
        images = tf.placeholder_with_default(prepared, [None, *prepared.shape[1:]], "prepared")
        net = tf.graph_util.extract_sub_graph(graph_def, [_op(base.bottleneck)])
        (bottlenecks,) = tf.import_graph_def(
            net, {base.image_input: images}, [base.bottleneck], name="base"
        )
    except (ValueError, tf.errors.OpError) as error:
        raise UsageError(
            f"the frozen graph cannot be used with {base}: {str(error).splitlines()[0]}; describe "
            "it by --jpeg_tensor, --image_tensor, --bottleneck_tensor and --image_size"
        ) from error
    size = bottlenecks.shape[1:].num_elements()
    if size is None:
        raise UsageError(
            f"'{base.bottleneck}' has the shape {bottlenecks.shape}, of unknown size; name another "
            "--bottleneck_tensor"
        )
    return AttachedBase(
        contents, decoded, prepared, images, tf.reshape(bottlenecks, [-1, size], "bottleneck")
    )


def _own_preparation(graph_def, base):
    """Imports what leads from the JPEG input to the image input; names stay as they are."""
    pruned = tf.graph_util.extract_sub_graph(graph_def, [_op(base.image_input)])
    if _op(base.jpeg_input) not in {node.name for node in pruned.node}:
        raise ValueError(f"'{base.image_input}' does not follow from '{base.jpeg_input}'")
    contents, prepared = tf.import_graph_def(
        pruned, return_elements=[base.jpeg_input, base.image_input], name=""
    )
    decoders = [op for op in contents.consumers() if op.outputs and op.outputs[0].dtype == tf.uint8]
    if not decoders:
        raise ValueError(f"'{base.jpeg_input}' leads to no op that decodes a picture")
    if prepared.shape.rank != 4:
        raise ValueError(f"'{base.image_input}' has the shape {prepared.shape}, not [n, h, w, 3]")
    return contents, decoders[0].outputs[0], prepared


def preparation(size, mean, scale):
    """Adds the way from a JPEG's bytes to a prepared picture, as the 2015 graph has it.

    Args:
        size: pixels.
        mean, scale: as in Base.

    Returns:
        (contents, decoded, prepared), as in AttachedBase.
    """
    contents = tf.placeholder(tf.string, (), "DecodeJpeg/contents")
    decoded = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
    picture = tf.expand_dims(tf.cast(decoded, tf.float32, "Cast"), 0, "ExpandDims")
    resized = tf.image.resize_bilinear(picture, [size, size], name="ResizeBilinear")
    centred = tf.subtract(resized, np.float32(mean), "Sub")
    return contents, decoded, tf.multiply(centred, np.float32(scale), "Mul")
