"""The package's code that the notebooks show exists; checked without running notebooks."""

import re

import pytest

from notebooks import build
from tests.conftest import REPOSITORY

_SHOWN = re.compile(r"^source\.show\(.*\)$", re.MULTILINE)
_IMPORTS = re.compile(r"^(?:import|from) [^\n]*$", re.MULTILINE)


@pytest.mark.parametrize("text", build.texts(), ids=lambda text: text.stem)
def test_shown_sources(text):
    cells = [cell.source for cell in build.read(text).cells if cell.cell_type == "code"]
    namespace = {}
    exec("\n".join(line for cell in cells for line in _IMPORTS.findall(cell)), namespace)
    shown = [call for cell in cells for call in _SHOWN.findall(cell)]
    assert shown
    for call in shown:
        source = eval(call, namespace)
        place = source.place.partition(",")[0]
        path = REPOSITORY / place
        assert source.text.splitlines()[0].strip() in path.read_text()
