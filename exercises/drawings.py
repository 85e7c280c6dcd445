"""Drawings for the notebooks: boxes and arrows as SVG, which scale with the page.

Each function returns a `Drawing`. A notebook shows the one that a cell ends with.
"""

import html
from collections.abc import Sequence

INPUT, WEIGHTS, FROZEN, OUTPUT, PLAIN = "#cfe2f3", "#ffe5b4", "#dde1e6", "#d5ecd4", "#ffffff"
_INK, _FAINT = "#1f2933", "#52606d"
_LINE = 19  # pixels from one line of text to the next


class Drawing:
    """An SVG that is built shape by shape; Jupyter shows it through `_repr_svg_`."""

    def __init__(self, width: int, height: int, title: str) -> None:
        """Starts an empty drawing.

        Args:
            width, height: in units of the drawing; a narrower page scales it down.
            title: what the drawing shows, for screen readers.
        """
        self.width, self.height, self.title = width, height, title
        self._shapes: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, text: str, fill: str = PLAIN
    ) -> None:
        """Adds a box with centred lines of text; the first line is bold."""
        self._shapes.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" '
            f'stroke="{_INK}"/>'
        )
        lines = text.split("\n")
        top = y + height / 2 - _LINE * (len(lines) - 1) / 2 + 5
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + _LINE * number, line, bold=number == 0)

    def text(
        self, x: float, y: float, text: str, bold: bool = False, anchor: str = "middle"
    ) -> None:
        """Adds one line of text; `anchor` is start, middle or end."""
        weight, color = ("bold", _INK) if bold else ("normal", _FAINT)
        self._shapes.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{color}">{html.escape(text)}</text>'
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """Adds an arrow along `points`."""
        path = " ".join(f"{x},{y}" for x, y in points)
        dashes = ' stroke-dasharray="6 4"' if dashed else ""
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{_INK}" stroke-width="1.5"{dashes} '
            'marker-end="url(#head)"/>'
        )

    def _repr_svg_(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{self.width}" '
                f'viewBox="0 0 {self.width} {self.height}" style="max-width:100%;height:auto" '
                'font-family="sans-serif" font-size="14">',
                f"<title>{html.escape(self.title)}</title>",
                '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
                f'markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{_INK}"/>'
                "</marker></defs>",
                f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>',
                *self._shapes,
                "</svg>",
            ]
        )


def mnist_net() -> Drawing:
    """Draws the MNIST net, its loss, its training and its evaluation."""
    drawing = Drawing(
        830,
        410,
        "784 pixels, 128 and 32 hidden units, 10 logits; the loss and the evaluation use them",
    )
    drawing.text(10, 30, "inference: images to logits", anchor="start")
    drawing.text(330, 290, "dashed: training changes the variables", anchor="start")
    drawing.box(10, 60, 110, 76, "images\n[n, 784]", INPUT)
    drawing.box(150, 60, 150, 76, "hidden1\nweights [784, 128]\nbiases [128], ReLU", WEIGHTS)
    drawing.box(330, 60, 150, 76, "hidden2\nweights [128, 32]\nbiases [32], ReLU", WEIGHTS)
    drawing.box(510, 60, 150, 76, "softmax_linear\nweights [32, 10]\nbiases [10]", WEIGHTS)
    drawing.box(690, 60, 130, 76, "logits\n[n, 10]", PLAIN)
    drawing.box(690, 190, 100, 76, "labels\n[n]", INPUT)
    drawing.box(510, 190, 150, 76, "loss\nsoftmax cross\nentropy, mean", OUTPUT)
    drawing.box(330, 190, 150, 76, "training\ngradients,\ngradient descent", OUTPUT)
    drawing.box(670, 320, 150, 66, "evaluation\nhow many are right", OUTPUT)
    for left, right in [(120, 150), (300, 330), (480, 510), (660, 690)]:
        drawing.arrow((left, 98), (right, 98))
    drawing.arrow((690, 120), (630, 190))  # logits to loss
    drawing.arrow((690, 228), (660, 228))  # labels to loss
    drawing.arrow((510, 228), (480, 228))  # loss to training
    drawing.arrow((740, 266), (740, 320))  # labels to evaluation
    drawing.arrow((805, 136), (805, 320))  # logits to evaluation
    for start, end in [(345, 225), (405, 405), (465, 585)]:  # training to the variables
        drawing.arrow((start, 190), (end, 136), dashed=True)
    return drawing


