"""The drawing of the MNIST net that notebook 1 opens with."""

import html

_BOXES = {  # name: left, top, lines of text, colour
    "images": (10, 60, ["images", "[n, 784]"], "#cfe8ff"),
    "hidden1": (150, 60, ["hidden1", "weights [784, 128]", "biases [128], ReLU"], "#ffe9a8"),
    "hidden2": (320, 60, ["hidden2", "weights [128, 32]", "biases [32], ReLU"], "#ffe9a8"),
    "linear": (490, 60, ["softmax_linear", "weights [32, 10]", "biases [10]"], "#ffe9a8"),
    "logits": (660, 60, ["logits", "[n, 10]"], "#f4f4f4"),
    "labels": (660, 200, ["labels", "[n]"], "#cfe8ff"),
    "loss": (490, 200, ["loss", "softmax cross", "entropy, mean"], "#d9f2d9"),
    "training": (320, 200, ["training", "gradients,", "gradient descent"], "#d9f2d9"),
    "evaluation": (660, 330, ["evaluation", "how many are right"], "#d9f2d9"),
}
_WIDTH, _NARROW, _HEIGHT = 140, 110, 76
_RIGHT = [
    ("images", "hidden1"),
    ("hidden1", "hidden2"),
    ("hidden2", "linear"),
    ("linear", "logits"),
]


class Net:
    """The net, its loss, training and evaluation, as SVG."""

    def _repr_svg_(self) -> str:
        lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 815 420" width="815" '
            'font-family="sans-serif" role="img"><title>784 pixels, 128 and 32 hidden units, 10 '
            "logits; the loss and the evaluation use them</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#444"/></marker></defs>',
            '<rect width="815" height="420" fill="#fff"/>',
            '<text x="10" y="30" font-size="14" fill="#222">inference: images to logits</text>',
            '<text x="10" y="225" font-size="14" fill="#222">training changes the</text>',
            '<text x="10" y="245" font-size="14" fill="#222">yellow boxes\' variables</text>',
        ]
        for name, (left, top, texts, colour) in _BOXES.items():
            width = _NARROW if name in ("images", "labels") else _WIDTH
            lines.append(
                f'<rect x="{left}" y="{top}" width="{width}" height="{_HEIGHT}" rx="8" '
                f'fill="{colour}" stroke="#555"/>'
            )
            for number, text in enumerate(texts):
                size = 14 if number == 0 else 12
                lines.append(
                    f'<text x="{left + width / 2}" y="{top + 24 + 20 * number}" fill="#222" '
                    f'font-size="{size}" text-anchor="middle">{html.escape(text)}</text>'
                )
        for start, end in _RIGHT:
            left = _BOXES[start][0] + (_NARROW if start == "images" else _WIDTH)
            lines.append(_arrow(f"M{left} 98H{_BOXES[end][0]}"))
        lines += [
            _arrow("M660 120C620 150 590 165 575 200"),  # logits to loss
            _arrow("M660 238H630"),  # labels to loss
            _arrow("M490 238H460"),  # loss to training
            _arrow("M320 238C230 238 220 180 220 136", dashed=True),  # training to the variables
            _arrow("M390 200V136", dashed=True),
            _arrow("M430 200C440 170 500 165 530 136", dashed=True),
            _arrow("M715 276V330"),  # labels to evaluation
            _arrow("M785 136V330"),  # logits to evaluation
        ]
        return "\n".join(lines) + "</svg>"

    def __repr__(self) -> str:
        return "images -> hidden1 -> hidden2 -> softmax_linear -> logits -> loss, evaluation"


def _arrow(path: str, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="#444"{dashes} marker-end="url(#tip)"/>'
