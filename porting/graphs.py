"""Finds sessions and placeholders of a program that have no graph to work in.

In TensorFlow 1 there was always a default graph. In TensorFlow 2 there is one only in a block
`with graph.as_default():`, in the block of a session, or after `tf.disable_eager_execution()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from porting import remedies
from porting.uses import Use, Uses

_SESSIONS = (
    "tf.Session",
    "tf.InteractiveSession",
    "tf.train.MonitoredTrainingSession",
    "tf.train.SingularMonitoredSession",
    "tf.train.Supervisor",
)
# Calls of these, or of what is inside of them, add no ops to a graph.
_BUILDS_NOTHING = (
    *("tf.ConfigProto", "tf.DType", "tf.Event", "tf.GPUOptions", "tf.Graph", "tf.GraphDef"),
    *("tf.GraphOptions", "tf.OptimizerOptions", "tf.RunOptions", "tf.Summary", "tf.TensorInfo"),
    *("tf.TensorShape", "tf.app", "tf.as_dtype", "tf.compat", "tf.config"),
    *("tf.constant_initializer", "tf.contrib.framework", "tf.contrib.learn"),
    *("tf.contrib.training.HParams", "tf.device", "tf.errors", "tf.estimator", "tf.examples"),
    *("tf.executing_eagerly", "tf.flags", "tf.get_default_graph", "tf.get_logger", "tf.gfile"),
    *("tf.io.gfile", "tf.keras.datasets", "tf.keras.preprocessing", "tf.keras.utils", "tf.lite"),
    *("tf.logging", "tf.name_scope", "tf.nest", "tf.profiler", "tf.python", "tf.python_io"),
    *("tf.random.set_random_seed", "tf.random_normal_initializer", "tf.reset_default_graph"),
    *("tf.saved_model.loader", "tf.set_random_seed", "tf.summary.FileWriter", "tf.sysconfig"),
    *("tf.test", "tf.train.BytesList", "tf.train.ClusterSpec", "tf.train.Coordinator"),
    *("tf.train.Example", "tf.train.Feature", "tf.train.Features", "tf.train.FloatList"),
    *("tf.train.Int64List", "tf.train.NewCheckpointReader", "tf.train.Server"),
    *("tf.train.SessionRunHook", "tf.train.SummaryWriter", "tf.train.checkpoint_exists"),
    *("tf.train.get_checkpoint_state", "tf.train.latest_checkpoint", "tf.train.list_variables"),
    *("tf.train.load_checkpoint", "tf.train.summary_iterator", "tf.truncated_normal_initializer"),
    *("tf.variable_scope", "tf.zeros_initializer"),
)
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
    tests = uses.test_sessions if "TestCase" in uses.attributes else []
    for line, column in tests[:1]:
        yield line, column, "test_session", f"{_IN_A_BLOCK}, also in tests"
    if not uses.keeps_graph_default:
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
        and (uses.is_program or not use.in_function)
        and not (uses.makes_graph_default and (use.in_function or use.in_graph))
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
    """Returns whether a function builds ops before it opens a session by `with`."""
    own = (call for call in uses.calls if call.name in builders)
    return any(
        use.scope == session.scope and use.line < session.line and not use.in_block
        for use in (*own, *filter(_builds, uses.names))
        if not use.in_graph
    )


def builders(files: Iterable[Uses]) -> set[str]:
    """Returns the names of the functions and classes that add ops to the graph they are called in.

    A method stands for any method of its name, and a class for all of its methods.
    """
    files = list(files)
    found = {
        name
        for uses in files
        for use in uses.names
        if use.call and _builds(use) and not (use.in_block or use.in_graph)
        for name in use.inside
    }
    calls = [c for uses in files for c in uses.calls if not (c.in_block or c.in_graph) and c.inside]
    size = 0
    while len(found) > size:
        size = len(found)
        found |= {name for call in calls if call.name in found for name in call.inside}
    return found


def _builds(use: Use) -> bool:
    """Returns whether a use calls something that adds ops to the default graph."""
    name = remedies.short(use.name)
    is_part = any(f"{name}.".startswith(f"{other}.") for other in _BUILDS_NOTHING)
    return use.call is not None and not is_part and name not in _SESSIONS


def _has_graph(use: Use) -> bool:
    """Returns whether the call of a session names its graph."""
    call = use.call
    if call is None or "graph" in call.keywords:
        return True
    # The first two take (target, graph, config). With `*arguments`, the number is unknown.
    takes_graph = remedies.short(use.name) in _SESSIONS[:2]
    return takes_graph and (call.positional is None or call.positional > 1)
