"""Shows what a fetch runs: prunes a graph as Session.run does, and draws it.

view = graph_view.draw(graph, fetches=[loss], feeds=[images])
view                 in a notebook: the graph, with the ops that run highlighted
view.run.ops         the names of these ops
view.run.missing     the placeholders that must still be fed
"""

import dataclasses
import html
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the session.

    Attributes:
        ops: the names of the ops that run, in the order of their creation.
        fed: the names of the fed tensors.
        missing: the names of placeholders among `ops`: they are not fed, so the run fails.
    """

    ops: tuple[str, ...]
    fed: tuple[str, ...]
    missing: tuple[str, ...]


def plan(graph: tf.Graph, fetches: Any, feeds: Iterable[Any] = ()) -> Run:
    """Returns what `Session.run(fetches, feed_dict)` would run.

    The session walks backwards from the fetches along inputs and control inputs, and stops at fed
    tensors. Ops that it does not reach do not run.

    Args:
        graph: the graph.
        fetches: a tensor, op, variable or name, or a nested list or dict of them.
        feeds: the fed tensors or their names, as in the keys of a feed dictionary.
    """
    fed = {_tensor(graph, feed).name for feed in feeds}
    waiting = [element for element in _elements(graph, fetches) if element.name not in fed]
    reached: set[str] = set()
    while waiting:
        element = waiting.pop()
        op = element if isinstance(element, tf.Operation) else element.op
        if op.name in reached:
            continue
        reached.add(op.name)
        waiting += [tensor for tensor in op.inputs if tensor.name not in fed]
        waiting += op.control_inputs
    ops = [op for op in graph.get_operations() if op.name in reached]
    missing = [op.name for op in ops if op.type in _PLACEHOLDERS]
    return Run(tuple(op.name for op in ops), tuple(sorted(fed)), tuple(missing))


def recorded(sess: tf.Session, fetches: Any, feed_dict: dict | None = None) -> set[str]:
    """Runs the session and returns the names of the ops that its RunMetadata records.

    With a session from `plain_session`, these are ops of the graph. Any other session first
    optimizes the graph: it folds constants and merges ops.
    """
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    metadata = tf.RunMetadata()
    sess.run(fetches, feed_dict, options, metadata)
    own = {op.name for op in sess.graph.get_operations()}
    ran = {node.node_name for dev in metadata.step_stats.dev_stats for node in dev.node_stats}
    return own & ran


def plain_session(graph: tf.Graph) -> tf.Session:
    """Returns a session that runs the ops of the graph without optimizing it."""
    config = tf.ConfigProto()
    config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(graph=graph, config=config)


def _elements(graph: tf.Graph, fetches: Any) -> list[Any]:
    if isinstance(fetches, dict):
        fetches = list(fetches.values())
    if isinstance(fetches, list | tuple):
        return [element for fetch in fetches for element in _elements(graph, fetch)]
    return [graph.as_graph_element(fetches)]


def _tensor(graph: tf.Graph, feed: Any) -> tf.Tensor:
    element = graph.as_graph_element(feed)
    return element.outputs[0] if isinstance(element, tf.Operation) else element


# ---- The drawing ----

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 132, 34, 14, 30, 12


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A graph as SVG, with the ops of a run highlighted.

    Attributes:
        run: the run.
        caption: the sentence below the picture.
        svg: the picture.
    """

    run: Run
    caption: str
    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.caption


def caption(run: Run) -> str:
    """Returns a sentence about a run: the number of ops, and placeholders without a value."""
    count = len(run.ops) - len(run.missing)
    text = f"{count} {'op runs' if count == 1 else 'ops run'}"
    if run.missing:
        text = f"The run fails: it must be fed a value for {', '.join(run.missing)}"
    return text + (f"; fed: {', '.join(run.fed)}." if run.fed else ".")


def draw(graph: tf.Graph, fetches: Any = (), feeds: Iterable[Any] = ()) -> Drawing:
    """Draws a small graph from top to bottom, with the ops that would run highlighted."""
    run = plan(graph, fetches, feeds)
    ops = graph.get_operations()
    text = caption(run) if run.ops or run.fed else f"{len(ops)} ops."
    places = layout(ops)
    fetched = {getattr(e, "op", e).name for e in _elements(graph, fetches)}
    fed_ops = {name.partition(":")[0] for name in run.fed}
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + _MARGIN
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 22}" '
        f'width="{width}" font-family="sans-serif" role="img">',
        f"<title>{html.escape(text)}</title>",
        f'<rect width="{width}" height="{height + 22}" fill="#ffffff"/>',
    ]
    lit = set(run.ops) - set(run.missing)
    for op in ops:
        sources = [(t.op, False) for t in op.inputs] + [(c, True) for c in op.control_inputs]
        for source, is_control in sources:
            is_lit = op.name in run.ops and (source.name in run.ops or source.name in fed_ops)
            lines.append(_edge(places[source.name], places[op.name], is_control, is_lit))
    for op in ops:
        state = (
            "missing" if op.name in run.missing
            else "runs" if op.name in lit
            else "fed" if op.name in fed_ops
            else "rests"
        )  # fmt: skip
        lines.append(_box(op, places[op.name], state, op.name in fetched))
    lines.append(
        f'<text x="{_MARGIN}" y="{height + 10}" font-size="13" fill="#222">'
        f"{html.escape(text)}</text></svg>"
    )
    return Drawing(run, text, "\n".join(lines))


