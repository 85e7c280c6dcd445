"""Graphs: GraphDefs, frozen or not, and MetaGraphDefs, each in binary form or as text.

They are parsed, but never imported: while it imports a graph, TensorFlow evaluates parts of it
and allocates constants that a few bytes of the file describe.
"""

import collections
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError

# No public module has it, and tf.raw_ops lacks ops that begin with an underscore.
from tensorflow.python.framework import op_def_registry

from porting.kinds import checkpoint, snippets
from porting.kinds.description import Description, Signature, Tensor, bytes_as_text, size_of
from porting.kinds.effects import effect_of
from tutorial_support.programs import UsageError

_LARGEST = (1 << 31) - 1  # bytes of a protocol buffer
_VARIABLES = ("VariableV2", "Variable", "VarHandleOp")
_GIVEN = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
_NEXT_ELEMENT = re.compile(
    r"IteratorGetNext(Sync)?|QueueDequeue(Many|UpTo)?(V2)?|Reader(Read|ReadUpTo)(V2)?"
)
_DECODERS = re.compile(r"Decode(AndCrop)?(Jpeg|Png|Image)")
_PARSERS = re.compile(r"Parse(Single)?Example(V2)?")
# Ops that are common in training graphs, but that nobody fetches for their values.
_BOOKKEEPING = re.compile(
    r"Const|NoOp|.*Summary(V2)?|.*Assign.*|(Resource)?(Sparse)?Apply.*|Save.*|Restore.*|Assert|"
    r"ShardedFilename|MergeV2Checkpoints|Var(iable)?IsInitialized.*|IsVariableInitialized|"
    r"Queue(Enqueue|Close|Size).*|CheckNumerics|ControlTrigger"
)
# Ops that may remain from shapes and variables used only in training.
_NEVER_WANTED = re.compile(
    r"Shape|ShapeN|Size|Rank|ReadVariableOp|(Stateless)?Random.*|"
    r"(Ref)?(Switch|Merge|Enter|NextIteration)|LoopCond"
)
_BESIDE = re.compile(r"(^|/)(gradients|save)(_\d+)?/")  # scopes of optimizers and Savers
_BOMB = 1 << 26  # bytes that a constant may claim beyond its size in the file


def parse(path: pathlib.Path, kinds: Iterable[type]) -> tuple[Any, bool]:
    """Parses a file as the first of these messages that fits.

    Args:
        path: the file.
        kinds: some of tf.GraphDef, tf.MetaGraphDef and SavedModel.

    Returns:
        (message, is_text); (None, False) if none fits.

    Raises:
        UsageError: the file is larger than a protocol buffer can be.
    """
    if path.stat().st_size > _LARGEST:
        raise UsageError(f"'{path}' is larger than a graph can be; name another file")
    content = path.read_bytes()
    for kind in kinds:
        for read in (_from_binary, _from_text):
            message = read(content, kind)
            if message is not None and _is_plausible(message):
                return message, read is _from_text
    return None, False


def _from_binary(content: bytes, kind: type) -> Any:
    try:
        return kind.FromString(content)  # type: ignore[attr-defined]
    except DecodeError:
        return None


