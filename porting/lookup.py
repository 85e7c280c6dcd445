"""Looks up names in the installed TensorFlow; runs as a separate process.

`porting.installed` starts it with a file of questions, once as is and once with
TF_USE_LEGACY_KERAS=1, and reads the answers from the last line of standard output. It imports
TensorFlow's and Keras' modules, resolves names and reads signatures; it calls no function.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import pathlib
import re
import sys
import types
from collections.abc import Container
from typing import Any


def main() -> None:
    """Answers the questions in the file that the command line names."""
    importlib.import_module("tensorflow")  # if this fails, no name can be looked up
    questions = json.loads(pathlib.Path(sys.argv[1]).read_text())
    answers = [answer(**question) for question in questions]
    print("\n" + json.dumps({"versions": _versions(), "answers": answers}))


def answer(name: str, access: str, calls: list) -> dict:
    """Looks up one name.

    Args:
        name: dotted, beginning with "tensorflow" or "keras".
        access: "import" if the name must be a module that `import` finds, "attribute" if every part
            must be an attribute of the one before, "member" if it may also be a module.
        calls: (positional, keywords) of each call of the name.

    Returns:
        found: whether the name exists.
        why: TensorFlow's error message for a missing name, or "".
        renamed: the new name of a missing one, from TensorFlow's table of renames, or "".
        differs: whether compat.v1 has something else under the same name.
        calls: for each call a list of problems: (kind, argument, replacement or "").

    The kinds are "unknown", "too many", "twice", "named only" and "deprecated".
    """
    try:
        found: Any = _import(name) if access == "import" else resolve(name, access)
    except Exception as error:  # a module may raise anything while it is imported
        return _missing(name, _sentence(error))
    return {
        "found": True,
        "why": "",
        "renamed": "",
        "differs": _differs(name, found),
        "calls": [_problems(_short(name), found, *call) for call in calls],
    }


def _missing(name: str, why: str) -> dict:
    return {"found": False, "why": why, "renamed": _renamed(name), "differs": False, "calls": []}


def _differs(name: str, found: Any) -> bool:
    if isinstance(found, types.ModuleType) or name.startswith("tensorflow.compat."):
        return False
    try:
        return resolve(name.replace("tensorflow.", "tensorflow.compat.v1.", 1)) is not found
    except Exception:  # it has none
        return False


def _short(name: str) -> str:
    return name.replace("tensorflow.compat.v1", "tf").replace("tensorflow", "tf")


def _renamed(name: str) -> str:
    """Returns the new name of an old one from the table of `tf_upgrade_v2`, or ""."""
    try:
        from tensorflow.tools.compatibility.all_renames_v2 import symbol_renames

        new = symbol_renames[_short(name)]
        resolve(new.replace("tf.", "tensorflow.", 1))
    except Exception:  # there is no table, the name is not in it, or the new name is gone too
        return ""
    return new


def _versions() -> dict:
    versions = {}
    for package in ("tensorflow", "keras", "tf_keras"):
        try:
            versions[package] = importlib.import_module(package).__version__
        except Exception:
            versions[package] = None
    return versions


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0] or type(error).__name__


@functools.cache
def _import(name: str) -> types.ModuleType:
    return importlib.import_module(name)


@functools.cache
def resolve(name: str, access: str = "attribute") -> Any:
    """Returns the object that a dotted name refers to; `access` as in `answer`.

    If the name leads through a value, such as `tf.flags.FLAGS` in `tf.flags.FLAGS.batch_size`, it
    returns that value: its attributes exist only while the program runs.

    Raises:
        AttributeError, ImportError: the name does not exist.
    """
    owner_name, _, last = name.rpartition(".")
    if not owner_name:
        return _import(name)
    owner = resolve(owner_name, access)
    if not isinstance(owner, types.ModuleType | type):
        return owner
    try:
        return getattr(owner, last)
    except AttributeError as missing:
        if not isinstance(owner, types.ModuleType) or "not available" in str(missing):
            raise
        # Modules such as tensorflow.python can be imported, but `tf.python` is no attribute.
        if access == "member":
            with contextlib.suppress(ModuleNotFoundError):
                return _import(name)
        raise AttributeError(f"`{owner_name}` has no `{last}`") from None


def _problems(
    short: str, found: Any, positional: int | None, keywords: list[str]
) -> list[tuple[str, str, str]]:
    """Returns the problems of one call with the installed signature."""
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):
        return []
    kinds = [parameter.kind for parameter in parameters.values()]
    problems = []
    accepted: Container[str] = parameters
    if inspect.Parameter.VAR_KEYWORD in kinds:
        is_class = isinstance(found, type) and found.__module__.startswith("keras.")
        is_strict = is_class and {"Layer", "BaseOptimizer"} & {c.__name__ for c in found.__mro__}
        try:
            accepted = _accepted_by_keras_3(found) if is_strict else keywords
        except OSError:  # Keras is installed without its sources
            accepted = keywords
    problems += [("unknown", keyword, "") for keyword in keywords if keyword not in accepted]
    if next(iter(parameters), "") == "_sentinel" and positional:
        problems.append(("named only", "", ""))
    elif inspect.Parameter.VAR_POSITIONAL not in kinds and positional is not None:
        most = sum(kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)
        if positional > most:
            problems.append(("too many", str(most), ""))
        by_position = list(parameters)[:positional]
        problems += [("twice", keyword, "") for keyword in keywords if keyword in by_position]
    renamed = _renamed_arguments().get(short, {})
    problems += [
        ("deprecated", keyword, renamed[keyword])
        for keyword in keywords
        if keyword in parameters and renamed.get(keyword) in parameters
    ]
    return problems


# How Keras' classes take a keyword argument out of **kwargs.
_TAKEN = re.compile(r"""kwargs(?:\.pop|\.get)?[\[(]\s*["'](\w+)|["'](\w+)["'] in kwargs""")


@functools.cache
def _accepted_by_keras_3(found: type) -> set[str]:
    """Returns the keyword arguments of a layer, model or optimizer of Keras 3.

    Its class passes **kwargs on to the next. The last one refuses the arguments that none has
    taken, by its signature or its code.

    Raises:
        OSError: there is no source code.
    """
    accepted = {"inputs", "outputs"} if found.__name__ == "Model" else set()
    for part in found.__mro__[:-1]:
        start = vars(part).get("__init__")
        if start:
            accepted |= set(inspect.signature(start).parameters)
            accepted |= {one or other for one, other in _TAKEN.findall(inspect.getsource(start))}
    return accepted


@functools.cache
def _renamed_arguments() -> dict[str, dict[str, str]]:
    """Returns {"tf.reduce_sum": {"keep_dims": "keepdims", ...}, ...} as `tf_upgrade_v2` has it."""
    try:
        from tensorflow.tools.compatibility.tf_upgrade_v2 import TFAPIChangeSpec

        return TFAPIChangeSpec().function_keyword_renames
    except Exception:  # the table is not part of TensorFlow's public interface
        return {}
