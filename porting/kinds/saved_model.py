"""SavedModels of TensorFlow 1 and 2: folders with a graph, its variables and its signatures."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import saved_model_pb2

from porting.kinds import checkpoint, graph, snippets
from porting.kinds.description import Description, Signature, Tensor
from tutorial_support import checkpoints
from tutorial_support.programs import UsageError

_FILES = ("saved_model.pb", "saved_model.pbtxt")


def is_saved_model(folder: pathlib.Path) -> bool:
    """Returns whether a folder holds a SavedModel."""
    return any((folder / name).is_file() for name in _FILES)


def describe(folder: pathlib.Path) -> Description:
    """Describes a SavedModel.

    Raises:
        UsageError: it is damaged.
    """
    path = next(folder / name for name in _FILES if (folder / name).is_file())
    message, _ = graph.parse(path, [saved_model_pb2.SavedModel])
    if message is None:
        raise UsageError(f"'{path}' is not a SavedModel, or is truncated; export it again")
    is_only = len(message.meta_graphs) == 1
    parts = [_describe_graph(folder, meta, is_only) for meta in message.meta_graphs]
    several = Description(str(folder), f"a SavedModel of {len(parts)} graphs", parts=parts)
    found = parts[0] if len(parts) == 1 else several
    found.variables = _variables(folder)
    assets = sorted(p.name for p in (folder / "assets").glob("*"))
    if assets:
        found.notes.append(f"Its assets: {', '.join(assets)}.")
    return found


def _describe_graph(folder: pathlib.Path, meta: tf.MetaGraphDef, is_only: bool) -> Description:
    found = graph.look_at(meta.graph_def, str(folder))
    tags = list(meta.meta_info_def.tags)
    by = (
        "objects, as TensorFlow 2 saves it"
        if meta.object_graph_def.nodes
        else "TensorFlow 1's kind"
    )
    found.kind = f"a SavedModel of {by}, with the tags {tags}"
    found.written_by = f"TensorFlow {meta.meta_info_def.tensorflow_version or 'unknown'}"
    found.signatures = graph.signatures_of(meta)
    notes = {tensor.name: tensor.note for tensor in found.inputs}
    found.inputs, found.outputs = [], []  # the signatures hold them
    if meta.asset_file_def:
        found.notes.append("It reads the files in its folder assets when it is loaded.")
    if found.unknown_ops or not found.signatures:
        if not found.signatures:
            found.notes.append("It has no signature: tf.saved_model.load gives its functions.")
        return found
    name = _main_signature(found.signatures)
    signature = found.signatures[name]
    if not all(t.name for t in (*signature.inputs.values(), *signature.outputs.values())):
        found.notes.append(f"'{name}' has sparse tensors: feed or fetch a tf.SparseTensorValue.")
        return found
    chosen = _with_notes(signature, notes)
    in_session = snippets.in_session(
        f"model = tf.saved_model.load(sess, {tags!r}, {str(folder)!r})\n",
        chosen.outputs,
        chosen.inputs.values(),
        graph.example_of(meta.graph_def),
    )
    found.code = in_session
    if not any(t.note.startswith(snippets.EXAMPLE) for t in chosen.inputs.values()):
        called = snippets.from_tf2(folder, name, chosen.inputs, [] if is_only else tags)
        found.code += f"\n# Or, in TensorFlow 2, without a session:\n\n{called}"
    return found


def _main_signature(signatures: dict[str, Signature]) -> str:
    return "serving_default" if "serving_default" in signatures else next(iter(signatures))


def _with_notes(signature: Signature, notes: Mapping[str, str]) -> Signature:
    """Adds the graph's note to each input of a signature, such as that it is a JPEG."""
    inputs = {
        key: dataclasses.replace(
            tensor, note=re.sub("^has a default(, )?", "", notes.get(tensor.name, ""))
        )
        for key, tensor in signature.inputs.items()
    }
    return dataclasses.replace(signature, inputs=inputs)


def _variables(folder: pathlib.Path) -> list[Tensor]:
    prefix = folder / "variables" / "variables"
    if not checkpoints.exists(str(prefix)):
        return []
    found: Any = checkpoint.describe(prefix, with_graph=False)
    return [v for v in found.variables if v.name != checkpoint.OBJECT_GRAPH]
