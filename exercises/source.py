"""Shows the package's own code in a notebook, so the text cannot diverge from the code."""

import inspect
import pathlib
import textwrap
from collections.abc import Callable
from typing import Any


class Source:
    """Source code and its location; a notebook shows it highlighted.

    Attributes:
        text: the code.
        place: file and line, as in "mnist_mechanics/mnist.py, line 58".
    """

    def __init__(self, text: str, place: str) -> None:
        self.text, self.place = text, place

    def _repr_markdown_(self) -> str:
        return f"`{self.place}`\n\n```python\n{self.text}\n```"

    def __repr__(self) -> str:
        return f"# {self.place}\n{self.text}"


def show(thing: Callable | type | Any, first: str = "", last: str = "") -> Source:
    """Returns the source of a function, class or module, or a part of it.

    Args:
        thing: the function, class or module. A decorated function is shown as written.
        first: a text in the first line to show; "" starts at the beginning.
        last: a text in the last line to show, at or after the first one; "" goes to the end.

    Raises:
        ValueError: no line holds `first` or `last`.
    """
    thing = inspect.unwrap(thing) if callable(thing) else thing
    lines, number = inspect.getsourcelines(thing)
    number = max(number, 1)
    start = _index(lines, first, 0) if first else 0
    stop = _index(lines, last, start) + 1 if last else len(lines)
    path = pathlib.Path(inspect.getsourcefile(thing) or "")
    text = textwrap.dedent("".join(lines[start:stop])).rstrip()
    return Source(text, f"{path.parent.name}/{path.name}, line {number + start}")


def _index(lines: list[str], text: str, start: int) -> int:
    for index in range(start, len(lines)):
        if text in lines[index]:
            return index
    raise ValueError(f"no line holds {text!r}")
