"""Makes the safe changes in files: imports of compat.v1, and renamed arguments."""

from __future__ import annotations

import codecs
import json
import pathlib
import re
from collections import defaultdict
from collections.abc import Sequence

from porting.findings import Change, Finding
from porting.sources import Source, cell_text, code_cells
from tutorial_support.files import replacing
from tutorial_support.programs import UsageError


def fix(
    files: Sequence[Source], findings: Sequence[Finding], folder: pathlib.Path | None
) -> dict[pathlib.Path, pathlib.Path]:
    """Writes the changed files into `folder`, or in place if it is None.

    A file that has Python 2 syntax or is not UTF-8 does not change, because the positions of its
    changes are uncertain.

    Returns:
        {original file: new file} for each file that was written.

    Raises:
        UsageError: a target exists or is the same for two files, or a folder cannot be created.
            Then nothing is written.
    """
    changes = defaultdict(list)
    for finding in findings:
        if finding.change:
            changes[finding.file].append(finding.change)
    contents = {file.path: _fixed(file, changes[file.path]) for file in files}
    targets = {
        path: _below(folder, path) if folder else path
        for path, data in contents.items()
        if data is not None
    }
    originals: dict[pathlib.Path, pathlib.Path] = {}
    for path, target in targets.items():
        if (other := originals.setdefault(target, path)) != path:
            raise UsageError(
                f"--fix: '{other}' and '{path}' would both be written to '{target}'; fix them one "
                "at a time, into different folders"
            )
        if target != path and target.exists():
            raise UsageError(f"'{target}' exists; name another folder for --fix")
    for target in targets.values():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"--fix: cannot create '{target.parent}' ({error.strerror}); name another folder"
            ) from None
    for path, target in targets.items():
        _write(target, contents[path] or b"", path)
    return targets


def _below(folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a fixed file in `folder`; drops an absolute root and `..`."""
    return pathlib.Path(folder, *[part for part in path.parts if part not in (path.anchor, "..")])


def _fixed(source: Source, changes: Sequence[Change]) -> bytes | None:
    """Returns the contents of a file with its changes, or None if it does not change."""
    if source.python2 or not changes:
        return None
    data = source.path.read_bytes()
    if source.cells is not None:
        return _fixed_notebook(json.loads(data), source, changes)
    encoding = "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"
    try:
        return apply(data.decode(encoding), changes).encode(encoding)
    except UnicodeDecodeError:
        return None


def apply(text: str, changes: Sequence[Change]) -> str:
    """Applies the changes to `text`; skips a position that does not hold the old text."""
    pieces = re.split(r"(\r\n|\r|\n)", text)  # the lines, with their ends between them
    for change in sorted(set(changes), key=lambda c: (c.line, c.column), reverse=True):
        place = 2 * (change.line - 1)
        line = pieces[place].encode()
        before, rest = line[: change.column], line[change.column :]
        if rest.startswith(change.old.encode()):
            new = before + change.new.encode() + rest[len(change.old.encode()) :]
            pieces[place] = new.decode()
    return "".join(pieces)


def _fixed_notebook(notebook: dict, source: Source, changes: Sequence[Change]) -> bytes:
    """Changes only the code cells of a notebook, not its outputs or metadata."""
    by_cell = defaultdict(list)
    for change in changes:
        cell_number, line = source.place(change.line)
        by_cell[cell_number].append(Change(line, change.column, change.old, change.new))
    for number, cell in enumerate(code_cells(notebook), start=1):
        if number in by_cell:
            key = "source" if "source" in cell else "input"
            text = apply(cell_text(cell), by_cell[number])
            cell[key] = text.splitlines(keepends=True) if isinstance(cell[key], list) else text
    return _as_before(notebook, source.path.read_bytes().decode("utf-8-sig"))


def _as_before(notebook: dict, old: str) -> bytes:
    """Returns a notebook as JSON, laid out like its old text."""
    indentation = re.match(r"\{\r?\n([ \t]*)", old)
    is_compact = indentation is None and '": ' not in old[:1000]
    text = json.dumps(
        notebook,
        indent=indentation[1] if indentation else None,
        ensure_ascii=old.isascii(),
        separators=(",", ":") if is_compact else None,
    )
    text += "\n" * old.endswith("\n")
    if "\r\n" in old:
        text = text.replace("\n", "\r\n")
    return text.encode(errors="backslashreplace")  # half of a surrogate pair stays an escape


def _write(target: pathlib.Path, data: bytes, original: pathlib.Path) -> None:
    """Writes a file atomically, with the permissions of the original; follows a link."""
    with replacing(target.resolve()) as temporary:
        temporary.write_bytes(data)
        temporary.chmod(original.stat().st_mode & 0o777)
