"""Finds Python files and notebooks, and reads them into syntax trees."""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import io
import json
import os
import pathlib
import re
import textwrap
import tokenize
from collections.abc import Iterator, Sequence

from porting import syntax
from tutorial_support.programs import UsageError, reason

SUFFIXES = (".py", ".ipynb")
_MOST_BYTES = 50_000_000  # per file; a notebook contains its pictures


@dataclasses.dataclass
class Source:
    """One file that was read.

    Attributes:
        path: the file as the user named it, or inside the folder that the user named.
        text: Python source; for a notebook, its code cells one after the other.
        tree: the parsed part of `text`.
        cells: for a notebook, (number of the cell, line in it) for each line of text.
        python2: the first line with Python 2 syntax, or None.
        left_out: the lines that could not be parsed.
        not_utf8: the first line that is not UTF-8 in a file that declares no encoding, or None.
        problem: why the whole file cannot be read, or "".
    """

    path: pathlib.Path
    text: str = ""
    tree: ast.Module = dataclasses.field(default_factory=lambda: ast.Module([], []))
    cells: list[tuple[int, int]] | None = None
    python2: int | None = None
    left_out: list[int] = dataclasses.field(default_factory=list)
    not_utf8: int | None = None
    problem: str = ""

    def place(self, line: int) -> tuple[int | None, int]:
        """Returns (cell, line in the cell) for a line of `text`; the cell of a file is None."""
        if self.cells is None or not 1 <= line <= len(self.cells):
            return None, line
        return self.cells[line - 1]


def find(paths: Sequence[str], exclude: Sequence[str] = ()) -> list[pathlib.Path]:
    """Returns the Python files and notebooks in `paths` and their subfolders, without duplicates.

    Args:
        paths: files and folders. Hidden folders and virtual environments in them are left out.
        exclude: glob patterns; a file is left out if its path, or the end of its path from any
            folder on, matches one.

    Raises:
        UsageError: a path does not exist, a file is neither Python nor a notebook, or no file is
            left.
    """
    files: dict[pathlib.Path, None] = {}
    for name in paths:
        path = pathlib.Path(name)
        if path.is_dir():
            found = list(_below(path))
            if not found:
                raise UsageError(f"'{path}' holds no Python file or notebook; name another folder")
        elif not path.exists():
            raise UsageError(f"'{path}' does not exist; name a file or a folder")
        elif path.suffix not in SUFFIXES or not path.is_file():
            raise UsageError(
                f"'{path}' is neither a Python file (.py) nor a notebook (.ipynb); name one"
            )
        else:
            found = [path]
        files.update(dict.fromkeys(file for file in found if not _matches(file, exclude)))
    if not files:
        raise UsageError("--exclude leaves out every file; name fewer")
    return list(files)


def _below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for root, folders, names in os.walk(folder):
        here = pathlib.Path(root)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name != "__pycache__"
            and not (here / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            if name.endswith(SUFFIXES) and (here / name).is_file():
                yield here / name


def _matches(path: pathlib.Path, patterns: Sequence[str]) -> bool:
    parts = path.parts
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    return any(fnmatch.fnmatch(tail, pattern) for tail in tails for pattern in patterns)


def read(path: pathlib.Path) -> Source:
    """Reads and parses one file; errors are in the result's `problem`."""
    source = Source(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES // 1_000_000} MB")
        if path.suffix == ".ipynb":
            _read_notebook(source)
        else:
            source.text, source.not_utf8 = _decode(path.read_bytes())
            _add(source, syntax.parse(source.text), first_line=1)
    except SyntaxError as error:
        source.problem = f"it is not Python: line {error.lineno}: {error.msg}"
    except OSError as error:
        source.problem = reason(error)
    except ValueError as error:
        source.problem = str(error)
    except (RecursionError, MemoryError):
        source.problem = "its expressions are nested too deeply"
    return source


def _decode(data: bytes) -> tuple[str, int | None]:
    """Returns the text, and the first line that Python 3 could not decode, or None."""
    if b"\0" in data:
        raise ValueError("it holds binary data")
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding).removeprefix("\ufeff"), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    except SyntaxError:  # an unknown encoding, or bytes in the first two lines that are not UTF-8
        line = 1
    return data.decode("latin-1"), line  # never fails, and names in code are ASCII


def _add(source: Source, parsed: syntax.Parsed, first_line: int) -> None:
    """Adds a parsed file or cell that begins in line `first_line` of the text."""
    for statement in parsed.statements:
        ast.increment_lineno(statement, first_line - 1)
    source.tree.body += parsed.statements
    source.left_out += [first_line - 1 + line for line in parsed.left_out]
    if parsed.python2 and not source.python2:
        source.python2 = first_line - 1 + parsed.python2


def code_cells(notebook: dict) -> list[dict]:
    """Returns the code cells of a parsed notebook, of format 4 or 3.

    Raises:
        ValueError: the JSON is not a notebook.
    """
    try:
        sheets = notebook.get("worksheets") or [notebook]
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
        return [cell for cell in cells if cell["cell_type"] == "code"]
    except (AttributeError, KeyError, TypeError):
        raise ValueError("it is not a notebook") from None


def cell_text(cell: dict) -> str:
    """Returns the source of a code cell as one string, without the indentation of the whole."""
    lines = cell.get("source", cell.get("input", "")) or ""
    text = lines if isinstance(lines, str) else "".join(map(str, lines))
    return textwrap.dedent(text) if text.lstrip("\n").startswith((" ", "\t")) else text


_OTHER_LANGUAGE = re.compile(r"\s*%%(?!time|timeit|capture|prun)")


def _read_notebook(source: Source) -> None:
    """Parses cell by cell, so a cell that is not Python does not affect the others."""
    try:
        notebook = json.loads(source.path.read_bytes())
    except ValueError:
        raise ValueError("it is not a notebook: its text is not JSON") from None
    source.cells = []
    texts = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        text = cell_text(cell)
        first_line = len(source.cells) + 1
        source.cells += [(number, line + 1) for line in range(text.count("\n") + 1)]
        texts.append(text)
        if _OTHER_LANGUAGE.match(text):
            continue
        try:
            _add(source, syntax.parse(text, is_cell=True), first_line)
        except SyntaxError as error:
            source.left_out.append(first_line - 1 + (error.lineno or 1))
    source.text = "\n".join(texts)
