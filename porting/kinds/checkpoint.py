"""Checkpoints in format V1 or V2, name-based or object-based, whole or partitioned."""

import pathlib
import re
from collections import defaultdict
from typing import Any

import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

# The records in a checkpoint's tables. No public module has them, but every wheel does.
from tensorflow.core.protobuf import tensor_bundle_pb2, trackable_object_graph_pb2
from tensorflow.core.util import saved_tensor_slice_pb2

from porting.kinds import snippets, table
from porting.kinds.description import Description, Tensor, size_of
from tutorial_support import checkpoints
from tutorial_support.programs import UsageError

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def is_checkpoint(path: pathlib.Path) -> bool:
    """Returns whether `path` is a checkpoint's prefix, one of its files, or a state file."""
    if path.is_dir():
        return False
    if not path.is_file():
        return pathlib.Path(f"{path}.index").is_file()
    if re.search(r"\.data-\d+-of-\d+$", path.name) or table.is_table(path):
        return True
    with path.open("rb") as stream:
        return stream.read(30).startswith(b"model_checkpoint_path:")


def find_all(folder: pathlib.Path) -> list[str]:
    """Returns the prefixes of the checkpoints in a folder, in the order of their names."""
    found = {str(path)[: -len(".index")] for path in folder.glob("*.index")}
    found |= {str(path) for path in folder.glob("*") if path.is_file() and _is_v1(path)}
    return sorted(found, key=lambda prefix: [(len(t), t) for t in re.split(r"(\d+)", prefix)])


def _is_v1(path: pathlib.Path) -> bool:
    return path.suffix not in (".index", ".meta") and table.is_table(path)


def find(path: str | pathlib.Path) -> str:
    """Returns the prefix of a checkpoint like `checkpoints.find`.

    Raises:
        UsageError: there is none, or it is one part of a checkpoint in format V1.
    """
    part = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})", str(path))
    if part and pathlib.Path(path).is_file() and int(part[3]) > 1 and _is_v1(pathlib.Path(path)):
        whole = f"{part[1]}-?????-of-{part[3]}"
        raise UsageError(
            f"'{path}' is one of {int(part[3])} parts of a checkpoint in format V1; read it as "
            f"'{whole}' with tf.train.load_checkpoint or Saver.restore, and save it again"
        )
    return checkpoints.find(path)


def describe(path: pathlib.Path, with_graph: bool = True) -> Description:
    """Describes a checkpoint, without the graph in its `.meta` file.

    Args:
        path: its prefix, one of its files, or the state file of a folder.
        with_graph: whether the printed code may use the `.meta` file.

    Raises:
        UsageError: the checkpoint is damaged or incomplete.
    """
    prefix = find(path)
    checkpoints.shapes(prefix)  # TensorFlow's reader checks that the table is complete
    try:
        is_v2 = pathlib.Path(f"{prefix}.index").is_file()
        variables, version = _read_v2(prefix) if is_v2 else _read_v1(prefix)
    except (ValueError, TypeError, DecodeError, IndexError) as error:
        raise checkpoints.DamagedCheckpoint(
            f"the checkpoint '{prefix}' cannot be read ({error}); copy it again, or name another"
        ) from error
    names = [variable.name for variable in variables]
    is_of_objects = OBJECT_GRAPH in names
    kind = f"a checkpoint in {'V2' if is_v2 else 'V1'} format"
    notes = []
    if is_of_objects:
        by_keras = any(
            re.search(r"layer_with_weights-\d|(^|/)optimizer/_variables/", n) for n in names
        )
        kind += ", object-based, as tf.train.Checkpoint writes it"
        kind += " for a Keras model" * by_keras
        variables = _with_full_names(prefix, variables)
        notes.append(
            "A tf.train.Saver finds variables by name, not by these keys: python -m "
            "porting.convert_checkpoint writes them under their names."
        )
    divided = sum("parts" in variable.note for variable in variables)
    if divided:
        kind += f", {divided} of its variables partitioned"
        notes.append("Readers join the parts; so does python -m porting.convert_checkpoint.")
    step = checkpoints.stored_step(prefix)
    if step is not None:
        notes.append(f"It was saved after step {step}.")
    meta = pathlib.Path(f"{prefix}.meta")
    code = (
        ""
        if (with_graph and meta.exists()) or not variables
        else snippets.read_checkpoint(prefix, _largest(variables))
    )
    written_by = f"checkpoint format version {version}; "
    written_by += (
        "see the .meta file next to it"
        if meta.exists()
        else "a checkpoint does not record which TensorFlow wrote it"
    )
    return Description(prefix, kind, written_by, variables=variables, notes=notes, code=code)


