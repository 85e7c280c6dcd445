"""Builds the notebooks, with their outputs, from their texts.

    python -m notebooks.build                   runs every text and writes its .ipynb
    python -m notebooks.build 1_mnist_mechanics builds only this one
    python -m notebooks.build --check           compares texts and .ipynb without running them

Run it in the repository. Each notebook runs in a fresh kernel, in an empty folder, on the samples.
"""

import argparse
import os
import pathlib
import re
import sys
import tempfile
import time

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = pathlib.Path(__file__).resolve().parent
SAMPLE = "GRAPH_TUTORIALS_SAMPLE"  # notebooks use the samples if this variable is set
LARGEST = 600_000  # bytes of an .ipynb
TIMEOUT = 180  # seconds per notebook


def texts() -> list[pathlib.Path]:
    """Returns the texts of the notebooks, in order."""
    return sorted(HERE.glob("[0-9]_*.md"))


def read(text: pathlib.Path) -> nbformat.NotebookNode:
    """Converts a text to a notebook without outputs."""
    notebook = jupytext.read(text, fmt="md:myst")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same in every build
    return notebook


def execute(
    text: pathlib.Path, folder: str | os.PathLike, data: str | os.PathLike | None = None
) -> nbformat.NotebookNode:
    """Runs a text in a fresh kernel, in `folder`; returns it with its outputs.

    Args:
        text: the text of the notebook.
        folder: the kernel's current folder.
        data: a cache folder with the real data; None uses the samples.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an unexpected exception.
        nbclient.exceptions.CellTimeoutError: the notebook took longer than TIMEOUT.
    """
    notebook = read(text)
    # TensorFlow prints messages when it is imported, which are not part of the lesson.
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "GRAPH_TUTORIALS_DATA": str(data or pathlib.Path(folder) / "cache"),
    }
    environment |= {} if data else {SAMPLE: "1"}
    end = time.monotonic() + TIMEOUT
    client = NotebookClient(
        notebook,
        timeout_func=lambda cell: max(1, int(end - time.monotonic())),
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
    )
    client.execute(env=environment)
    notebook.metadata.language_info = {"name": "python"}  # without the kernel's version
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times, which differ in every build
        if cell.cell_type == "code":
            outputs = [output for output in cell.outputs if not _is_chatter(output)]
            cell.outputs = _joined(outputs)
    return notebook


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Joins consecutive outputs of the same stream."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


_CHATTER = re.compile(r"absl::InitializeLog|^[WIE]0000 |port\.cc|cudart_stub|cpu_feature_guard")


def _is_chatter(output: nbformat.NotebookNode) -> bool:
    """Returns whether an output contains only messages from loading TensorFlow."""
    if output.output_type != "stream" or output.name != "stderr":
        return False
    lines = [line for line in output.text.splitlines() if line.strip()]
    return all(_CHATTER.search(line) for line in lines)


def differences(text: pathlib.Path) -> list[str]:
    """Returns what is wrong with a text's .ipynb: different cells, no outputs, or its size."""
    path = text.with_suffix(".ipynb")
    if not path.exists():
        return [f"{path.name} is missing"]
    made, wanted = nbformat.read(path, as_version=4), read(text)
    found = []
    ours = [(cell.cell_type, cell.source) for cell in made.cells]
    theirs = [(cell.cell_type, cell.source) for cell in wanted.cells]
    if ours != theirs:
        number = next(
            (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
            min(len(ours), len(theirs)),
        )
        found.append(f"{path.name} differs from {text.name} from cell {number} on")
    for number, cell in enumerate(made.cells):
        if cell.cell_type == "code" and cell.execution_count is None:
            found.append(f"{path.name}: cell {number} was not run")
    if path.stat().st_size > LARGEST:
        found.append(f"{path.name} is larger than {LARGEST} bytes; draw smaller pictures")
    return found


def main(argv: list[str] | None = None) -> int:
    """Executes the notebooks, or checks them; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="The texts to build; by default all of them.")
    parser.add_argument("--check", action="store_true", help="Only compare; run nothing.")
    flags = parser.parse_args(argv)
    wanted = {name.removesuffix(".md").removesuffix(".ipynb") for name in flags.names}
    if unknown := wanted - {text.stem for text in texts()}:
        parser.error(f"there is no text for {', '.join(sorted(unknown))} in {HERE}")
    chosen = [text for text in texts() if not wanted or text.stem in wanted]
    if not flags.check:
        for text in chosen:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(execute(text, folder), text.with_suffix(".ipynb"))
            print(f"{text.stem}.ipynb is written.")
    wrong = [line for text in chosen for line in differences(text)]
    for line in wrong:
        print(f"error: {line}; run python -m notebooks.build", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
