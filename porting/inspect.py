"""Describes a model file without running it: its format, its content and how to run it.

    python -m porting.inspect frozen_graph.pb
    python -m porting.inspect logs/mnist_feed
    python -m porting.inspect --json model.ckpt-2000

It reads checkpoints (V1, V2, object-based, partitioned), .meta files, GraphDefs in binary form and
as text, SavedModels, Keras' .h5, .keras and .weights.h5 files, TFLite models and event files. A
SavedModel is recognized by the name of its file, saved_model.pb; other files by their content.
"""

import contextlib
import json
import pathlib
import sys
from collections.abc import Callable, Iterator

from tutorial_support import programs
from tutorial_support.programs import LOG, ArgumentParser, UsageError, program

if __name__ == "__main__":
    programs.before_tensorflow()

from porting.kinds import checkpoint, event_file, graph, keras_file, saved_model, tflite
from porting.kinds.description import Description

_REMEDY = "name a checkpoint, a graph, a SavedModel, a Keras file, a TFLite model or an event file"


def describe(path: str) -> list[Description]:
    """Describes a file, or each of the models in a folder.

    Raises:
        UsageError: the path does not exist, its format is unknown, or it is damaged.
    """
    place = pathlib.Path(path)
    if place.is_dir():
        return _describe_folder(place)
    if checkpoint.is_checkpoint(place) and place.suffix != ".meta":
        return _describe_checkpoint(place)
    if not place.exists():
        raise UsageError(f"there is no file or folder '{path}'; {_REMEDY}")
    found = _describe_file(place)
    if found is None:
        raise UsageError(f"'{path}' has an unknown format, or is truncated; {_REMEDY}")
    return [found]


# Pairs of functions: one recognizes a kind of file by its content, the other describes it.
_KINDS: list[tuple[Callable[[pathlib.Path], bool], Callable[[pathlib.Path], Description]]] = [
    (keras_file.is_keras_file, keras_file.describe),
    (tflite.is_tflite, tflite.describe),
    (event_file.is_event_file, event_file.describe),
]


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be read ({programs.reason(error)}); {_REMEDY}"
        ) from error


def _describe_file(path: pathlib.Path) -> Description | None:
    """Describes a file that is not part of a checkpoint; returns None if its format is unknown."""
    with _readable(path):
        if not path.is_file() or not path.stat().st_size:
            return None
        for is_of_kind, describe_it in _KINDS:
            if is_of_kind(path):
                return describe_it(path)
        if path.name in ("saved_model.pb", "saved_model.pbtxt"):
            return saved_model.describe(path.parent)
        return graph.describe(path)  # last, because almost any bytes parse as a protocol buffer


def _describe_checkpoint(path: pathlib.Path) -> list[Description]:
    found = [checkpoint.describe(path)]
    meta = pathlib.Path(f"{found[0].path}.meta")
    if meta.is_file():
        held = _describe_file(meta)
        found += [held] if held else []
    return found


def _describe_folder(folder: pathlib.Path) -> list[Description]:
    if saved_model.is_saved_model(folder):
        return [saved_model.describe(folder)]
    prefixes = checkpoint.find_all(folder)
    paths = sorted(folder.iterdir())
    graphs = [path for prefix in prefixes if (path := pathlib.Path(f"{prefix}.meta")) in paths]
    others = [path for path in paths if path not in graphs]
    # Of the graphs that belong to checkpoints, only the newest is described.
    paths = [*map(pathlib.Path, prefixes), *graphs[-1:], *others]
    found, problems = [], []
    for path in paths:
        try:
            described = _describe_part(path, is_prefix=str(path) in prefixes)
            found += [described] if described else []
        except UsageError as error:
            problems.append(error)
    if not found:
        nothing = UsageError(f"'{folder}' holds no model file of a known format; {_REMEDY}")
        raise next(iter(problems), nothing)
    for problem in problems:
        LOG.warning("%s", problem)
    return found


def _describe_part(path: pathlib.Path, is_prefix: bool) -> Description | None:
    """Describes a model in a folder, or a checkpoint by its prefix; returns None for others."""
    with _readable(path):
        if is_prefix:
            return checkpoint.describe(path)
        if path.is_dir():
            return saved_model.describe(path) if saved_model.is_saved_model(path) else None
        if not path.is_file() or (path.suffix != ".meta" and checkpoint.is_checkpoint(path)):
            return None
        return _describe_file(path)


@program
def main(argv: list[str] | None = None) -> None:
    """Describes the file or folder that the arguments name."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("path", metavar="FILE_OR_FOLDER", help="The file or folder to describe.")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="Print one JSON array.")
    output.add_argument("--all", action="store_true", help="Print long lists in full.")
    flags = parser.parse_args(argv)
    found = describe(flags.path)
    if flags.json:
        print(json.dumps([description.as_dict() for description in found], indent=2))
    else:
        print("\n\n".join(description.as_text(flags.all) for description in found))


if __name__ == "__main__":
    sys.exit(main())