def column(title: str, steps: Sequence[tuple[str, str, str]]) -> Drawing:
    """Draws boxes from top to bottom, each with an arrow to the next and a note beside it.

    Args:
        title: the title of the drawing.
        steps: for each box (its text, the note on its right, its colour).
    """
    heights = [16 + _LINE * len(text.split("\n")) for text, _, _ in steps]
    drawing = Drawing(640, 20 + sum(heights) + 22 * (len(steps) - 1), title)
    y = 10
    for number, ((text, note, fill), height) in enumerate(zip(steps, heights, strict=True)):
        if number:
            drawing.arrow((150, y - 22), (150, y))
        drawing.box(10, y, 280, height, text, fill)
        lines = note.split("\n")
        top = y + height / 2 - _LINE * (len(lines) - 1) / 2 + 5
        for place, line in enumerate(lines):
            drawing.text(306, top + _LINE * place, line, anchor="start")
        y += height + 22
    return drawing


def input_pipeline() -> Drawing:
    """Draws the input pipeline from record files to batches."""
    return column(
        "From files to batches",
        [
            ("data_batch_1.bin ... 5.bin", "3,073 bytes per record", INPUT),
            ("FixedLengthRecordDataset", "blocks of 250 records, in random order", PLAIN),
            ("shuffle", "draws each record from a buffer", PLAIN),
            ("batch", "128 records in one string tensor", PLAIN),
            ("parse, distort", "uint8 bytes become float32 images", PLAIN),
            ("prefetch", "threads keep a few batches ready", PLAIN),
            ("get_next", "two tensors of the graph: images, labels", OUTPUT),
        ],
    )


def convolution_net(num_classes: int = 10) -> Drawing:
    """Draws the CIFAR-10 net: the output and the number of weights of each layer."""
    return column(
        "The CIFAR-10 net",
        [
            ("image\n24 x 24 x 3", "standardized: mean 0, variance 1", INPUT),
            ("conv1, bias, ReLU\n24 x 24 x 64", "64 filters of 5 x 5 x 3: 4,864 weights", WEIGHTS),
            ("max pool, LRN\n12 x 12 x 64", "no weights; half the height and width", PLAIN),
            ("conv2, bias, ReLU\n12 x 12 x 64", "64 filters of 5 x 5 x 64: 102,464", WEIGHTS),
            ("max pool, LRN\n6 x 6 x 64", "no weights", PLAIN),
            ("reshape\n2,304", "one row per image", PLAIN),
            ("full1, ReLU\n384", "885,120 weights", WEIGHTS),
            ("full2, ReLU\n192", "73,920 weights", WEIGHTS),
            (
                f"full3\n{num_classes} logits",
                f"{193 * num_classes:,} weights; one logit per class",
                OUTPUT,
            ),
        ],
    )


def two_nets() -> Drawing:
    """Draws a training net and a test net that share their variables."""
    drawing = Drawing(640, 210, "Two nets, one set of variables")
    for x, source, net, end in (
        (10, "training batches\ndistorted", "training net", "loss"),
        (420, "test batches\ncentral crops", "test net", "correct"),
    ):
        drawing.box(x, 10, 210, 50, source, INPUT)
        drawing.box(x, 85, 210, 40, net)
        drawing.box(x, 150, 210, 40, end, OUTPUT)
        drawing.arrow((x + 105, 60), (x + 105, 85))
        drawing.arrow((x + 105, 125), (x + 105, 150))
    drawing.box(255, 75, 130, 60, "variables\nmodel_definition/", WEIGHTS)
    drawing.arrow((255, 105), (220, 105))
    drawing.arrow((385, 105), (420, 105))
    drawing.text(320, 160, "the train op writes them;")
    drawing.text(320, 179, "both nets read them")
    return drawing


