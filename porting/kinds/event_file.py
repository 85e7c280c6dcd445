"""Event files, which summary writers write for TensorBoard."""

import collections
import pathlib
import struct

import tensorflow.compat.v1 as tf

from porting.kinds import graph
from porting.kinds.description import Description
from tutorial_support.programs import UsageError

_HEAD = 12  # bytes before each record: its length and the checksum of the length
_LARGEST_GRAPHS = 1 << 30  # bytes


def is_event_file(path: pathlib.Path) -> bool:
    """Returns whether a file begins with the version record of event files."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        if len(head) < _HEAD:
            return False
        (length,) = struct.unpack_from("<Q", head)
        return length < 200 and b"brain.Event:" in stream.read(length)


def describe(path: pathlib.Path) -> Description:
    """Describes an event file; raises UsageError if it holds no complete record."""
    found = Description(str(path), "an event file", written_by="")
    kinds: dict[str, set[str]] = collections.defaultdict(set)
    steps: list[int] = []
    count, graphs, newest = 0, 0, b""
    try:
        for event in tf.train.summary_iterator(str(path)):
            count += 1
            kind = event.WhichOneof("what")
            if kind == "file_version":
                writer = event.source_metadata.writer if event.HasField("source_metadata") else ""
                found.written_by = f"{event.file_version} {writer}".strip()
            elif kind in ("graph_def", "meta_graph_def"):
                graphs += 1
                if kind == "graph_def" and len(event.graph_def) < _LARGEST_GRAPHS:
                    newest = event.graph_def
            elif kind == "summary":
                steps = [min([event.step, *steps[:1]]), max([event.step, *steps[1:]])]
                for value in event.summary.value:
                    kinds[_kind(value)].add(value.tag)
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
        found.notes.append(f"It is truncated or damaged after {count} records.")
    if not count:
        raise UsageError(f"'{path}' holds no complete record; name another event file")
    found.notes.append(
        f"It holds {count} records" + (f" for steps {steps[0]} to {steps[1]}." if steps else ".")
    )
    found.tags = {kind: sorted(names) for kind, names in kinds.items()}
    if newest:
        held = graph.look_at(tf.GraphDef.FromString(newest), str(path))
        held.kind = "the graph in it" if graphs == 1 else f"the newest of the {graphs} graphs in it"
        found.parts = [held]
    found.code = (
        "import tensorflow.compat.v1 as tf\n\n"
        f"for event in tf.train.summary_iterator({str(path)!r}):\n"
        "    for value in event.summary.value:\n"
        "        print(event.step, value.tag, value.simple_value)\n"
    )
    return found


def _kind(value: tf.Summary.Value) -> str:
    plugin = value.metadata.plugin_data.plugin_name
    return plugin or (value.WhichOneof("value") or "empty").replace("simple_value", "scalar")
