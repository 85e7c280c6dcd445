"""Exercises: a check that answers at once, and hints that each reveal a little more.

In a lesson's module, an exercise is a function of the learner's answer:

    @exercise("Think of what a session needs.", "Look at `feed_dict`.")
    def feed_it(answer):
        require(answer == 6, "The graph doubles what is fed, so feed 3.", hint=2)
        return "The fed value replaced the placeholder."

and a notebook calls `feed_it.check(answer)` and `feed_it.hint(1)`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a check.

    Attributes:
        is_right: whether the answer is right.
        message: why it is right, or what is wrong.
        hint: the number of the hint for this mistake, from 1; None if there is none.
    """

    is_right: bool
    message: str
    hint: int | None = None

    def __repr__(self) -> str:
        if self.is_right:
            return f"Right. {self.message}"
        more = "" if self.hint is None else f" (hint({self.hint}) helps.)"
        return f"Not yet. {self.message}{more}"


class Text(str):
    """A text that a notebook shows without quotation marks."""

    def __repr__(self) -> str:
        return str(self)


class WrongAnswer(Exception):
    """Raised by `require` in a check; its message says what is wrong."""

    def __init__(self, message: str, hint: int | None) -> None:
        super().__init__(message)
        self.hint = hint


def require(condition: Any, message: str, hint: int | None = None) -> None:
    """Ends the check with `message` unless the condition holds.

    Args:
        condition: what must be true of the answer.
        message: what is wrong, in a sentence for the learner.
        hint: the number of the hint for this mistake, from 1.

    Raises:
        WrongAnswer: the condition is false.
    """
    if not condition:
        raise WrongAnswer(message, hint)


class Exercise:
    """One exercise; see the module's docstring.

    Attributes:
        name: the name of the checking function.
        hints: the hints, from a first nudge to nearly the answer.
        last: the verdict on the last answer, or None.
    """

    def __init__(self, judge: Callable[[Any], str], hints: tuple[str, ...]) -> None:
        self.name, self.hints = judge.__name__, hints
        self.last: Verdict | None = None
        self.__doc__ = judge.__doc__
        self._judge = judge

    def check(self, answer: Any = ...) -> Verdict:
        """Checks an answer; the verdict says what is wrong and which hint helps."""
        self.last = self._verdict(answer)
        return self.last

    def _verdict(self, answer: Any) -> Verdict:
        if answer is ...:
            return Verdict(False, "Replace the `...` with your answer and run the cell again.")
        try:
            return Verdict(True, self._judge(answer))
        except WrongAnswer as wrong:
            return Verdict(False, str(wrong), wrong.hint)
        except Exception as error:  # the learner's code may raise anything
            text = (str(error).strip().splitlines() or [""])[0]
            return Verdict(False, f"Your answer raised {type(error).__name__}: {text}", 1)

    def hint(self, number: int = 1) -> Text:
        """Returns hint `number`, from 1; after the last one, says where the answers are."""
        if not 1 <= number <= len(self.hints):
            return Text(f"There are {len(self.hints)} hints; notebooks/solutions has the answers.")
        return Text(f"Hint {number} of {len(self.hints)}: {self.hints[number - 1]}")


def exercise(*hints: str) -> Callable[[Callable[[Any], str]], Exercise]:
    """Makes an exercise from a function that checks an answer.

    The function takes the answer, calls `require` for each condition, and returns a sentence that
    explains why the answer is right.
    """
    return lambda judge: Exercise(judge, hints)


def exercises_of(module: Any) -> dict[str, Exercise]:
    """Returns the exercises that a lesson's module defines, by name."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Exercise)}