def _from_text(content: bytes, kind: type) -> Any:
    if not re.match(rb"\s*(#|\w+\s*[:{])", content[:200]):
        return None
    try:
        return text_format.Parse(content.decode(), kind(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError):
        return None


def _is_plausible(message: Any) -> bool:
    """Returns whether a message makes sense; almost any bytes parse as a protocol buffer."""
    if isinstance(message, tf.GraphDef):
        nodes = message.node
        return len(nodes) > 0 and all(_NODE_NAME.fullmatch(n.name) and n.op for n in nodes)
    if isinstance(message, tf.MetaGraphDef):
        return _is_plausible(message.graph_def)
    return message.saved_model_schema_version == 1 and len(message.meta_graphs) > 0


_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def describe(path: pathlib.Path) -> Description | None:
    """Describes a file that holds a GraphDef or a MetaGraphDef; returns None for any other."""
    message, is_text = parse(path, (tf.MetaGraphDef, tf.GraphDef))
    if message is None:
        return None
    form = "as text" if is_text else "in binary form"
    if isinstance(message, tf.MetaGraphDef):
        return _describe_meta(path, message, form)
    found = look_at(message, str(path))
    has_variables = any(node.op in _VARIABLES for node in message.node)
    frozen = "a graph without the values of its variables" if has_variables else "a frozen graph"
    found.kind = f"{frozen} (GraphDef {form})"
    opening = _import_lines(path, is_text)
    if has_variables:
        found.notes.append(
            "A GraphDef holds no values of variables: they are in a checkpoint, which a "
            "tf.train.Saver restores after the graph is imported."
        )
        if initializer := _initializer(message):
            opening += f"sess.run({initializer!r})  # initial values, not trained ones\n"
        else:
            return found
    tables = [n.name for n in message.node if re.match("InitializeTable|LookupTableImport", n.op)]
    if tables:
        opening += f"sess.run({tables!r})  # fill the lookup tables\n"
    found.code = _code(message, found, opening)
    return found


def _initializer(graph_def: tf.GraphDef) -> str | None:
    names = [
        n.name for n in graph_def.node if n.op == "NoOp" and re.fullmatch(r"init(_\d+)?", n.name)
    ]
    return names[0] if names else None


def _import_lines(path: pathlib.Path, is_text: bool) -> str:
    read = (
        f"with open({str(path)!r}) as stream:\n    text_format.Parse(stream.read(), graph_def)\n"
        if is_text
        else f"with open({str(path)!r}, 'rb') as stream:\n"
        "    graph_def.ParseFromString(stream.read())\n"
    )
    imported = "from google.protobuf import text_format\n\n" if is_text else ""
    return f"{imported}graph_def = tf.GraphDef()\n{read}tf.import_graph_def(graph_def, name='')\n"


def _describe_meta(path: pathlib.Path, message: tf.MetaGraphDef, form: str) -> Description:
    found = look_at(message.graph_def, str(path))
    found.kind = f"a graph with its collections (MetaGraphDef {form})"
    found.written_by = f"TensorFlow {message.meta_info_def.tensorflow_version or 'unknown'}"
    found.signatures = signatures_of(message)
    collections_ = sorted(f"{name}" for name in message.collection_def)
    if collections_:
        found.notes.append(f"Collections: {', '.join(collections_)}.")
    prefix = str(path).removesuffix(".meta")
    opening = f"saver = tf.train.import_meta_graph({str(path)!r}, clear_devices=True)\n"
    if prefix != str(path) and _is_whole(prefix):
        opening += f"saver.restore(sess, {prefix!r})\n"
    else:
        found.notes.append("There is no complete checkpoint next to it with the variables' values.")
        opening += "sess.run(tf.global_variables_initializer())  # no trained values\n"
    if "local_variables" in message.collection_def:
        opening += "sess.run(tf.local_variables_initializer())\n"
    if "table_initializer" in message.collection_def:
        opening += "sess.run(tf.tables_initializer())\n"
    # A MetaGraphDef makes variables when it is imported; a GraphDef makes only their ops.
    found.code = _code(message.graph_def, found, opening, "tf.global_variables()")
    return found


def _is_whole(prefix: str) -> bool:
    try:
        checkpoint.describe(pathlib.Path(prefix))
    except UsageError:
        return False
    return True


def signatures_of(message: tf.MetaGraphDef) -> dict[str, Signature]:
    """Returns {name: signature} of a MetaGraphDef."""

    def tensors(infos: Any) -> dict[str, Tensor]:
        return {key: _of_info(infos[key]) for key in sorted(infos)}

    return {
        name: Signature(tensors(s.inputs), tensors(s.outputs), s.method_name)
        for name, s in sorted(message.signature_def.items())
        if name != "__saved_model_init_op"
    }


def _of_info(info: Any) -> Tensor:
    return Tensor(info.name, _dtype(info.dtype), _shape(info.tensor_shape))


def look_at(graph_def: tf.GraphDef, path: str) -> Description:
    """Describes the content of a graph and its functions, without `kind` and `code`."""
    functions = {function.signature.name for function in graph_def.library.function}
    unknown, effects = collections.defaultdict(list), collections.defaultdict(list)
    ops: collections.Counter = collections.Counter()
    for node in _nodes(graph_def):
        ops[node.op] += 1
        if node.op not in functions and op_def_registry.get(node.op) is None:
            unknown[node.op].append(node.name)
        if effect := effect_of(node.op):
            effects[f"{node.op} ({effect})"].append(node.name)
    inputs = _inputs(graph_def)
    return Description(
        path,
        "a graph",
        _version(graph_def),
        inputs,
        _outputs(graph_def, inputs),
        variables=_values(graph_def),
        ops=dict(ops),
        unknown_ops=dict(unknown),
        effects=dict(effects),
        notes=_warnings(graph_def, unknown),
    )


def _nodes(graph_def: tf.GraphDef) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _version(graph_def: tf.GraphDef) -> str:
    versions = graph_def.versions
    if not versions.producer:
        return "the file does not say; some freezing tools drop the version"
    return (
        f"a TensorFlow of graph version {versions.producer} "
        f"(the installed {tf.__version__} writes version {tf.version.GRAPH_DEF_VERSION})"
    )


def _warnings(graph_def: tf.GraphDef, unknown: Any) -> list[str]:
    notes = []
    if graph_def.versions.min_consumer > tf.version.GRAPH_DEF_VERSION:
        notes.append("It needs a newer TensorFlow than the installed one.")
    if unknown:
        notes.append(
            "The installed TensorFlow cannot import it, because it does not know all of its ops: "
            "cut them out (tf.graph_util.extract_sub_graph), or load the library that has them "
            "(tf.load_op_library)."
        )
    for node in _nodes(graph_def):
        if node.op == "Const":
            tensor = _constant(node)
            if (tensor.size or 0) > _BOMB + 2 * node.ByteSize():
                notes.append(
                    f"The constant '{node.name}' would take {bytes_as_text(tensor.size or 0)} of "
                    f"memory, but only {bytes_as_text(node.ByteSize())} in the file."
                )
    return notes


# Values


def _values(graph_def: tf.GraphDef) -> list[Tensor]:
    """Returns the variables, or if there are none, the constants that look like weights."""
    variables = [_of_variable(node) for node in graph_def.node if node.op in _VARIABLES]
    if variables:
        return variables
    constants = [_constant(node) for node in _nodes(graph_def) if node.op == "Const"]
    return [c for c in constants if c.shape and c.dtype and tf.as_dtype(c.dtype).is_floating]


def _of_variable(node: Any) -> Tensor:
    dtype, shape = _dtype(node.attr["dtype"].type), _shape(node.attr["shape"].shape)
    return Tensor(node.name, dtype, shape, size_of(_bytes(dtype), shape))


def _constant(node: Any) -> Tensor:
    # The message holds type and shape; the value itself is never allocated.
    record = node.attr["value"].tensor
    dtype, shape = _dtype(record.dtype), _shape(record.tensor_shape)
    return Tensor(node.name, dtype, shape, size_of(_bytes(dtype), shape))


def _bytes(dtype: str) -> int:
    kind = tf.as_dtype(dtype) if dtype else tf.string
    return 0 if kind in (tf.string, tf.resource, tf.variant) else kind.size


def _dtype(number: int) -> str:
    try:
        return tf.as_dtype(number).base_dtype.name
    except TypeError:
        return ""


def _shape(record: Any) -> tuple[int | None, ...] | None:
    if record.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else int(dim.size) for dim in record.dim)


