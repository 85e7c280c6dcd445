"""Prepares text from users, such as class names, for tables and plots.

`programs.one_line` makes such text safe to print and write. This module shortens it, measures it,
and makes sure that it can be drawn.
"""

import functools
import unicodedata

from tutorial_support.programs import one_line

LONGEST = 24  # characters of a name in a table or plot
_GAP = "..."
# The first comes with matplotlib. The others have Chinese, Japanese and Korean characters and are
# used, if installed, for characters that the first lacks.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "IPAGothic",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Unifont",
)


def short(text: str, longest: int = LONGEST) -> str:
    """Returns `one_line(text)`, with the middle elided if it is longer than `longest` characters.

    Long names tend to differ at their ends.
    """
    text = one_line(text)
    if len(text) <= longest:
        return text
    head = (longest - len(_GAP) + 1) // 2
    tail = longest - len(_GAP) - head
    return text[:head] + _GAP + text[len(text) - tail :]


def right_aligned(text: str, width: int) -> str:
    """Returns `text` padded on the left to `width` terminal columns."""
    return " " * (width - columns(text)) + text


def columns(text: str) -> int:
    """Returns the width of a text in terminal columns; a Japanese character takes two."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 1 + (unicodedata.east_asian_width(character) in "WF")


@functools.cache
def fonts() -> list[str]:
    """Returns the installed fonts to draw with; each is the fallback for those before it."""
    from matplotlib import font_manager  # takes half a second, so only when something is drawn

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _FONTS if name in installed]


def drawable(text: str, longest: int = LONGEST) -> str:
    """Returns `short(text)` with escapes for characters that no font has."""
    text = short(text, longest)
    if text.isascii():
        return text
    return "".join(c if ord(c) in _characters() else ascii(c)[1:-1] for c in text)


@functools.cache
def _characters() -> frozenset[int]:
    from matplotlib import font_manager

    found = (font_manager.get_font(font_manager.findfont(name)) for name in fonts())
    return frozenset().union(*(font.get_charmap() for font in found))
