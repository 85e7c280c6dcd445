"""Parses Python source: Python 3, notebook cells with magics, and most of Python 2.

The time is linear in the length of the text: it is parsed in a few forms, and then a bounded
number of times without the lines that cause errors.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import warnings
from collections.abc import Sequence

_MOST_ATTEMPTS = 20  # to parse one text, before all of it counts as unreadable


@dataclasses.dataclass
class Parsed:
    """A parsed text.

    Attributes:
        statements: the parsed statements.
        python2: the first line that Python 3 rejects but that may be Python 2, or None.
        left_out: the lines that are not valid Python.
    """

    statements: list[ast.stmt]
    python2: int | None = None
    left_out: Sequence[int] = ()


def parse(text: str, is_cell: bool = False) -> Parsed:
    """Parses a text; with `is_cell`, it may contain a notebook's magics.

    Raises:
        SyntaxError: it is not Python.
    """
    forms = [text]
    if is_cell:  # first with the code that magics run; then, if that is no Python, without it
        forms += [_without_magics(_with_their_code(text)), _without_magics(text)]
    for form in forms:
        try:
            return Parsed(_statements(form))
        except SyntaxError as error:
            first_error = error
    statements, left_out = _parse_most(_as_python_3(forms[-1]))
    return Parsed(statements, first_error.lineno or 1, left_out)


def _statements(text: str) -> list[ast.stmt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as for "\d"
        return ast.parse(text).body


# A magic that runs the rest of its line, such as `%time x = f()`. `if 1:` is no longer than any of
# them, so the code keeps its column.
_RUNS_CODE = re.compile(
    r"^([ \t]*)(%(?:time|timeit|prun)\b(?:[ \t]+-\w+(?:[ \t]*\d+)?)*)(?=[ \t]+\S)", re.M
)
_COMMAND = r"(?:.*\\\n)*.*"  # it may continue after a backslash
_MAGIC = re.compile(
    rf"^([ \t]*)(?:[%!?]{_COMMAND}|[\w.]+\?\??[ \t]*|\w+ *= *[%!]{_COMMAND})$", re.M
)


def _with_their_code(text: str) -> str:
    return _RUNS_CODE.sub(lambda match: match[1] + "if 1:".ljust(len(match[2])), text)


def _without_magics(text: str) -> str:
    return _MAGIC.sub(lambda match: match[1] + "pass" + "\n" * match[0].count("\n"), text)


# A statement begins a line, or follows `if x:` or a semicolon.
_STATEMENT = r"^([ \t]*(?:[^#'\"\n]{0,200}[:;])?[ \t]*)"
_PYTHON_2 = [
    # As an assignment, an expression may continue over several lines; columns stay the same.
    (rf"{_STATEMENT}print(?= *>>)", r"\1_   ="),
    (rf"{_STATEMENT}print(?=[ \t]+[^=\s]|[\"'])", r"\1_   ="),
    (rf"{_STATEMENT}exec(?=[ \t]+[^=\s]|[\"'])", r"\1_  ="),
    (rf"{_STATEMENT}raise(?=[ \t]+[\w.]+[ \t]*,)", r"\1_   ="),
    (r"^([ \t]*except[ \t]+(?:[\w.]+|\([^)\n]*\)))[ \t]*,[ \t]*(\w+)[ \t]*:", r"\1 as \2:"),
    (r"\blambda *\(([\w, ]+)\) *:", r"lambda \1:"),
    (r"\b(0[xX][0-9a-fA-F]+|\d+)[lL]\b", r"\1"),
    (r"(?<![\w.])0(\d+)(?![\w.])", r"0o\1"),
    (r"\b[uU][rR](?=['\"])", "r"),
    (r"`([^`\n]*)`", r"repr(\1)"),
    (r"<>", "!="),
    (r"\basync\b(?! +(?:def|for|with)\b)", "async_"),
]


def _as_python_3(text: str) -> str:
    """Replaces Python 2 syntax with Python 3 code that uses the same names."""
    text = "\n".join(line.expandtabs(8) for line in text.split("\n"))
    for pattern, replacement in _PYTHON_2:
        text = re.sub(pattern, replacement, text, flags=re.M)
    text = re.sub(r"^([ \t]*)_   =[ \t]*>>", r"\1_ = 0 >>", text, flags=re.M)
    return _SIGNATURE.sub(lambda match: _TUPLE.sub(r"\1 \2 ", match[0]), text)


# In Python 2, a parameter may be a tuple of names: `def area(self, (width, height)):`.
_SIGNATURE = re.compile(r"^[ \t]*def[ \t]+\w+[ \t]*\(.*$", re.M)
_TUPLE = re.compile(r"([(,][ \t]*)\((\w+(?:[ \t]*,[ \t]*\w+)*),?[ \t]*\)(?=[ \t]*[,)=])")


def _parse_most(text: str) -> tuple[list[ast.stmt], list[int]]:
    """Parses a text without the lines that cause errors; returns those lines as well."""
    lines = text.split("\n")
    left_out: list[int] = []
    while True:
        try:
            return _statements("\n".join(lines)), sorted(set(left_out))
        except SyntaxError as error:
            number = _line_to_leave_out(lines, error.lineno or 1)
            if number is None or len(left_out) == _MOST_ATTEMPTS:
                raise
            lines[number - 1] = _replacement(lines[number - 1])
            left_out.append(number)


def _replacement(line: str) -> str:
    """Returns what takes the place of a line that causes an error: less at each attempt."""
    code = line.strip()
    indentation = line[: len(line) - len(line.lstrip())]
    if code.endswith(":") and code != "if 1:":
        return f"{indentation}if 1:"  # the lines below are its block
    return "" if code == "pass" else f"{indentation}pass"


def _line_to_leave_out(lines: list[str], number: int) -> int | None:
    """Returns the line of an error, or the last one before it that is not empty."""
    candidates = range(min(number, len(lines)), 0, -1)
    return next((number for number in candidates if lines[number - 1].strip()), None)
