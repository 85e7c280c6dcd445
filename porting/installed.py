"""Looks up names in the installed TensorFlow, in separate processes.

This process does not import TensorFlow. Separate processes can also try both versions of Keras: the
default, and TF_USE_LEGACY_KERAS=1, which must be set before the first import of TensorFlow.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable

from porting.uses import SWITCH
from tutorial_support.programs import UsageError

_SECONDS = 300  # time limit for loading TensorFlow and all lookups


@dataclasses.dataclass(frozen=True)
class Question:
    """A name, the calls of it and `uses.Use.access`; see `porting.lookup.answer`."""

    name: str
    access: str
    calls: tuple[tuple[int | None, tuple[str, ...]], ...] = ()


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result of looking up a name in the installed TensorFlow.

    Attributes:
        found: whether the name exists.
        why: TensorFlow's error message for a missing name.
        renamed: the new name of a missing one from TensorFlow's table of renames, such as
            "tf.data.experimental.AUTOTUNE"; "" if there is none.
        problems: for each call of the question, its problems.
        found_by_switch: whether TF_USE_LEGACY_KERAS=1 brings the name back; None if not tried,
            because the package tf_keras is not installed.
        differs: whether compat.v1 has something else under the same name.
    """

    found: bool
    why: str
    renamed: str
    problems: dict[tuple[int | None, tuple[str, ...]], list[tuple[str, str, str]]]
    found_by_switch: bool | None
    differs: bool = False


@dataclasses.dataclass(frozen=True)
class Installed:
    """The answers by name and access, and the versions of the packages (None: not installed)."""

    answers: dict[tuple[str, str], Answer]
    tensorflow: str
    keras: str | None
    tf_keras: str | None
    switch_is_set: bool


def ask(questions: Iterable[Question]) -> Installed:
    """Looks up all names.

    Raises:
        UsageError: TensorFlow is not installed, or cannot be imported.
    """
    questions = list(questions)
    if importlib.util.find_spec("tensorflow") is None:
        raise UsageError("TensorFlow is not installed here: pip install tensorflow")
    switch_is_set = os.environ.get(SWITCH) in ("1", "true", "True")
    has_tf_keras = importlib.util.find_spec("tf_keras") is not None
    with tempfile.TemporaryDirectory() as folder:
        asked = pathlib.Path(folder, "questions.json")
        asked.write_text(json.dumps([dataclasses.asdict(question) for question in questions]))
        plain = _start({}, asked)
        switched = _start({SWITCH: "1"}, asked) if has_tf_keras and not switch_is_set else None
        results = [_finish(process) for process in (plain, switched) if process]
    versions = results[0]["versions"]
    answers = {}
    for index, question in enumerate(questions):
        given = results[0]["answers"][index]
        answers[question.name, question.access] = Answer(
            given["found"],
            given["why"],
            given["renamed"],
            dict(zip(question.calls, given["calls"], strict=False)),
            results[1]["answers"][index]["found"] if switched else None,
            given["differs"],
        )
    return Installed(
        answers, versions["tensorflow"], versions["keras"], versions["tf_keras"], switch_is_set
    )


def _start(environment: dict[str, str], asked: pathlib.Path) -> subprocess.Popen:
    """Starts a lookup that reads its questions from the file `asked`."""
    home = pathlib.Path(__file__).resolve().parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", "from porting import lookup; lookup.main()", asked],
        cwd=home,  # so that a folder of the user named tensorflow is not imported
        # The names are the same whichever backend Keras has, and another may not be installed.
        env={
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen) -> dict:
    try:
        output, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise UsageError(
            f"the installed TensorFlow did not load within {_SECONDS} seconds; "
            "try `python -c 'import tensorflow'`"
        ) from None
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"the installed TensorFlow cannot be imported: {last}")
    return json.loads(output.splitlines()[-1])
