"""Plots and printed tables, with unusual names and many classes."""

import os
import pathlib
import subprocess
import sys
import warnings

import matplotlib.axes
import matplotlib.figure
import matplotlib.text
import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tutorial_support import plots, user_text


def test_confusion_against_counting_by_hand():
    labels, predictions = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    matrix = plots.confusion_matrix(labels, np.eye(3)[predictions])
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    logits = np.array([[1000.0, 1000.0], [0.0, np.log(3.0)]])
    np.testing.assert_allclose(plots.softmax(logits), [[0.5, 0.5], [0.25, 0.75]])


def test_plots_show_what_they_are_given(tmp_path):
    plots.curves("c.png", {"a": ([0, 1], [1, 2]), "b": ([0], [1])}, "T", "x", "y")
    plots.curves("empty.png", {}, "T", "x", "y")
    plots.draw_confusion("m.png", np.eye(3, dtype=int), ["a", "$b", "c$"], "T")
    red = np.zeros((2, 4, 4, 3))
    red[..., 0] = 1
    plots.picture_sheet("s.png", red, ["one", "two"], "T", columns=2)
    pixels = np.asarray(Image.open("s.png").convert("RGB"))
    assert ((pixels == [255, 0, 0]).all(axis=2)).mean() > 0.2
    plots.picture_sheet("none.png", red[:0], [], "nothing wrong")
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "c.png", "empty.png", "m.png", "s.png", "none.png",
    }  # fmt: skip


def test_a_users_settings_of_matplotlib_change_nothing():
    plots.curves("plain.png", {"a": ([0, 1], [1, 2])}, "T", "x", "y")
    with matplotlib.rc_context({"text.usetex": True, "savefig.dpi": 5000, "lines.linewidth": 9}):
        plots.curves("set.png", {"a": ([0, 1], [1, 2])}, "T", "x", "y")
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert pathlib.Path("set.png").read_bytes() == pathlib.Path("plain.png").read_bytes()


