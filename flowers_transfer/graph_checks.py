"""Checks a user's frozen graph before any of it runs.

A GraphDef is a program. A few hundred bytes can ask for gigabytes, open files, or recurse without
end. So only ops that compute are allowed, and no functions. The graph is imported in layers.
TensorFlow's shape inference runs at import and gives the size of every tensor before any memory is
allocated, so each layer is checked before the next is imported.
"""

import collections
import graphlib
import itertools
import math
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from tutorial_support import files
from tutorial_support.programs import UsageError

LARGEST_FILE = 1 << 30  # bytes
LARGEST_UNPACKED = 1 << 26  # bytes that constants may take beyond the size of the file
MOST_MEMORY = 1 << 30  # bytes of all tensors in memory at the same time
MOST_PICTURES = 16  # the largest batch for a base
_BATCH_MEMORY = 1 << 26  # bytes of tensors that such a batch should need at the same time
MOST_NODES = 50_000
_TRIED_SHAPE = (48, 64, 3)  # of the test picture
_LARGE_SHAPE = (2048, 2048, 3)  # of the largest picture that `pictures` delivers
_REMEDY = "name a GraphDef in binary form with --base_graph"


# Some ops read and write files, run Python or open connections. Those listed here only compute
# outputs from inputs.
_ALLOWED_OPS = """
    Const Placeholder PlaceholderV2 PlaceholderWithDefault Identity IdentityN NoOp Assert
    StopGradient PreventGradient CheckNumerics EnsureShape Snapshot Switch RefSwitch Merge
    Cast Bitcast

    Reshape Shape ShapeN Size Rank Squeeze ExpandDims Pack Unpack Concat ConcatV2 ConcatOffset Split
    SplitV Slice StridedSlice Gather GatherV2 GatherNd Transpose Pad PadV2 MirrorPad Tile Fill Range
    BroadcastTo BroadcastArgs OnesLike ZerosLike Reverse ReverseV2 SpaceToDepth DepthToSpace
    SpaceToBatch SpaceToBatchND BatchToSpace BatchToSpaceND OneHot Where Select SelectV2

    Add AddV2 AddN Sub Mul Div RealDiv FloorDiv DivNoNan FloorMod Mod Neg Abs Sign Reciprocal Inv
    Square SquaredDifference Sqrt Rsqrt Pow Exp Expm1 Log Log1p Sin Cos Tan Tanh Sigmoid Erf Floor
    Ceil Round Rint Maximum Minimum ClipByValue Mean Sum Prod Max Min All Any ArgMax ArgMin TopK
    TopKV2 InTopK InTopKV2 Cumsum Cumprod MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum Less
    LessEqual Greater GreaterEqual Equal NotEqual LogicalAnd LogicalOr LogicalNot IsFinite IsNan
    IsInf L2Loss

    Conv2D DepthwiseConv2dNative DepthwiseConv2d Conv2DBackpropInput FusedPadConv2D
    FusedResizeAndPadConv2D BiasAdd BiasAddV1 MaxPool MaxPoolV2 AvgPool Relu Relu6 LeakyRelu Elu
    Selu Softplus Softsign Softmax LogSoftmax LRN BatchNormWithGlobalNormalization FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 Dilation2D FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsPerChannel Dequantize QuantizeV2 QuantizeAndDequantizeV2 _FusedConv2D
    _FusedMatMul _FusedDepthwiseConv2dNative _FusedBatchNormEx

    DecodeJpeg DecodePng DecodeBmp DecodeGif DecodeImage DecodeAndCropJpeg ResizeBilinear
    ResizeBicubic ResizeArea ResizeNearestNeighbor ScaleAndTranslate CropAndResize
    ExtractImagePatches AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV HSVToRGB
"""


def read(path: str | os.PathLike) -> tf.GraphDef:
    """Reads a GraphDef and checks its nodes; returns it without functions and devices.

    Raises:
        UsageError: the file is not a GraphDef, or too large; it holds an op that may do more than
            compute; or its constants are much larger than the file.
    """
    with files.reading(path, _REMEDY):
        size = pathlib.Path(path).stat().st_size
        if size > LARGEST_FILE:
            raise ValueError(f"its {size} bytes are more than {LARGEST_FILE}")
        graph_def = tf.GraphDef.FromString(pathlib.Path(path).read_bytes())
        if len(graph_def.node) > MOST_NODES:
            raise ValueError(f"its {len(graph_def.node)} nodes are more than {MOST_NODES}")
        _check_ops(graph_def, path)
        constants = sum(_constant_bytes(node) for node in graph_def.node if node.op == "Const")
        if constants > size + LARGEST_UNPACKED:
            raise ValueError(f"its constants would take {constants} bytes, and the file has {size}")
        _simplify(graph_def)
        return graph_def


def _check_ops(graph_def: tf.GraphDef, path: str | os.PathLike) -> None:
    allowed = set(_ALLOWED_OPS.split())
    refused = {node.op: node.name for node in reversed(graph_def.node) if node.op not in allowed}
    if refused:
        listed = ", ".join(f"{op} ('{name}')" for op, name in sorted(refused.items()))
        raise UsageError(
            f"{path}: refused, because it holds ops that may do more than compute: {listed}; "
            "freeze a graph that ends before them, without functions"
        )