def _largest(variables: list[Tensor]) -> str:
    """Returns the name of the largest variable, as an example."""
    plain = [variable for variable in variables if variable.name != OBJECT_GRAPH]
    return max(plain or variables, key=lambda variable: variable.size or 0).name


def _read_v2(prefix: str) -> tuple[list[Tensor], int]:
    """Returns the variables and the format's version, from the index file.

    Raises:
        UsageError: a data file is missing or truncated.
    """
    ends: dict[int, int] = defaultdict(int)
    variables, header = [], tensor_bundle_pb2.BundleHeaderProto()
    for key, value in table.entries(pathlib.Path(f"{prefix}.index")):
        if not key:
            header.ParseFromString(value)
            continue
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
        if not entry.slices:
            ends[entry.shard_id] = max(ends[entry.shard_id], entry.offset + entry.size)
        if not key.startswith(b"\0"):  # keys of parts of variables start with a zero byte
            is_text = entry.dtype == tf.string.as_datatype_enum
            tensor = _variable(key.decode(), entry.dtype, entry.shape, len(entry.slices))
            size = entry.size if is_text else tensor.size
            variables.append(Tensor(tensor.name, tensor.dtype, tensor.shape, size, tensor.note))
    for shard, end in ends.items():
        data = pathlib.Path(f"{prefix}.data-{shard:05d}-of-{header.num_shards:05d}")
        size = data.stat().st_size if data.is_file() else None
        if size is None or size < end:
            found = "is missing" if size is None else f"has {size:,} bytes of {end:,}"
            raise checkpoints.DamagedCheckpoint(
                f"the checkpoint '{prefix}' is incomplete: '{data}' {found}; copy it again, or "
                "name another checkpoint"
            )
    return variables, header.version.producer


def _read_v1(prefix: str) -> tuple[list[Tensor], int]:
    """Returns the variables and the format's version, from the table's first entry."""
    record = saved_tensor_slice_pb2.SavedTensorSlices.FromString(
        table.first_value(pathlib.Path(prefix))
    )
    variables = [
        _variable(saved.name, saved.type, saved.shape, sum(bool(s.extent) for s in saved.slice))
        for saved in record.meta.tensor
    ]
    return variables, record.meta.versions.producer


def _variable(name: str, dtype: int, shape: Any, parts: int) -> Tensor:
    kind = tf.as_dtype(dtype)
    sizes = tuple(int(dimension.size) for dimension in shape.dim)
    note = f"in {parts} parts" if parts > 1 else ""
    size = None if kind == tf.string else size_of(kind.size, sizes)
    return Tensor(name, kind.name, sizes, size, note)


def full_names(prefix: str) -> dict[str, str]:
    """Returns {key: variable's own name} for an object-based checkpoint.

    Several keys may have one name: different variables, or one that is stored several times.
    """
    values = tf.train.load_checkpoint(prefix).get_tensor(OBJECT_GRAPH)
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(values)
    found = [attribute for node in graph.nodes for attribute in node.attributes]
    names = {a.checkpoint_key: a.full_name for a in found if a.full_name}
    return names


def path_in_objects(key: str) -> str:
    """Returns `model/layer/kernel` for `model/layer/kernel/.ATTRIBUTES/VARIABLE_VALUE`."""
    return key.removesuffix(_VALUE)


def _with_full_names(prefix: str, variables: list[Tensor]) -> list[Tensor]:
    try:
        names = full_names(prefix)
    except (DecodeError, ValueError, tf.errors.OpError) as error:
        raise UsageError(
            f"the checkpoint '{prefix}' cannot be read (its object graph is damaged); name another"
        ) from error
    return [
        Tensor(
            v.name,
            v.dtype,
            v.shape,
            v.size,
            f"named {names[v.name]}" if v.name in names else v.note,
        )
        for v in variables
    ]