def test_an_unknown_backend_is_no_obstacle():
    code = "from tutorial_support import plots, programs; programs.before_tensorflow(); "
    code += "plots.draw_confusion('c.png', plots.np.eye(2, dtype=int), ['\u00fc', 'b'], 'T')"
    environment = os.environ | {"MPLBACKEND": "Qt4Agg", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_confusion_is_coloured_by_the_share_of_each_label(monkeypatch):
    coloured = []
    imshow = matplotlib.axes.Axes.imshow
    monkeypatch.setattr(
        matplotlib.axes.Axes, "imshow", lambda *a, **k: coloured.append(a[1]) or imshow(*a, **k)
    )
    plots.draw_confusion("m.png", np.array([[3, 1], [0, 8]]), ["a", "b"], "T")
    np.testing.assert_allclose(coloured, [[[0.75, 0.25], [0, 1]]])


def test_the_surest_mistakes_are_drawn_first():
    drawn = []
    labels = np.array([0, 0, 1, 1])
    logits = np.array([[0.0, 1.0], [5.0, 0.0], [9.0, 0.0], [3.0, 0.0]])  # the second is correct

    def pictures(chosen):
        drawn.extend(chosen)
        return np.zeros((len(chosen), 4, 4))

    plots.draw_predictions(pathlib.Path(), labels, logits, ["a", "b"], pictures, "T")
    assert drawn == [2, 3, 0]


NAMES = ["$5_off_$10", "caf\udce9", "a" * 199 + "1", "a" * 199 + "2", "日本", "🐱", "a\nb\x1b[2J\r"]


def test_names_of_any_kind_are_drawn_and_printed(tmp_path, capsys):
    matrix = np.arange(49).reshape(7, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as warnings about missing glyphs
        plots.draw_confusion("m.png", matrix, NAMES, NAMES[0])
        plots.picture_sheet("s.png", np.zeros((7, 3, 3)), NAMES, NAMES[2])
        plots.scatter("p.png", np.zeros((7, 2)), np.arange(7), NAMES, NAMES[0])
        plots.curves("c.png", {name: ([1], [1]) for name in NAMES}, NAMES[0], "x", NAMES[0])
    assert all(max(Image.open(path).size) < 2000 for path in tmp_path.glob("*.png"))
    plots.print_confusion(matrix, NAMES)
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert "one row per label" in title
    assert len({user_text.columns(line) for line in [header, *rows]}) == 1
    assert [list(map(int, row.split()[-7:])) for row in rows] == matrix.tolist()
    assert header.isprintable() and "caf\\xe9" in header
    assert "aaa1" in header and "aaa2" in header and "a" * 20 not in header


def test_text_is_shortened_in_its_middle_and_measured_in_columns():
    assert user_text.short("sea lion") == "sea lion"
    assert user_text.short("abcdefghijkl", 8) == "abc...kl"
    assert len(user_text.short("x" * 200)) == user_text.LONGEST
    assert (user_text.columns("日本"), user_text.columns("e\u0301"), user_text.columns("sea")) == (
        4,
        1,
        3,
    )
    assert user_text.right_aligned("日本", 6) == "  日本"


def test_characters_that_no_font_has_are_drawn_as_escapes():
    private = "\U000f1234"
    assert user_text.drawable(f"é$ {private}") == "é$ \\U000f1234"


@pytest.mark.parametrize("classes", [120, 1000])
def test_many_classes_are_drawn_small_and_their_mistakes_named(tmp_path, capsys, classes):
    labels = np.repeat(np.arange(classes), 2)
    predictions = labels.copy()
    predictions[[10, 11, 20]] = 7, 7, 8  # 5 as 7 twice, 10 as 8 once
    logits = np.eye(classes, dtype=np.float32)[predictions]
    names = [f"class {i}" for i in range(classes)]
    matrix = plots.confusion_matrix(labels, logits)
    assert plots.most_confused(matrix) == [(5, 7, 2), (10, 8, 1)]
    plots.print_confusion(matrix, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == ["  class 5 as class 7: 2", "  class 10 as class 8: 1"]
    assert f"among {classes} classes" in lines[0]
    plots.draw_predictions(
        tmp_path, labels, logits, names, lambda chosen: np.zeros((len(chosen), 4, 4)), "T"
    )
    plots.scatter(
        "p.png", np.random.default_rng(0).normal(size=(len(labels), 2)), labels, names, ""
    )
    assert all(max(Image.open(path).size) < 2000 for path in tmp_path.glob("*.png"))
    plots.print_confusion(np.diag(np.diag(matrix)), names)
    assert capsys.readouterr().out.splitlines()[1:] == ["  none"]


def test_no_text_is_cut_at_an_edge(monkeypatch):
    """Titles are centred over figures of any width, next to names of any length."""
    cut = []
    savefig = matplotlib.figure.Figure.savefig

    def checked(figure, *arguments, **options):
        savefig(figure, *arguments, **options)
        edges = figure.bbox.padded(1)
        for text in figure.findobj(matplotlib.text.Text):
            extent = text.get_window_extent()
            is_number = not text.get_text().strip("−.0123456789")  # ticks beyond the axes are there
            if not is_number and not all(edges.contains(*end) for end in (extent.min, extent.max)):
                cut.append(text.get_text())

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", checked)
    title = (
        "Validation images of the shipped sample, my_long_run_folder at step 20000, 91.20% correct"
    )
    for names in (["a" * 24, "b" * 24], ["automobile"] * 10, ["a class"] * 31):
        labels = np.arange(len(names))
        logits = np.eye(len(names))[::-1]
        picture = lambda chosen: np.zeros((len(chosen), 4, 4))  # noqa: E731
        plots.draw_predictions(pathlib.Path(), labels, logits, names, picture, title)
        plots.scatter("p.png", np.eye(len(names))[:, :2], labels, names, title)
    plots.curves("c.png", {"a" * 60: ([0, 1], [1, 2])}, title, "x", "cross entropy, nats")
    for columns in (3, 5, 8):
        plots.picture_sheet("s.png", np.zeros((9, 4, 4)), ["a" * 24] * 9, title, columns)
    assert not cut
