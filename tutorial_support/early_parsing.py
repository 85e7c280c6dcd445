"""Answers `--help` and wrong flags before TensorFlow is loaded, which takes seconds.

The modules that define a program's flags also import TensorFlow, for their graphs. So the program
is first imported with a stand-in for TensorFlow, and its `main` runs until the flags are parsed. If
the flags are valid, these modules are unloaded, and the program starts again with TensorFlow.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any


class FlagsParsed(BaseException):
    """Ends a program's `main` once its flags are parsed; no `except Exception` catches it."""


is_parsing_only = False  # whether programs.ArgumentParser raises FlagsParsed


def exit_code(program: str) -> int | None:
    """Runs a program until its flags are parsed.

    Args:
        program: name of a module with a `main`.

    Returns:
        the exit code if the program ended, because of --help or a wrong flag; else None.
    """
    global is_parsing_only
    before, finder = set(sys.modules), _StandIn()
    sys.meta_path.insert(0, finder)
    is_parsing_only = True
    try:
        return importlib.import_module(program).main()
    except (FlagsParsed, Exception):  # the real start will report any other error
        return None
    finally:
        is_parsing_only = False
        sys.meta_path.remove(finder)
        packages = {_TENSORFLOW, __package__, program.partition(".")[0]}
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in packages:
                _forget(name)


_TENSORFLOW = "tensorflow"


def _forget(name: str) -> None:
    """Unloads a module that contains the stand-in, so that it is imported again."""
    del sys.modules[name]
    package, _, child = name.rpartition(".")
    if package in sys.modules:  # `from package import child` looks there first
        vars(sys.modules[package]).pop(child, None)


class _AnyType(type):
    """Metaclass of a class that replaces everything in TensorFlow: every attribute is itself."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Anything(metaclass=_AnyType):
    """Can be called, subclassed and used in annotations, which is all that imports need."""

    def __init__(self, *args: object, **options: object) -> None:
        pass


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stand-in for `tensorflow` and all its submodules."""

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != _TENSORFLOW:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__getattr__ = _anything_in  # type: ignore[method-assign]


def _anything_in(name: str) -> type:
    return getattr(_Anything, name)