# Inputs and outputs


def _inputs(graph_def: tf.GraphDef) -> list[Tensor]:
    consumers = _consumers(graph_def.node)
    by_name = {node.name: node for node in graph_def.node}
    found = []
    for node in graph_def.node:
        if node.op in _GIVEN and not _BESIDE.search(node.name):
            found.append(_placeholder(node, consumers, graph_def.versions.producer))
        elif _NEXT_ELEMENT.fullmatch(node.op):
            found += _next_element(node, by_name)
    return found


def _placeholder(node: Any, consumers: Any, producer: int) -> Tensor:
    shape = _shape(node.attr["shape"].shape) if "shape" in node.attr else None
    if shape == () and producer <= 21 and node.op == "Placeholder":
        # Before that version, an empty shape meant an unknown one; MetaGraphs store it elsewhere.
        known = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else []
        shape = _shape(known[0]) if known else None
    notes = ["has a default"] * (node.op == "PlaceholderWithDefault")
    takers = consumers[node.name]
    notes += [snippets.PICTURE] * any(_DECODERS.fullmatch(taker.op) for taker in takers)
    notes += [snippets.EXAMPLE] * any(_PARSERS.fullmatch(taker.op) for taker in takers)
    notes += ["no op uses it"] * (not takers)
    return Tensor(f"{node.name}:0", _dtype(node.attr["dtype"].type), shape, note=", ".join(notes))


