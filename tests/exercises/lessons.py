"""Shared code of the tests of all lessons' exercises."""

import jupytext

from exercises.exercise import exercises_of
from tests.conftest import REPOSITORY


def run_solutions(name, module):
    """Runs the solutions `name`; asserts that they solve every exercise of `module`."""
    notebook = jupytext.read(REPOSITORY / "notebooks" / "solutions" / f"{name}.md", fmt="md:myst")
    namespace = {"__name__": "solutions"}
    for exercise in exercises_of(module).values():
        exercise.last = None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{name}.md", "exec"), namespace)
    assert len(exercises_of(module)) >= 6
    for exercise in exercises_of(module).values():
        assert exercise.last is not None, f"{exercise.name} has no solution"
        assert exercise.last.is_right, f"{exercise.name}: {exercise.last}"
        assert len(exercise.hints) >= 3, exercise.name


def check_wrong(exercise, answer, piece, hint):
    """Asserts the check's message for a wrong answer, and that its hint exists."""
    verdict = exercise.check(answer)
    assert not verdict.is_right
    assert piece in verdict.message, verdict
    assert verdict.hint == hint
    assert hint is None or 1 <= hint <= len(exercise.hints)


def check_enough(module, wrong):
    """Asserts that each exercise of `module` has two wrong answers with different messages."""
    for exercise in exercises_of(module).values():
        pieces = {piece for tried, _, piece, _ in wrong if tried is exercise}
        assert len(pieces) >= 2, exercise.name
