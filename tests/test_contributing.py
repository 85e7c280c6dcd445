"""The tutorial in CONTRIBUTING.md runs exactly as printed there, and is short."""

import importlib.util
import pathlib
import re

import pytest

from tests.conftest import REPOSITORY
from tests.saved import assert_same
from tutorial_support import checkpoints

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"<!-- softmax_regression\.py -->\n```python\n(.*?)```", PAGE, re.S)


@pytest.fixture
def tutorial():
    pathlib.Path("softmax_regression.py").write_text(CODE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("softmax_regression", "softmax_regression.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_has_at_most_60_lines():
    assert len(CODE.splitlines()) <= 60


def test_it_trains_resumes_and_is_evaluated(tutorial, capsys):
    assert tutorial.main(["--log_dir", "whole"]) == 0
    assert tutorial.main(["--log_dir", "parts", "--max_steps", "200"]) == 0
    assert tutorial.main(["--log_dir", "parts"]) == 0
    assert "Resuming at step 200" in capsys.readouterr().out
    assert assert_same("whole", "parts")["global_step"] == 500
    assert len(checkpoints.all_numbered("whole")) == 5

    assert tutorial.evaluate(["--checkpoint", "whole"]) == 0
    printed = capsys.readouterr().out
    accuracy = float(re.search(r"Accuracy on the test images = (\S+)% \(N=1000\)", printed)[1])
    assert accuracy > 80
    assert pathlib.Path("whole/evaluation/confusion-test.png").exists()


def test_a_run_of_other_code_is_refused_in_one_sentence(tutorial, capsys):
    assert tutorial.main(["--max_steps", "0"]) == 2
    assert tutorial.evaluate(["--checkpoint", "none"]) == 2
    assert "there is no checkpoint 'none'" in capsys.readouterr().err