def _next_element(node: Any, by_name: Any) -> list[Tensor]:
    """Returns the outputs of an iterator or a queue, which can be fed like any tensor."""
    types = node.attr["output_types"].list.type or node.attr["component_types"].list.type
    shapes = [_shape(shape) for shape in node.attr["output_shapes"].list.shape]
    if not shapes and node.input:  # the queue op stores the shapes of its elements
        queue = by_name.get(_op(node.input[0]))
        shapes = [_shape(s) for s in queue.attr["shapes"].list.shape] if queue else []
        if "Many" in node.op or "UpTo" in node.op:
            count = by_name.get(_op(node.input[1])) if "Many" in node.op else None
            size = _constant_size(count) if count is not None else None
            shapes = [None if shape is None else (size, *shape) for shape in shapes]
    shapes += [None] * (len(types) - len(shapes))
    return [
        Tensor(f"{node.name}:{i}", _dtype(kind), shapes[i], note=f"{node.op} gives it, or a feed")
        for i, kind in enumerate(types)
    ]


def _constant_size(node: Any) -> int | None:
    """Returns the positive number that a node holds, or None for any other node."""
    value = node.attr["value"].tensor
    if node.op != "Const" or value.dtype != tf.int32.as_datatype_enum or value.tensor_shape.dim:
        return None
    size = int(tf.make_ndarray(value))
    return size if size > 0 else None


def _op(tensor: str) -> str:
    """Returns the name of the op in "op", "op:1" or "^op"."""
    return tensor.lstrip("^").partition(":")[0]


def _consumers(nodes: Iterable[Any]) -> dict[str, list[Any]]:
    consumers: dict[str, list[Any]] = collections.defaultdict(list)
    for node in nodes:
        for name in node.input:
            if not name.startswith("^"):
                consumers[_op(name)].append(node)
    return consumers


def _outputs(graph_def: tf.GraphDef, inputs: list[Tensor]) -> list[Tensor]:
    """Returns the outputs of ops that depend on the inputs and that no other op consumes.

    Ops that train, save or summarize do not count as consumers or outputs.
    """
    forward = [
        node
        for node in graph_def.node
        if not _BOOKKEEPING.fullmatch(node.op) and not _BESIDE.search(node.name)
    ]
    consumers = _consumers(forward)
    reached, front = set(), [_op(tensor.name) for tensor in inputs]
    while front:
        for node in consumers[front.pop()]:
            if node.name not in reached:
                reached.add(node.name)
                front.append(node.name)
    by_name = {node.name: node for node in graph_def.node}
    waited_for = {
        _op(name)
        for node in graph_def.node
        if node.op == "Const" or not _BOOKKEEPING.fullmatch(node.op)
        for name in node.input
        if name.startswith("^")
    }
    ends = [
        node
        for node in forward
        if not consumers[node.name]
        and node.name not in waited_for
        and not _is_pivot(node, by_name)
        and (node.name in reached or not inputs)
        and node.op not in (*_VARIABLES, *_GIVEN)
        and not _NEVER_WANTED.fullmatch(node.op)
        and "/Initializer/" not in node.name
        and not _NEXT_ELEMENT.fullmatch(node.op)
    ]
    tensors = [tensor for node in ends for tensor in _outputs_of(node)]
    return [t for t in tensors if t.dtype not in ("resource", "variant")]


