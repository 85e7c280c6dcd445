"""Draws the MNIST graph for the interactive page.

The layout is computed here, when the site is built. `_static/graph.js` computes what a session
would run, from the same description of the graph.
"""

import html
import json

import tensorflow.compat.v1 as tf

from exercises import graph_view
from mnist_mechanics import fully_connected_feed, mnist

# Examples on the page: (title, fetches, feeds).
_IMAGES, _LABELS = "images_placeholder:0", "labels_placeholder:0"
CHOICES: list[tuple[str, list[str], list[str]]] = [
    ("logits", ["softmax_linear/add:0"], [_IMAGES]),
    ("loss", ["xentropy_mean:0"], [_IMAGES, _LABELS]),
    ("loss, the logits fed", ["xentropy_mean:0"], ["softmax_linear/add:0", _LABELS]),
    ("a training step", ["GradientDescent"], [_IMAGES, _LABELS]),
    ("a step and its loss", ["GradientDescent", "xentropy_mean:0"], [_IMAGES, _LABELS]),
    ("right answers", ["evaluation/Sum:0"], [_IMAGES, _LABELS]),
    ("the summary of the loss", ["Merge/MergeSummary:0"], [_IMAGES, _LABELS]),
    ("initialization", ["init"], []),
    ("the first layer", ["hidden1/Relu:0"], [_IMAGES]),
    ("the step's number", ["global_step/Read/ReadVariableOp:0"], []),
]

# The blocks of the picture: (prefix of an op's name, title, column, row); the first match counts.
_BLOCKS = [
    ("images_placeholder", "input", 0, 0),
    ("labels_placeholder", "input", 0, 0),
    ("hidden1/images", "summaries", 2, 1),
    ("hidden1/zeros", "summaries", 2, 1),
    ("hidden2/zeros", "summaries", 2, 1),
    ("hidden1", "hidden1", 0, 1),
    ("hidden2", "hidden2", 0, 2),
    ("softmax_linear", "softmax_linear", 0, 3),
    ("xentropy", "loss", 0, 4),
    ("ToInt64", "loss", 0, 4),
    ("Const", "loss", 0, 4),
    ("evaluation", "evaluation", 2, 4),
    ("gradients/hidden1", "gradients of hidden1", 1, 1),
    ("gradients/hidden2", "gradients of hidden2", 1, 2),
    ("gradients/softmax_linear", "gradients of softmax_linear", 1, 3),
    ("gradients", "gradients of the loss", 1, 4),
    ("GradientDescent", "GradientDescent", 1, 0),
    ("global_step", "global_step", 2, 3),
    ("init", "init", 2, 0),
    ("", "summaries", 2, 1),
]
_STEP_X, _STEP_Y, _RADIUS, _PAD = 27, 27, 8, 22


def build() -> tf.Graph:
    """Returns the graph that `fully_connected_feed` trains with its default flags."""
    graph = tf.Graph()
    with graph.as_default():
        images, labels = fully_connected_feed.placeholder_inputs()
        logits = mnist.inference(images, 128, 32)
        loss = mnist.loss(logits, labels)
        mnist.training(loss, 0.01)
        mnist.evaluation(logits, labels)
        tf.summary.merge_all()
        tf.global_variables_initializer()
    return graph


def fragment() -> str:
    """Returns the HTML of the tool: choices, answer, picture, and the graph as JSON."""
    graph = build()
    choices = [{"title": t, "fetches": f, "feeds": d} for t, f, d in CHOICES]
    ops = [
        {
            "name": op.name,
            "type": op.type,
            "inputs": [tensor.name for tensor in op.inputs],
            "controls": [control.name for control in op.control_inputs],
            "outputs": len(op.outputs),
        }
        for op in graph.get_operations()
    ]
    data = json.dumps({"ops": ops, "choices": choices}).replace("<", "\\u003c")
    return f"""<div id="graph-tool">
<p class="controls"><span>A click</span>
<label><input type="radio" name="click" value="fetch" checked> fetches</label>
<label><input type="radio" name="click" value="feed"> feeds</label>
<button type="button" data-clear>Clear</button></p>
<p class="controls choices"><span>Or try:</span></p>
<p class="answer" role="status" aria-live="polite"></p>
<p class="picked"></p>
<div class="picture">{_svg(graph)}</div>
<script type="application/json" class="graph">{data}</script>
</div>
"""


def _block(name: str) -> tuple[str, int, int]:
    return next((t, x, y) for start, t, x, y in _BLOCKS if name.startswith(start))


def _svg(graph: tf.Graph) -> str:
    ops = graph.get_operations()
    blocks: dict[tuple[str, int, int], list[tf.Operation]] = {}
    for op in ops:
        blocks.setdefault(_block(op.name), []).append(op)
    grids = {block: graph_view.grid(members) for block, members in blocks.items()}
    sizes = {
        block: (
            max(max(x for x, _ in places.values()) * _STEP_X + 2 * _PAD, 8 * len(block[0]) + 20),
            max(y for _, y in places.values()) * _STEP_Y + 2 * _PAD + 12,
        )
        for block, places in grids.items()
    }
    gap = 24
    lefts, tops = [0.0], [0.0]
    for column in range(3):
        widest = max(w for (_, x, _), (w, _) in sizes.items() if x == column)
        lefts.append(lefts[-1] + widest + gap)
    for row in range(5):
        highest = max(h for (_, _, y), (_, h) in sizes.items() if y == row)
        tops.append(tops[-1] + highest + gap)
    places, frames = {}, []
    for block, members in grids.items():
        title, left, top = block[0], lefts[block[1]], tops[block[2]]
        width, height = sizes[block]
        frames.append(
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="8" '
            'fill="#fafafa" stroke="#bbb"/>'
            f'<text x="{left + 8:.0f}" y="{top + 15:.0f}" font-size="13" fill="#222">'
            f"{html.escape(title)}</text>"
        )
        for name, (x, y) in members.items():
            places[name] = (left + _PAD + x * _STEP_X, top + _PAD + 14 + y * _STEP_Y)
    edges, circles = [], []
    for op in ops:
        for source in {t.op.name for t in op.inputs} | {c.name for c in op.control_inputs}:
            (x1, y1), (x2, y2) = places[source], places[op.name]
            edges.append(
                f'<path class="edge" data-from="{source}" data-to="{op.name}" '
                f'd="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}"/>'
            )
        x, y = places[op.name]
        circles.append(
            f'<g class="op" data-op="{op.name}" tabindex="0" role="button" '
            f'aria-label="{op.name}, {op.type}"><title>{op.name} ({op.type})</title>'
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{_RADIUS}"/></g>'
        )
    width, height = lefts[-1] - gap, tops[-1] - gap
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {width + 4:.0f} {height + 4:.0f}" '
        'font-family="sans-serif">' + "".join(frames + edges + circles) + "</svg>"
    )
