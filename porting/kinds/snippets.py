"""Python code that feeds, fetches and reads a model, ready to paste."""

import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from porting.kinds.description import Tensor

_TF1 = "import numpy as np\nimport tensorflow.compat.v1 as tf\n"
# Notes on an input that decide its example value.
PICTURE = "the bytes of a picture"
EXAMPLE = "a tf.train.Example as bytes"


def value(tensor: Tensor) -> str:
    """Returns a Python expression for a valid value of a placeholder; open sizes become 1."""
    shape = [1 if size is None else size for size in tensor.shape or ()]
    if tensor.dtype == "string":
        text = "picture" if tensor.note.startswith(PICTURE) else 'b""'
        text = "example" if tensor.note.startswith(EXAMPLE) else text
        if shape in ([], [1]):
            return f"[{text}]" if shape else text
        # np.full would strip zero bytes from the end.
        return f"np.array([{text}] * {math.prod(shape)}, object).reshape({shape})"
    if not tensor.dtype:  # the file does not say it
        return f"np.zeros({shape})"
    return f"np.zeros({shape}, {_numpy_type(tensor.dtype)})"


def _numpy_type(name: str) -> str:
    if name == "bool":
        return "bool"
    return f"np.{name}" if hasattr(np, name) else f"tf.as_dtype({name!r}).as_numpy_dtype"


def in_session(
    opening: str,
    fetches: Sequence[Tensor] | Mapping[str, Tensor] | str,
    feeds: Iterable[Tensor],
    example: Mapping[str, tuple[str, int]] | None = None,
) -> str:
    """Returns code that opens a graph in a session, feeds it and fetches from it.

    Args:
        opening: code that loads the graph into the session `sess`.
        fetches: the tensors to fetch, in a sequence or a dict; or an expression.
        feeds: the tensors to feed.
        example: for a fed tf.train.Example, {feature: (kind, length)}.
    """
    feeds = list(feeds)
    lines = [*_TF1.splitlines(), ""]
    if any(feed.note.startswith(PICTURE) for feed in feeds):
        lines[:0] = ["import io", ""]
        lines[-2:] = ["import PIL.Image", lines[-2], "", *_picture(), ""]
    if any(feed.note.startswith(EXAMPLE) for feed in feeds):
        lines += [*_example(example or {}), ""]
    lines.append("with tf.Graph().as_default(), tf.Session() as sess:")
    lines += textwrap.indent(opening.strip("\n"), "    ").splitlines()
    for feed in feeds:
        if feed.shape is None:
            lines.append(f"    # The file does not say the shape of {feed.name!r}: use yours.")
    lines += textwrap.indent(
        _dict("feed_dict", {f.name: value(f) for f in feeds}), "    "
    ).splitlines()
    if isinstance(fetches, str):
        names = fetches
    elif isinstance(fetches, Mapping):
        names = repr({key: tensor.name for key, tensor in fetches.items()})
    else:
        names = repr([tensor.name for tensor in fetches])
    lines += [f"    outputs = sess.run({names}, feed_dict)"]
    return "\n".join(lines) + "\n"


def _dict(name: str, expressions: Mapping[str, str]) -> str:
    """Returns code that makes a dict of Python expressions."""
    if not expressions:
        return f"{name} = {{}}"
    return "\n".join([f"{name} = {{", *(f"    {k!r}: {v}," for k, v in expressions.items()), "}"])


def _picture() -> list[str]:
    return [
        "stream = io.BytesIO()",
        'PIL.Image.new("RGB", (64, 64)).save(stream, "JPEG")',
        "picture = stream.getvalue()  # or pathlib.Path('photo.jpg').read_bytes()",
    ]


def _example(features: Mapping[str, tuple[str, int]]) -> list[str]:
    lines = ["example = tf.train.Example()"]
    for name, (kind, length) in features.items():
        empty = {"float_list": "0.0", "int64_list": "0", "bytes_list": 'b""'}[kind]
        lines.append(
            f"example.features.feature[{name!r}].{kind}.value.extend([{empty}] * {length})"
        )
    return [*lines, "example = example.SerializeToString()"]


def from_tf2(
    path: str | os.PathLike, signature: str, inputs: Mapping[str, Tensor], tags: Sequence[str]
) -> str:
    """Returns code that calls a signature of a SavedModel without a session.

    `tags` select one of its graphs; they are empty if it has only one.
    """
    lines = ["import numpy as np", "import tensorflow as tf", ""]
    if any(tensor.note.startswith(PICTURE) for tensor in inputs.values()):
        lines = ["import io", "", lines[0], "import PIL.Image", lines[1], "", *_picture(), ""]
    selected = f", tags={list(tags)!r}" if tags else ""
    lines += [f"model = tf.saved_model.load({str(path)!r}{selected})"]
    lines += [
        _dict("inputs", {k: f"tf.constant({value(t)}, tf.{t.dtype})" for k, t in inputs.items()})
    ]
    lines += [f"outputs = model.signatures[{signature!r}](**inputs)"]
    return "\n".join(lines) + "\n"


def read_checkpoint(prefix: str, variable: str) -> str:
    """Returns code that reads a checkpoint's values without a graph."""
    return (
        "import tensorflow as tf\n\n"
        f"reader = tf.train.load_checkpoint({prefix!r})\n"
        "shapes = reader.get_variable_to_shape_map()\n"
        f"value = reader.get_tensor({variable!r})\n"
    )