def _is_pivot(node: Any, by_name: dict[str, Any]) -> bool:
    """Returns whether a node only marks a branch of a condition or the inside of a loop."""
    source = by_name.get(_op(node.input[0])) if node.op == "Identity" and node.input else None
    return source is not None and source.op in ("Switch", "RefSwitch")


def _outputs_of(node: Any) -> list[Tensor]:
    known = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else []
    op_def = op_def_registry.get(node.op)
    if op_def is None:
        return [Tensor(f"{node.name}:0")]
    types: list[int] = []
    for output in op_def.output_arg:
        if output.type_list_attr:
            types += node.attr[output.type_list_attr].list.type
            continue
        count = node.attr[output.number_attr].i if output.number_attr else 1
        types += [output.type or node.attr[output.type_attr].type] * min(count, 1000)
    return [
        Tensor(f"{node.name}:{i}", _dtype(kind), _shape(known[i]) if i < len(known) else None)
        for i, kind in enumerate(types)
    ]


# Lines to run it


def _code(graph_def: tf.GraphDef, found: Description, opening: str, variables: str = "") -> str:
    """Returns code that fetches the outputs, or `variables` if there are none."""
    if found.unknown_ops:
        return ""
    if not found.outputs:
        return snippets.in_session(opening, variables, []) if variables else ""
    needed = ancestors(graph_def, [_op(tensor.name) for tensor in found.outputs])
    feeds = [
        tensor
        for tensor in found.inputs
        if _op(tensor.name) in needed and not tensor.note.startswith("has a default")
    ]
    return snippets.in_session(opening, found.outputs, feeds, example_of(graph_def))


def ancestors(graph_def: tf.GraphDef, names: Iterable[str]) -> set[str]:
    """Returns the names of these ops and of all ops that they need.

    The inputs of iterators and queues are left out, because their outputs are fed.
    """
    by_name = {node.name: node for node in graph_def.node}
    found, front = set(names), list(names)
    while front:
        node = by_name.get(front.pop())
        if node is None or _NEXT_ELEMENT.fullmatch(node.op):
            continue
        new = {_op(name) for name in node.input} - found
        found |= new
        front += new
    return found


def example_of(graph_def: tf.GraphDef) -> dict[str, tuple[str, int]]:
    """Returns {feature: (kind, length)} that a graph parses from a tf.train.Example."""
    by_name = {node.name: node for node in graph_def.node}
    features: dict[str, tuple[str, int]] = {}
    lists = {"float32": "float_list", "int64": "int64_list", "string": "bytes_list"}
    for node in filter(lambda node: _PARSERS.fullmatch(node.op), graph_def.node):
        types, shapes = node.attr["Tdense"].list.type, node.attr["dense_shapes"].list.shape
        for name, kind, shape in zip(_feature_names(node, by_name), types, shapes, strict=False):
            length = size_of(1, _shape(shape)) or 1
            if _dtype(kind) in lists and length < _BOMB:
                features[name] = (lists[_dtype(kind)], length)
    return features


def _feature_names(node: Any, by_name: dict[str, Any]) -> list[str]:
    """Returns the names of the dense features that an op parses from a tf.train.Example."""
    if node.op == "ParseSingleExample":
        return [name.decode() for name in node.attr["dense_keys"].list.s]
    if node.op == "ParseExampleV2":
        keys = node.input[3:4]  # one tensor with all names
    else:
        first = 2 + node.attr["Nsparse"].i
        keys = node.input[first : first + node.attr["Ndense"].i]
    constants = [by_name[_op(key)] for key in keys if _op(key) in by_name]
    return [t.decode() for c in constants for t in c.attr["value"].tensor.string_val]
