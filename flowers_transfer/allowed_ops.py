"""Which ops a graph from elsewhere may hold.

A GraphDef is a program: some ops read and write files, run Python or open connections, and
running the graph runs them. What is listed here only computes its outputs from its inputs.
"""

from tutorial_support.programs import UsageError

_OPS = {
    "constants, entrances, plumbing": """
        Const Placeholder PlaceholderV2 PlaceholderWithDefault Identity IdentityN NoOp
        StopGradient PreventGradient CheckNumerics EnsureShape Snapshot Switch RefSwitch Merge
        Cast Bitcast
    """,
    "shapes": """
        Reshape Shape ShapeN Size Rank Squeeze ExpandDims Pack Unpack Concat ConcatV2
        ConcatOffset Split SplitV Slice StridedSlice Gather GatherV2 GatherNd Transpose Pad
        PadV2 MirrorPad Tile Fill Range BroadcastTo BroadcastArgs OnesLike ZerosLike Reverse
        ReverseV2 SpaceToDepth DepthToSpace SpaceToBatch SpaceToBatchND BatchToSpace
        BatchToSpaceND OneHot Where Select SelectV2
    """,
    "arithmetic": """
        Add AddV2 AddN Sub Mul Div RealDiv FloorDiv DivNoNan FloorMod Mod Neg Abs Sign
        Reciprocal Inv Square SquaredDifference Sqrt Rsqrt Pow Exp Expm1 Log Log1p Sin Cos Tan
        Tanh Sigmoid Erf Floor Ceil Round Rint Maximum Minimum ClipByValue Mean Sum Prod Max Min
        All Any ArgMax ArgMin TopK TopKV2 InTopK InTopKV2 Cumsum Cumprod MatMul BatchMatMul
        BatchMatMulV2 BatchMatMulV3 Einsum Less LessEqual Greater GreaterEqual Equal NotEqual
        LogicalAnd LogicalOr LogicalNot IsFinite IsNan IsInf L2Loss
    """,
    "layers": """
        Conv2D DepthwiseConv2dNative DepthwiseConv2d Conv2DBackpropInput FusedPadConv2D
        FusedResizeAndPadConv2D BiasAdd BiasAddV1 MaxPool MaxPoolV2 AvgPool Relu Relu6 LeakyRelu
        Elu Selu Softplus Softsign Softmax LogSoftmax LRN BatchNormWithGlobalNormalization
        FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Dilation2D FakeQuantWithMinMaxArgs
        FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Dequantize QuantizeV2
        QuantizeAndDequantizeV2 _FusedConv2D _FusedMatMul _FusedDepthwiseConv2dNative
        _FusedBatchNormEx
    """,
    "pictures": """
        DecodeJpeg DecodePng DecodeBmp DecodeGif DecodeImage DecodeAndCropJpeg ResizeBilinear
        ResizeBicubic ResizeArea ResizeNearestNeighbor ScaleAndTranslate CropAndResize
        ExtractImagePatches AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV
        HSVToRGB
    """,
}
ALLOWED = frozenset(op for ops in _OPS.values() for op in ops.split())


def check(graph_def, path):
    """Refuses a graph with an op that is not in ALLOWED.

    Args:
        graph_def: GraphDef.
        path: its file, for the message.

    Raises:
        UsageError: names the ops.
    """
    nodes = [*graph_def.node]
    for function in graph_def.library.function:
        nodes.extend(function.node_def)
    own = {function.signature.name for function in graph_def.library.function}
    refused = {}
    for node in nodes:
        if node.op not in ALLOWED and node.op not in own:
            refused.setdefault(node.op, node.name)
    if refused:
        listed = ", ".join(f"{op} ('{name}')" for op, name in sorted(refused.items()))
        raise UsageError(
            f"{path}: refused, for it holds ops that may do more than compute: {listed}; freeze a "
            "graph that ends before them"
        )