def cluster() -> Drawing:
    """Draws a cluster: one ps with the variables, two workers, and an evaluator."""
    drawing = Drawing(640, 330, "A cluster")
    drawing.box(190, 10, 260, 62, "ps task 0\nvariables, global_step", WEIGHTS)
    for x, name in ((10, "the chief, a worker"), (400, "worker 1")):
        drawing.box(x, 150, 230, 82, f"{name}\ninput pipeline, net,\ngradients of its part", PLAIN)
    drawing.arrow((230, 72), (115, 150))
    drawing.arrow((160, 150), (265, 72))
    drawing.arrow((410, 72), (525, 150))
    drawing.arrow((480, 150), (375, 72))
    drawing.text(80, 115, "variables")
    drawing.text(245, 125, "gradients")
    drawing.text(395, 125, "gradients")
    drawing.text(560, 115, "variables")
    drawing.box(10, 275, 230, 45, "checkpoints\nin the run folder", FROZEN)
    drawing.box(400, 275, 230, 45, "evaluator\nwaits for new checkpoints", OUTPUT)
    drawing.arrow((125, 232), (125, 275))
    drawing.arrow((240, 297), (400, 297))
    return drawing


def freezing() -> Drawing:
    """Draws what freezing does: variables and a checkpoint become constants in one file."""
    drawing = Drawing(640, 250, "A graph before and after freezing")
    drawing.text(150, 20, "before: a graph, a session, a checkpoint", bold=True)
    drawing.box(10, 35, 130, 50, "kernel\nvariable", WEIGHTS)
    drawing.box(170, 35, 130, 50, "biases\nvariable", WEIGHTS)
    drawing.box(90, 120, 130, 40, "Conv2D", PLAIN)
    drawing.box(90, 195, 130, 40, "BiasAdd", PLAIN)
    drawing.text(485, 20, "after: one GraphDef", bold=True)
    drawing.box(345, 35, 130, 50, "kernel\nConst", FROZEN)
    drawing.box(500, 35, 130, 50, "biases\nConst", FROZEN)
    drawing.box(425, 120, 130, 40, "Conv2D", PLAIN)
    drawing.box(425, 195, 130, 40, "BiasAdd", PLAIN)
    for x, middle in ((10, 155), (345, 490)):
        drawing.arrow((x + 65, 85), (middle - 20, 120))
        drawing.arrow((middle, 160), (middle, 195))
    drawing.arrow((235, 85), (235, 215), (220, 215))
    drawing.arrow((570, 85), (570, 215), (555, 215))
    return drawing


def bottleneck() -> Drawing:
    """Draws the base, the bottleneck, and the new head that replaces the old one."""
    drawing = Drawing(640, 310, "A bottleneck between base and head")
    drawing.box(10, 10, 190, 46, "JPEG\none string", INPUT)
    drawing.box(10, 82, 190, 46, "decode, resize, scale\nno weights", PLAIN)
    drawing.box(10, 154, 190, 62, "the base, frozen\nconvolutions\nthat find useful shapes", FROZEN)
    drawing.box(10, 250, 190, 50, "bottleneck\none vector", OUTPUT)
    for top, bottom in ((56, 82), (128, 154), (216, 250)):
        drawing.arrow((105, top), (105, bottom))
    drawing.box(240, 250, 160, 50, "store\none vector per image", PLAIN)
    drawing.arrow((200, 275), (240, 275))
    drawing.box(440, 240, 190, 60, "the new head\nmatmul, biases: trained", WEIGHTS)
    drawing.arrow((400, 275), (440, 275))
    drawing.box(440, 154, 190, 46, "flower classes\nlogits", OUTPUT)
    drawing.arrow((535, 240), (535, 200))
    drawing.box(240, 154, 160, 62, "the old head\nits classes\nare not ours", PLAIN)
    drawing.arrow((150, 250), (240, 200), dashed=True)
    drawing.text(320, 143, "cut off")
    return drawing


def two_pieces() -> Drawing:
    """Draws how `base_graph.attach` imports a frozen graph: preparation, placeholder, net."""
    return column(
        "Four places to feed the base",
        [
            ("DecodeJpeg/contents:0", "feed the bytes of one JPEG", INPUT),
            ("DecodeJpeg:0", "or a decoded picture, uint8", INPUT),
            ("ResizeBilinear, Sub, Mul", "resize and scale; names of 2015", PLAIN),
            ("prepared:0", "or a batch of prepared pictures:\na placeholder with a default", INPUT),
            ("base/...", "the frozen net", FROZEN),
            ("base/as_vectors:0", "fetch the bottlenecks", OUTPUT),
        ],
    )


