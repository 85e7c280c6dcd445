"""Exercises, sources and the notebooks' texts."""

import nbformat
import pytest

from exercises import source
from exercises.exercise import exercise, require
from mnist_mechanics import fully_connected_feed, mnist
from notebooks import build
from tests.conftest import REPOSITORY


@exercise("Think.", "Double it.")
def double(answer):
    """Checks a function."""
    require(callable(answer), "Write a function.")
    require(answer(2) == 4, "It must double 2.", hint=2)
    return "It doubles."


def test_a_check_tells_answers_apart():
    assert repr(double.check(lambda x: 2 * x)) == "Right. It doubles."
    assert repr(double.check(lambda x: x)) == "Not yet. It must double 2. (hint(2) helps.)"
    assert repr(double.check(3)) == "Not yet. Write a function."
    assert "`...`" in double.check(...).message
    assert "ZeroDivisionError: division by zero" in double.check(lambda x: x / 0).message
    assert repr(double.hint(2)) == "Hint 2 of 2: Double it."
    assert "solutions" in double.hint(3)


def test_shows_the_source_that_runs():
    shown = source.show(mnist.loss)
    assert shown.text in (REPOSITORY / "mnist_mechanics" / "mnist.py").read_text()
    assert shown.text.startswith("def loss(") and shown.text.endswith('name="xentropy_mean")')
    number = int(shown.place.rpartition(" ")[2])
    lines = (REPOSITORY / "mnist_mechanics" / "mnist.py").read_text().splitlines()
    assert lines[number - 1].startswith("def loss(")

    part = source.show(fully_connected_feed.run_training, "for step in", "_, loss_value =")
    assert part.text.startswith("for step in run.steps(")
    assert "_, loss_value = sess.run(" in part.text.splitlines()[-1]
    assert source.show(fully_connected_feed.main).text.startswith("@programs.program\ndef main")
    with pytest.raises(ValueError, match="no line holds"):
        source.show(mnist.loss, "gradient")


@pytest.mark.parametrize("text", build.texts(), ids=lambda text: text.stem)
def test_text_and_notebook_agree(text):
    assert build.differences(text) == []


def test_differences_are_found(tmp_path):
    text = tmp_path / "0_try.md"
    text.write_text("Prose.\n\n```{code-cell} ipython3\n1 + 1\n```\n")
    assert build.differences(text) == ["0_try.ipynb is missing"]
    notebook = build.read(text)
    nbformat.write(notebook, text.with_suffix(".ipynb"))
    assert build.differences(text) == ["0_try.ipynb: cell 1 was not run"]
    notebook.cells[1].execution_count = 1
    nbformat.write(notebook, text.with_suffix(".ipynb"))
    assert build.differences(text) == []
    notebook.cells[1].source = "1 + 2"
    nbformat.write(notebook, text.with_suffix(".ipynb"))
    assert build.differences(text) == ["0_try.ipynb differs from 0_try.md from cell 1 on"]


@pytest.mark.slow
@pytest.mark.parametrize("text", build.texts(), ids=lambda text: text.stem)
def test_runs_afresh_from_an_installed_wheel(text, installed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(installed))
    notebook = build.execute(text, tmp_path)
    for cell in notebook.cells:
        failed = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        assert not failed or "raises-exception" in cell.metadata.get("tags", [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("1_mnist_mechanics", {"mnist": "mnist"}),
        ("2_cifar10_cnn", {"cifar-10-batches-bin": "cifar10/cifar-10-batches-bin"}),
    ],
)
def test_runs_on_the_real_data(name, folders, real_data, tmp_path):
    """The other notebooks need published nets, which the real data does not include."""
    for source_name, target in folders.items():
        (tmp_path / "cache" / target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache" / target).symlink_to(real_data / source_name)
    text = build.HERE / f"{name}.md"
    notebook = build.execute(text, tmp_path, tmp_path / "cache")
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert {"1": "55000", "2": "50000"}[name[0]] in printed.replace(",", "")


@pytest.mark.slow
def test_the_kernel_imports_from_the_wheel_alone(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(installed))
    text = tmp_path / "0_where.md"
    text.write_text("```{code-cell} ipython3\nimport exercises\nprint(exercises.__file__)\n```\n")
    notebook = build.execute(text, tmp_path)
    assert notebook.cells[0].outputs[0].text.startswith(str(installed))
