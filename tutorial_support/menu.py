"""Lists the programs of the tutorials, or runs one of them by name.

    graph-tutorials
    graph-tutorials mnist_mechanics.fully_connected_feed --sample
    python -m mnist_mechanics

This module does not load TensorFlow, and it imports no program until it runs one.
"""

import ast
import importlib.util
import itertools
import pathlib
import runpy
import sys

from tutorial_support import __version__, programs

PACKAGES = {
    "mnist_mechanics": "a fully connected net on MNIST, trained from feed dictionaries",
    "cifar10_cnn": "a convolutional net on CIFAR-10, trained from a tf.data pipeline",
    "flowers_transfer": "a new head on the bottlenecks of a frozen graph",
    "catsdogs_finetune": "pretrained weights, a new head, then fine-tuning",
    "porting": "help with your own TensorFlow 1 code and files",
    "tutorial_support": "tools that all four tutorials share",
}


def programs_of(package: str) -> dict[str, str]:
    """Returns the first docstring line of each program, keyed by module name.

    A program is a module of the package with an `if __name__ == "__main__"`. The sources are
    parsed, not imported.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    found = {}
    for path in sorted(pathlib.Path(spec.submodule_search_locations[0]).glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if not path.stem.startswith("_") and '\nif __name__ == "__main__"' in source:
            docstring = ast.get_docstring(ast.parse(source)) or ""
            found[f"{package}.{path.stem}"] = docstring.partition("\n")[0]
    return found


def main(argv: list[str] | None = None, package: str | None = None) -> int:
    """Lists the programs, or runs the program that the first argument names.

    Args:
        argv: the arguments; None means sys.argv[1:].
        package: list only this package's programs; they can be run by their short names.

    Returns:
        the exit code; 2 if there is no such program.
    """
    return programs.program(lambda given: _main(given, package))(argv)


def _main(argv: list[str] | None, package: str | None) -> int:
    """Does the work of `main`."""
    argv = sys.argv[1:] if argv is None else argv
    listed = {
        name: line
        for part in ([package] if package else PACKAGES)
        for name, line in programs_of(part).items()
    }
    if not argv or argv[0] in ("-h", "--help"):
        _show(listed)
        return 0
    if argv[0] == "--version":
        print(f"graph-tutorials {__version__}")
        return 0
    name = argv[0] if argv[0] in listed else f"{package}.{argv[0]}"
    if name not in listed:
        print(f"error: {_no_such_program(argv[0], listed)}", file=sys.stderr)
        return 2
    sys.argv = [name, *argv[1:]]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


def _show(listed: dict[str, str]) -> None:
    width = max(map(len, listed), default=0)
    for package, names in itertools.groupby(listed, lambda name: name.partition(".")[0]):
        print(f"{package}: {PACKAGES[package]}")
        for name in names:
            print(f"  {name:{width}}  {listed[name]}")
        print()
    print("Run one with `python -m NAME`; `python -m NAME --help` lists its flags.")


def _no_such_program(name: str, listed: dict[str, str]) -> str:
    short = {full.partition(".")[2]: full for full in listed}
    near = programs.nearest(name, [*listed, *short])
    hint = f"; did you mean {short.get(near, near)}?" if near else ""
    return f"there is no program {name!r}{hint} (run graph-tutorials to list the programs)"