def _simplify(graph_def: tf.GraphDef) -> None:
    """Removes from a GraphDef what does not affect values."""
    graph_def.ClearField("library")  # no allowed op calls a function
    waits = {f"^{node.name}" for node in graph_def.node if node.op in ("NoOp", "Assert")}
    for node in graph_def.node:
        inputs = [text for text in node.input if text not in waits]
        del node.input[:]
        node.input.extend(inputs)
        if node.op == "PlaceholderWithDefault":  # passes its input on unless it is fed
            node.op = "Identity"
            node.attr["T"].type = node.attr["dtype"].type
            del node.attr["dtype"], node.attr["shape"]
        node.device = ""  # this machine may not have the device
        node.attr.pop("_class", None)  # names a node to be placed with, which may be missing


def _constant_bytes(node: tf.NodeDef) -> int:
    value = node.attr["value"].tensor
    count = math.prod(max(dim.size, 0) for dim in value.tensor_shape.dim)
    return count * max(tf.as_dtype(value.dtype).size or 0, 1)


def batch_size(graph_def: tf.GraphDef, base: Any) -> int | None:
    """Tests a base on a picture of noise; returns how many pictures to run it on at once.

    The larger the base's tensors, the smaller the batch, from MOST_PICTURES down to 2. None means
    that the base takes only single pictures.

    Args:
        graph_def: from `read`.
        base: the base_graph.Base that describes it.

    Raises:
        ValueError, tf.errors.OpError: the graph does not work with this description.
    """
    noise = np.random.default_rng(0).integers(0, 256, _TRIED_SHAPE, np.uint8)
    square = np.resize(noise, (1, base.size, base.size, 3)).astype(np.float32)
    prepared = (square - np.float32(base.mean)) * np.float32(base.scale)
    if base.jpeg_input is None:
        _check_declared(graph_def, base)
    else:
        decoded = decoder(graph_def, base.jpeg_input)
        with tf.Graph().as_default():
            large = tf.placeholder(tf.uint8, _LARGE_SHAPE)
            _imported(graph_def, base.image_input, {decoded: large})
        prepared, _ = _tried(graph_def, base.image_input, {decoded: noise})
        if prepared.ndim != 4 or prepared.shape[0] != 1 or prepared.shape[3] != 3:
            raise ValueError(
                f"'{base.image_input}' has the shape {list(prepared.shape)}, not [1, h, w, 3]"
            )
    vector, memory = _tried(graph_def, base.bottleneck, {base.image_input: prepared})
    if vector.size < 2 or (vector.ndim > 1 and len(vector) > 1):
        raise ValueError(
            f"'{base.bottleneck}' has the shape {list(vector.shape)} for one picture, not [1, k]"
        )
    for name, value in {base.image_input: prepared, base.bottleneck: vector}.items():
        if not np.isfinite(value).all():
            raise ValueError(f"'{name}' has values that are not finite for a picture of noise")
    with tf.Graph().as_default():
        two = tf.placeholder(tf.float32, [2, *prepared.shape[1:]])
        try:
            found, _ = _imported(graph_def, base.bottleneck, {base.image_input: two})
        except ValueError:
            return None
        # The shape differs if a base flattens the batch or is built for a batch of 1.
        if vector.ndim == 1 or found.shape.as_list() != [2, *vector.shape[1:]]:
            return None
    # At least two: for a single picture TensorFlow chooses other kernels, whose results differ in
    # the last bits from those of all larger batches.
    return min(max(2, _BATCH_MEMORY // max(1, memory)), MOST_PICTURES)


def decoder(graph_def: tf.GraphDef, jpeg_input: str) -> str:
    """Returns the name of the decoder's output, uint8 [height, width, 3].

    Raises:
        ValueError: no op decodes `jpeg_input`, or it decodes to other than 3 channels.
    """
    for node in graph_def.node:
        if node.op.startswith("Decode") and [_key(text) for text in node.input] == [
            _key(jpeg_input)
        ]:
            channels = node.attr["channels"].i
            if channels not in (0, 3):
                raise ValueError(f"'{node.name}' decodes pictures to {channels} channels, not 3")
            return f"{node.name}:0"
    raise ValueError(f"'{jpeg_input}' leads to no op that decodes a picture")


def part(graph_def: tf.GraphDef, wanted: str, fed: Collection[str]) -> tf.GraphDef:
    """Returns the part of a graph that computes one tensor from others.

    Args:
        graph_def: the whole graph.
        wanted: the name of the tensor to compute.
        fed: the names of the tensors that are given.

    Raises:
        ValueError: a node is missing, or a placeholder that is not in `fed` is needed.
    """
    every = {node.name: node for node in graph_def.node}
    given = {_key(name) for name in fed}
    needed: dict[str, tf.NodeDef] = {}
    keys = [_key(wanted)]
    while keys:
        key = keys.pop()
        name = key[0]
        if key in given or name in needed:
            continue
        if name not in every:
            raise ValueError(f"node '{name}' is missing, but others need it")
        if every[name].op in ("Placeholder", "PlaceholderV2"):
            raise ValueError(f"'{name}' would have to be fed; freeze the graph with its value")
        needed[name] = every[name]
        keys += [_key(text) for text in every[name].input]
    return tf.GraphDef(node=needed.values(), versions=graph_def.versions)


def _check_declared(graph_def: tf.GraphDef, base: Any) -> None:
    """Compares the declared shape of the image input with the shape that will be fed."""
    (node,) = (node for node in graph_def.node if node.name == _key(base.image_input)[0])
    if node.op.startswith("Placeholder") and "shape" in node.attr:
        declared = tf.TensorShape(node.attr["shape"].shape)
        fed = [1, base.size, base.size, 3]
        # Graphs from before 2017 declare a scalar if the shape is unknown.
        if declared.rank and not declared.is_compatible_with(fed):
            raise ValueError(f"'{base.image_input}' takes the shape {declared}, not {fed}")


def _tried(
    graph_def: tf.GraphDef, wanted: str, fed: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, int]:
    """Computes a tensor of a graph from the values of others; also returns its peak memory."""
    config = tf.ConfigProto(allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = True  # not worth it for one run
    with tf.Graph().as_default(), tf.Session(config=config) as sess:
        places = {
            name: tf.placeholder(value.dtype, value.shape, "fed") for name, value in fed.items()
        }
        tensor, memory = _imported(graph_def, wanted, places)
        return sess.run(tensor, {place: fed[name] for name, place in places.items()}), memory


def _imported(
    graph_def: tf.GraphDef, wanted: str, fed: Mapping[str, tf.Tensor]
) -> tuple[tf.Tensor, int]:
    """Imports the part of a graph between the fed tensors and `wanted` into the default graph.

    Returns:
        (the tensor, the peak of bytes of tensors in memory at the same time).

    Raises:
        ValueError: a placeholder is not fed; the size of a tensor is unknown; the tensors in
            memory at the same time take more than MOST_MEMORY; a filter is for grey pictures.
    """
    nodes = {node.name: node for node in part(graph_def, wanted, fed).node}
    sources = {name: [_key(text) for text in node.input] for name, node in nodes.items()}
    needed = {name: {source for source, _ in keys} & nodes.keys() for name, keys in sources.items()}
    uses = collections.Counter(itertools.chain.from_iterable(needed.values()))
    made: dict[tuple[str, int], Any] = {_key(name): tensor for name, tensor in fed.items()}
    memory: dict[str, int] = {}  # bytes of each node's outputs, until their last use
    most = 0
    sorter = graphlib.TopologicalSorter(needed)
    sorter.prepare()
    while sorter.is_active():
        layer = sorter.get_ready()
        piece = tf.GraphDef(node=[nodes[name] for name in layer], versions=graph_def.versions)
        inputs = {_text(key): made[key] for name in layer for key in sources[name]}
        for name, op in zip(layer, tf.import_graph_def(piece, inputs, layer, "tried"), strict=True):
            made |= {(name, i): output for i, output in enumerate(op.outputs)}
            made[name, -1] = op.outputs[0]  # represents the op as a control input
            _check_filter(op)
            # `read` has bounded the constants, and an Identity needs no memory.
            memory[name] = 0 if op.type in ("Const", "Identity") else _bytes_of(name, op)
        most = max(most, sum(memory.values()))
        if most > MOST_MEMORY:
            largest = max(memory, key=memory.__getitem__)
            raise ValueError(f"it needs too much memory: '{largest}' takes {memory[largest]} bytes")
        uses.subtract(itertools.chain.from_iterable(needed[name] for name in layer))
        memory = {name: size for name, size in memory.items() if uses[name] > 0}
        sorter.done(*layer)
    return made[_key(wanted)], most


def _key(text: str) -> tuple[str, int]:
    """Splits a tensor's name into (name of its op, index of the output); -1 for a control input."""
    if text.startswith("^"):
        return text[1:], -1
    name, _, place = text.partition(":")
    return name, int(place or 0)


def _text(key: tuple[str, int]) -> str:
    return f"^{key[0]}" if key[1] < 0 else f"{key[0]}:{key[1]}"


def _bytes_of(name: str, op: tf.Operation) -> int:
    # The last output of FusedBatchNormV3 is empty in inference; only its gradient on a GPU uses it.
    outputs = op.outputs[:5] if op.type == "FusedBatchNormV3" else op.outputs
    for output in outputs:
        if not output.shape.is_fully_defined():
            raise ValueError(
                f"the shape of '{name}' is {output.shape}, so its size in memory is unknown"
            )
    return sum(out.shape.num_elements() * max(out.dtype.size or 0, 1) for out in outputs)


def _check_filter(op: tf.Operation) -> None:
    """Refuses a filter for grey pictures, which Conv2D would apply to each colour separately."""
    if op.type == "Conv2D":
        images, filters = (tensor.shape for tensor in op.inputs)
        if images[-1] == 3 != filters[2]:
            raise ValueError(f"'{op.name}' convolves pictures with {filters[2]} channels, not 3")