def layout(ops: Sequence[tf.Operation]) -> dict[str, tuple[int, int]]:
    """Returns the upper left corner of each op's box, below the boxes of its inputs."""
    return {
        name: (round(_MARGIN + x * (_WIDTH + _GAP_X)), _MARGIN + y * (_HEIGHT + _GAP_Y))
        for name, (x, y) in grid(ops).items()
    }


def grid(ops: Sequence[tf.Operation]) -> dict[str, tuple[float, int]]:
    """Returns {op's name: (column, row)}, both >= 0; columns in a row are at least 1 apart.

    An op is below its inputs and close to its neighbours. Inputs that are not in `ops` do not
    count.
    """
    sources = {op.name: [tensor.op.name for tensor in op.inputs] for op in ops}
    users: dict[str, list[str]] = defaultdict(list)
    for op in ops:
        inputs = sources[op.name] + [control.name for control in op.control_inputs]
        sources[op.name] = [name for name in inputs if name in sources]
        for source in sources[op.name]:
            users[source].append(op.name)
    row: dict[str, int] = {}
    for op in ops:  # a graph lists an op after its inputs, except in loops
        row[op.name] = max((row.get(source, -1) + 1 for source in sources[op.name]), default=0)
    for op in reversed(ops):  # move each op down to just above its first consumer
        if users[op.name]:
            row[op.name] = max(row[op.name], min(row[user] for user in users[op.name]) - 1)
    rows: dict[int, list[str]] = defaultdict(list)
    for op in ops:
        rows[row[op.name]].append(op.name)
    column = {name: float(i) for names in rows.values() for i, name in enumerate(names)}
    for sweep in range(12):  # alternately down and up
        is_down = sweep % 2 == 0
        for level in sorted(rows, reverse=not is_down):
            _reorder(rows[level], sources if is_down else users, column)
    leftmost = min(column.values(), default=0.0)
    return {name: (column[name] - leftmost, row[name]) for name in column}


def _reorder(row: list[str], neighbours: dict[str, list[str]], column: dict[str, float]) -> None:
    """Moves each op of a row towards the middle of its neighbours, without overlaps."""
    wanted = {}
    for name in row:
        known = [column[n] for n in neighbours[name]]
        wanted[name] = sum(known) / len(known) if known else column[name]
    row.sort(key=lambda name: wanted[name])
    placed: list[float] = []
    for name in row:
        placed.append(max(wanted[name], placed[-1] + 1) if placed else wanted[name])
    shift = sum(wanted[name] - x for name, x in zip(row, placed, strict=True)) / len(row)
    for name, x in zip(row, placed, strict=True):
        column[name] = x + shift


_COLOURS = {  # fill, line, text
    "runs": ("#ffe9a8", "#b37400", "#222222"),
    "fed": ("#cfe8ff", "#1f6fb2", "#222222"),
    "missing": ("#ffd9d6", "#b3261e", "#222222"),
    "rests": ("#f4f4f4", "#c4c4c4", "#666666"),
}


def _box(op: tf.Operation, place: tuple[int, int], state: str, is_fetched: bool) -> str:
    x, y = place
    fill, line, text = _COLOURS[state]
    scope, _, last = op.name.rpartition("/")
    name = op.name if len(op.name) <= 19 else f"…/{last}" if len(last) <= 17 else f"…{last[-17:]}"
    return (
        f'<g class="op {state}" data-op="{html.escape(op.name)}">'
        f"<title>{html.escape(op.name)} ({op.type}): {state}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" '
        f'stroke="{line}" stroke-width="{3 if is_fetched else 1}"/>'
        f'<text x="{x + _WIDTH / 2}" y="{y + 15}" font-size="11.5" text-anchor="middle" '
        f'fill="{text}">{html.escape(name)}</text>'
        f'<text x="{x + _WIDTH / 2}" y="{y + 28}" font-size="9.5" text-anchor="middle" '
        f'fill="{text}">{op.type}</text></g>'
    )


def _edge(start: tuple[int, int], end: tuple[int, int], is_control: bool, is_lit: bool) -> str:
    x1, y1 = start[0] + _WIDTH / 2, start[1] + _HEIGHT
    x2, y2 = end[0] + _WIDTH / 2, end[1]
    middle = (y1 + y2) / 2
    dashes = ' stroke-dasharray="4 3"' if is_control else ""
    colour, width = ("#b37400", 2) if is_lit else ("#c4c4c4", 1)
    return (
        f'<path d="M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}" fill="none" '
        f'stroke="{colour}" stroke-width="{width}"{dashes}/>'
    )