def inverted_residual() -> Drawing:
    """Draws a block of MobileNetV2."""
    drawing = column(
        "An inverted residual",
        [
            ("few channels", "", INPUT),
            ("expand: 1 x 1 convolution", "six times the channels; norm, ReLU6", WEIGHTS),
            ("depthwise: 3 x 3", "each channel separately; norm, ReLU6", WEIGHTS),
            ("project: 1 x 1 convolution", "few channels again; norm, no ReLU", WEIGHTS),
            ("add the block's input", "", PLAIN),
        ],
    )
    drawing.arrow((290, 28), (595, 28), (595, 256), (290, 256), dashed=True)
    drawing.text(440, 248, "if the shapes agree")
    return drawing


def two_phases() -> Drawing:
    """Draws which layers each phase of fine-tuning trains."""
    drawing = Drawing(640, 270, "What each phase trains")
    names = ("lower layers\nedges, colours", "upper layers\nparts of things", "head\ncat or dog?")
    phases = (
        ("phase 1: Adam, 1e-4", (FROZEN, FROZEN, WEIGHTS), ("frozen", "frozen", "trained")),
        ("phase 2: RMSprop, 1e-5", (FROZEN, WEIGHTS, WEIGHTS), ("frozen", "trained", "trained")),
    )
    for row, (phase, fills, states) in enumerate(phases):
        y = 35 + 130 * row
        drawing.text(10, y - 12, phase, bold=True, anchor="start")
        for place, (name, fill, state) in enumerate(zip(names, fills, states, strict=True)):
            x = 10 + 220 * place
            drawing.box(x, y, 180, 50, name, fill)
            drawing.text(x + 90, y + 70, state)
            if place:
                drawing.arrow((x - 40, y + 25), (x, y + 25))
    return drawing


def layer_bar(layers: Sequence[int], fine_tune_at: int) -> Drawing:
    """Draws the net's layers as a bar, cut at `fine_tune_at`.

    Args:
        layers: the number of weights of each layer, in order.
        fine_tune_at: the index of the first layer to train.
    """
    drawing = Drawing(640, 190, f"The layers of the base, cut at layer {fine_tune_at}")
    width, highest = 620 / len(layers), max(layers)
    for number, count in enumerate(layers):
        height = 110 * (count / highest) ** 0.5
        fill = WEIGHTS if number >= fine_tune_at else FROZEN
        drawing._shapes.append(
            f'<rect x="{10 + width * number:.1f}" y="{130 - height:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" fill="{fill}" stroke="{_INK}" stroke-width="0.4"/>'
        )
    cut = 10 + width * fine_tune_at
    drawing.arrow((cut, 8), (cut, 132), dashed=True)
    drawing.text(cut, 150, f"layer {fine_tune_at}", bold=True)
    frozen, trained = sum(layers[:fine_tune_at]), sum(layers[fine_tune_at:])
    drawing.text(10, 175, f"frozen: {frozen:,} numbers", anchor="start")
    drawing.text(630, 175, f"trained: {trained:,} numbers", anchor="end")
    drawing.text(15, 20, "height: square root of a layer's numbers", anchor="start")
    return drawing


def one_net_two_inputs() -> Drawing:
    """Draws an iterator that a string handle selects."""
    drawing = Drawing(640, 200, "One net, two inputs")
    drawing.box(10, 10, 230, 46, "training iterator\nnever ends", INPUT)
    drawing.box(10, 78, 230, 46, "evaluation iterator\none pass", INPUT)
    drawing.box(10, 146, 230, 46, "placeholder\na handle is fed", PLAIN)
    drawing.box(300, 66, 150, 68, "from_string_handle\nget_next", PLAIN)
    drawing.box(500, 66, 130, 68, "the net\nbuilt once", WEIGHTS)
    drawing.arrow((240, 33), (300, 80))
    drawing.arrow((240, 100), (300, 100))
    drawing.arrow((240, 169), (300, 122), dashed=True)
    drawing.arrow((450, 100), (500, 100))
    return drawing
