"""The description of a model file of any kind, as text and as JSON."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tutorial_support.programs import one_line

_LISTED = 40  # entries printed of a long list


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input, an output, a variable or a constant.

    Attributes:
        name: the name to feed, fetch or restore.
        dtype: TensorFlow's name of its type, "" if unknown.
        shape: its dimensions, None for an open one; None if the whole shape is unknown.
        size: the size of its values in bytes, None if unknown.
        note: more about it, for example that it has a default.
    """

    name: str
    dtype: str = ""
    shape: tuple[int | None, ...] | None = None
    size: int | None = None
    note: str = ""

    def __str__(self) -> str:
        shape = "shape unknown" if self.shape is None else _shape(self.shape)
        parts = [self.name, self.dtype or "type unknown", shape]
        parts += ["" if self.size is None else bytes_as_text(self.size), self.note]
        return one_line("  ".join(filter(None, parts)))


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel or a MetaGraph.

    Attributes:
        inputs, outputs: {name for callers: tensor}.
        method: its method name, such as tensorflow/serving/predict.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    method: str = ""


@dataclasses.dataclass
class Description:
    """The description of a file.

    Attributes:
        path: the file or folder.
        kind: its format, in a few words.
        written_by: the version that wrote it, "" if unknown.
        inputs: tensors that can be fed.
        outputs: tensors that no op consumes, which are likely outputs.
        signatures: {name: signature}.
        variables: the variables, or the constants of a frozen graph.
        ops: {type of op: count}, or of layers in a Keras model.
        unknown_ops: {type that the installed TensorFlow does not know: names of nodes}.
        tags: {kind: tags} in an event file.
        effects: {"ReadFile (reads files)": names of nodes}, for ops that do more than compute.
        notes: whole sentences.
        code: Python code that runs it; "" if there is none.
        parts: descriptions of its parts.
    """

    path: str
    kind: str
    written_by: str = ""
    inputs: list[Tensor] = dataclasses.field(default_factory=list)
    outputs: list[Tensor] = dataclasses.field(default_factory=list)
    signatures: dict[str, Signature] = dataclasses.field(default_factory=dict)
    variables: list[Tensor] = dataclasses.field(default_factory=list)
    ops: dict[str, int] = dataclasses.field(default_factory=dict)
    unknown_ops: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    tags: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    effects: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    code: str = ""
    parts: list["Description"] = dataclasses.field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as dicts, lists, numbers and strings, for JSON."""
        return dataclasses.asdict(self)

    def as_text(self, everything: bool = False) -> str:
        """Returns the description as text; shortens long lists unless `everything` is true."""
        cut = None if everything else _LISTED
        lines = [one_line(f"{self.path}: {self.kind}")]
        lines += [one_line(f"Written by: {self.written_by}")] * bool(self.written_by)
        lines += _listed("Inputs", self.inputs, cut)
        lines += _listed("Likely outputs (no other op consumes them)", self.outputs, cut)
        for name, signature in self.signatures.items():
            lines.append(
                f"Signature '{one_line(name)}' {one_line(signature.method)}".rstrip() + ":"
            )
            for kind in ("inputs", "outputs"):
                for key, tensor in getattr(signature, kind).items():
                    lines.append(f"  {kind[:-1]} {one_line(key)} = {tensor}")
        lines += _listed(_counted_variables(self.variables), self.variables, cut)
        for kind, names in sorted(self.tags.items()):
            lines.append(f"Tags of kind {one_line(kind)}: {_joined(names, cut)}")
        if self.ops:
            types = [f"{op} {n}" for op, n in sorted(self.ops.items(), key=lambda i: (-i[1], i[0]))]
            total = sum(self.ops.values())
            lines.append(f"{total} ops or layers of {len(types)} types: {_joined(types, cut)}")
        for op, nodes in sorted(self.unknown_ops.items()):
            lines.append(
                f"Unknown to the installed TensorFlow: {one_line(op)}: {_joined(nodes, 5)}"
            )
        for op, nodes in sorted(self.effects.items()):
            lines.append(f"Does more than compute: {one_line(op)}: {_joined(nodes, 5)}")
        lines += [f"Note: {one_line(note)}" for note in self.notes]
        for part in self.parts:
            lines += ["", *part.as_text(everything).splitlines()]
        if self.code:
            lines += ["", "To run it:", "", self.code.rstrip()]
        return "\n".join(lines)


def bytes_as_text(count: int) -> str:
    """Returns a number of bytes as readable text, such as "4.3 MB"."""
    if count < 1000:
        return f"{count} bytes"
    power = min(int(math.log10(count)) // 3, 6)
    return f"{count / 1000**power:.1f} {'kMGTPE'[power - 1]}B"


def size_of(dtype_size: int, shape: Iterable[int | None] | None) -> int | None:
    """Returns the size of a tensor in bytes, or None if its shape is not fully known."""
    dimensions = None if shape is None else list(shape)
    if dimensions is None or None in dimensions or not dtype_size:
        return None
    return dtype_size * math.prod(dimension or 0 for dimension in dimensions)


def _shape(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _listed(title: str, entries: list[Tensor], cut: int | None) -> list[str]:
    if not entries:
        return []
    lines = [f"{title}:", *(f"  {entry}" for entry in entries[:cut])]
    if cut is not None and len(entries) > cut:
        lines.append(f"  ... and {len(entries) - cut} more (--all lists them)")
    return lines


def _counted_variables(variables: list[Tensor]) -> str:
    total = sum(variable.size or 0 for variable in variables)
    return f"{len(variables)} variables or constants with values, {bytes_as_text(total)}"


def _joined(texts: list[str], cut: int | None) -> str:
    some = ", ".join(map(one_line, texts[:cut]))
    more = 0 if cut is None else len(texts) - cut
    return some + f" and {more} more" * (more > 0)
