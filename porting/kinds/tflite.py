"""TFLite models, for TensorFlow's interpreter on small devices.

Only Python code reads them: the interpreter does not check a file first, and a damaged one can
crash the process.
"""

import collections
import pathlib
from typing import Any

import numpy as np

# The format's own reader, generated from its schema; it has no public name in tf.lite.
from tensorflow.lite.python import schema_py_generated as schema

from porting.kinds.description import Description, Tensor, size_of
from porting.kinds.snippets import value
from tutorial_support import files


def is_tflite(path: pathlib.Path) -> bool:
    """Returns whether a file begins like a TFLite model."""
    with path.open("rb") as stream:
        return stream.read(8)[4:] == b"TFL3"


def describe(path: pathlib.Path) -> Description:
    """Describes a TFLite model; raises UsageError if it is damaged."""
    with files.reading(path, "convert the model again, or name another file"):
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        graph = model.Subgraphs(0)
        inputs = [_tensor(graph, graph.Inputs(i)) for i in range(graph.InputsLength())]
        outputs = [_tensor(graph, graph.Outputs(i)) for i in range(graph.OutputsLength())]
        ops, custom = _ops(model, graph)
        writer = (model.Description() or b"a converter to TFLite").decode()
        weights = [
            _tensor(graph, i)
            for i in range(graph.TensorsLength())
            if model.Buffers(graph.Tensors(i).Buffer()).DataLength() > 0
        ]
    notes = ["It has no graph and no session: its own interpreter runs it."]
    if custom:
        notes.append(
            f"Its ops {', '.join(custom)} are not built into TFLite: the interpreter needs the "
            "delegate or library that has them (Flex... are TensorFlow's)."
        )
    return Description(
        str(path),
        f"a TFLite model (format TFL{model.Version()})",
        writer,
        inputs,
        outputs,
        variables=weights,
        ops=ops,
        notes=notes,
        code=_code(path, inputs),
    )


def _tensor(graph: Any, index: int) -> Tensor:
    tensor = graph.Tensors(index)
    sizes = tensor.ShapeSignature if tensor.ShapeSignatureLength() else tensor.Shape
    count = tensor.ShapeSignatureLength() or tensor.ShapeLength()
    shape = tuple(None if sizes(i) < 0 else int(sizes(i)) for i in range(count))
    dtype = _TYPES[tensor.Type()]
    size = size_of(np.dtype(dtype).itemsize, shape) if hasattr(np, dtype) else None
    return Tensor((tensor.Name() or b"").decode(), dtype, shape, size)


_TYPES = {
    number: name.lower()
    for name, number in vars(schema.TensorType).items()
    if not name.startswith("_")
}


def _ops(model: Any, graph: Any) -> tuple[dict[str, int], list[str]]:
    """Returns {type of op: count}, and the types that TFLite does not have."""
    names, custom = [], set()
    builtin = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        names.append(builtin[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())])
        if code.CustomCode():
            names[-1] = code.CustomCode().decode()
            custom.add(names[-1])
    operators = (graph.Operators(i) for i in range(graph.OperatorsLength()))
    return dict(collections.Counter(names[op.OpcodeIndex()] for op in operators)), sorted(custom)


def _code(path: pathlib.Path, inputs: list[Tensor]) -> str:
    lines = ["import numpy as np", "import tensorflow as tf", ""]
    lines += [f"interpreter = tf.lite.Interpreter({str(path)!r})"]
    lines += ["details = interpreter.get_input_details()"]
    lines += [
        f"interpreter.resize_tensor_input(details[{i}]['index'], {_sizes(tensor)})"
        for i, tensor in enumerate(inputs)
    ]
    lines += ["interpreter.allocate_tensors()"]
    lines += [
        f"interpreter.set_tensor(details[{i}]['index'], {value(tensor)})"
        for i, tensor in enumerate(inputs)
    ]
    lines += ["interpreter.invoke()", "outputs = ["]
    lines += ["    interpreter.get_tensor(output['index'])"]
    lines += ["    for output in interpreter.get_output_details()", "]"]
    return "\n".join(lines) + "\n"


def _sizes(tensor: Tensor) -> list[int]:
    return [1 if size is None else size for size in tensor.shape or ()]
