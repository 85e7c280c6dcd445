"""Finds sessions and placeholders of a program that have no graph to work in.

In TensorFlow 1 there was always a default graph. In TensorFlow 2 there is one only in a block
`with graph.as_default():`, in the block of a session, or after `tf.disable_eager_execution()`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from porting import remedies
from porting.uses import OtherCall, Use, Uses, is_part

_SESSIONS = (
    "tf.Session",
    "tf.InteractiveSession",
    "tf.train.MonitoredTrainingSession",
    "tf.train.SingularMonitoredSession",
    "tf.train.Supervisor",
)
# Calls of these, or of what is inside of them, add no ops to a graph.
_BUILDS_NOTHING = (
    *("tf.ConfigProto", "tf.DType", "tf.DeviceSpec", "tf.Event", "tf.GPUOptions", "tf.Graph"),
    *("tf.GraphDef", "tf.GraphOptions", "tf.OptimizerOptions", "tf.RunMetadata", "tf.RunOptions"),
    *("tf.Summary", "tf.TensorInfo", "tf.TensorShape", "tf.app", "tf.as_dtype", "tf.compat"),
    *("tf.config", "tf.contrib.framework", "tf.contrib.learn", "tf.contrib.training.HParams"),
    *("tf.device", "tf.errors", "tf.estimator", "tf.examples", "tf.executing_eagerly", "tf.flags"),
    *("tf.get_default_graph", "tf.get_logger", "tf.gfile", "tf.initializers"),
    *("tf.io.TFRecordWriter", "tf.io.gfile", "tf.io.tf_record_iterator", "tf.io.write_graph"),
    *("tf.keras.backend.clear_session", "tf.keras.datasets", "tf.keras.initializers"),
    *("tf.keras.preprocessing", "tf.keras.utils", "tf.lite", "tf.logging", "tf.name_scope"),
    *("tf.nest", "tf.profiler", "tf.python", "tf.python_io", "tf.random.set_random_seed"),
    *("tf.reset_default_graph", "tf.saved_model.Builder", "tf.saved_model.builder"),
    *("tf.saved_model.loader", "tf.set_random_seed", "tf.summary.FileWriter", "tf.sysconfig"),
    *("tf.test", "tf.train.BytesList", "tf.train.ClusterSpec", "tf.train.Coordinator"),
    *("tf.train.Example", "tf.train.Feature", "tf.train.FeatureList", "tf.train.FeatureLists"),
    *("tf.train.Features", "tf.train.FloatList", "tf.train.Int64List"),
    *("tf.train.NewCheckpointReader", "tf.train.SequenceExample", "tf.train.Server"),
    *("tf.train.SessionRunHook", "tf.train.SummaryWriter", "tf.train.checkpoint_exists"),
    *("tf.train.get_checkpoint_state", "tf.train.latest_checkpoint", "tf.train.list_variables"),
    *("tf.train.load_checkpoint", "tf.train.load_variable", "tf.train.summary_iterator"),
    *("tf.variable_scope",),
)
# Methods of Python's own types: a call of such a name says nothing about the function behind it.
_COMMON = {name for kind in (dict, list, set, str, object) for name in dir(kind)}
_IN_A_BLOCK = (
    "build the graph and run it in `with tf.Graph().as_default():`, or call "
    "tf.disable_eager_execution() first"
)


def findings(uses: Uses, builders: set[str]) -> Iterator[tuple[int, int, str, str]]:
    """Yields (line, column, name, remedy) for each use in a file that needs a default graph.

    Args:
        uses: of a file in whose process graphs are not the default.
        builders: those of the whole program.
    """
    for use in uses.names:
        if use.call and remedies.short(use.name) == "tf.train.Supervisor":
            sentence = "its threads leave the graph: call tf.disable_eager_execution() first"
            yield use.line, use.column, "tf.train.Supervisor", sentence
    if uses.keeps_graph_default:
        return
    is_test = any(use.name.endswith(".TestCase") for use in uses.names)
    if is_test and uses.test_sessions:
        yield *uses.test_sessions[0], "test_session", f"{_IN_A_BLOCK}, also in tests"
    yield from _sessions(uses, builders)


def _sessions(uses: Uses, builders: set[str]) -> Iterator[tuple[int, int, str, str]]:
    """Yields the first session, or else placeholder, without a graph as the default.

    Only programs are checked: the caller of a module may have made a graph the default. So may
    the caller of a function, if the file does that anywhere.
    """
    calls = [
        use
        for use in uses.names
        if use.call
        and (uses.is_program or not use.scope)
        and not (uses.makes_graph_default and (use.scope or use.in_graph))
    ]
    if any(remedies.short(use.name) == _SESSIONS[1] and _has_graph(use) for use in calls):
        return  # an interactive session makes its graph the default
    sessions = [use for use in calls if remedies.short(use.name) in _SESSIONS]
    placeholders = [use for use in calls if remedies.short(use.name) == "tf.placeholder"]
    if any(session.opens_block for session in sessions):
        placeholders = []  # such a block makes its graph the default
    for use in [*sessions, *placeholders]:
        if not _has_graph(use) and (not use.opens_block or _built_before(use, uses, builders)):
            yield use.line, use.column, remedies.short(use.name), _IN_A_BLOCK
            break
    else:
        return
    for use in uses.names:
        if use.name.endswith(".reset_default_graph"):
            sentence = "it fails inside such a block: open a new block for the new graph"
            yield use.line, use.column, remedies.short(use.name), sentence


def _built_before(session: Use, uses: Uses, builders: set[str]) -> bool:
    """Returns whether ops are certain to be built before a `with` statement opens a session."""
    if "numpy" in uses.attributes:
        return False  # `x.numpy()`: the ops before it may be eager ones
    earlier: list[Use | OtherCall] = [use for use in uses.names if _builds(use)]
    earlier += [call for call in uses.calls if call.name in builders]
    return any(
        call.scope == session.scope
        and call.line < session.line
        and session.path[: len(call.path)] == call.path  # not in another branch
        and not (call.in_block or call.in_graph)
        for call in earlier
    )


def builders(files: Iterable[Uses], modules: Container[str]) -> set[str]:
    """Returns the names of the functions and classes that add ops to the graph they are called in.

    A method stands for any method of its name, and a class for all of its methods.

    Args:
        files: the uses of each file of the program.
        modules: the names of the program's own modules; calls through others do not count.
    """
    files = list(files)
    found = {
        name
        for uses in files
        for use in uses.names
        if _builds(use) and not (use.in_block or use.in_graph)
        for name in use.inside
    } - _COMMON
    calls = [
        call
        for uses in files
        for call in uses.calls
        if not (call.in_block or call.in_graph)
        and (not call.module or call.module.rpartition(".")[2] in modules)
    ]
    size = -1
    while len(found) > size:
        size = len(found)
        found |= {name for call in calls if call.name in found for name in call.inside} - _COMMON
    return found


def _builds(use: Use) -> bool:
    """Returns whether a use calls something that adds ops to the default graph."""
    name = remedies.short(use.name)
    is_object = name.endswith(("_initializer", "Optimizer"))
    builds_nothing = is_object or name in _SESSIONS or is_part(name, _BUILDS_NOTHING)
    return use.call is not None and not builds_nothing


def _has_graph(use: Use) -> bool:
    """Returns whether the call of a session names its graph."""
    call = use.call
    if call is None or "graph" in call.keywords:
        return True
    # The first two take (target, graph, config). With `*arguments`, the number is unknown.
    takes_graph = remedies.short(use.name) in _SESSIONS[:2]
    return takes_graph and (call.positional is None or call.positional > 1)
