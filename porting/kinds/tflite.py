"""TFLite models, which TensorFlow's interpreter for small devices runs."""

import pathlib

import numpy as np
import tensorflow as tf2

from porting.kinds.description import Description, Tensor, size_of
from porting.kinds.snippets import value
from tutorial_support import files


def is_tflite(path: pathlib.Path) -> bool:
    """Returns whether a file begins as TFLite models do."""
    with path.open("rb") as stream:
        return stream.read(8)[4:] == b"TFL3"


def describe(path: pathlib.Path) -> Description:
    """Describes a TFLite model; raises UsageError where it is damaged."""
    with files.reading(path, "convert the model again, or name another file"):
        interpreter = tf2.lite.Interpreter(model_path=str(path))
        inputs = [_tensor(details) for details in interpreter.get_input_details()]
        outputs = [_tensor(details) for details in interpreter.get_output_details()]
    notes = ["It has no graph and no session: its own interpreter runs it."]
    return Description(
        str(path),
        "a TFLite model",
        "a converter to TFLite (format TFL3)",
        inputs,
        outputs,
        notes=notes,
        code=_code(path, inputs),
    )


def _tensor(details: dict) -> Tensor:
    dtype = np.dtype(details["dtype"])
    shape = [None if size < 0 else int(size) for size in details["shape_signature"]]
    name = "string" if dtype.kind in "SO" else dtype.name
    return Tensor(details["name"], name, tuple(shape), size_of(dtype.itemsize, shape))


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
