"""Says what a model file is, what it holds and how to run it; runs nothing of it.

    python -m porting.inspect frozen_graph.pb
    python -m porting.inspect logs/mnist_feed
    python -m porting.inspect --json model.ckpt-2000

It knows checkpoints (V1, V2, object-based, partitioned), .meta files, GraphDefs in binary form and
as text, SavedModels, Keras' .h5, .keras and .weights.h5 files, TFLite models and event files. What
a file is called makes no difference: its content decides.
"""

import json
import pathlib
import sys
from collections.abc import Callable

from tutorial_support import programs
from tutorial_support.programs import ArgumentParser, UsageError, program

if __name__ == "__main__":
    programs.before_tensorflow()

from porting.kinds import checkpoint, event_file, graph, keras_file, saved_model, tflite
from porting.kinds.description import Description

_REMEDY = "name a checkpoint, a graph, a SavedModel, a Keras file, a TFLite model or an event file"


def describe(path: str) -> list[Description]:
    """Returns what a file is, or what each of the models in a folder is.

    Raises:
        UsageError: there is nothing under this name, nothing in it is known, or it is damaged.
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
        raise UsageError(f"'{path}' is of no known format, or is cut off; {_REMEDY}")
    return [found]


# Each looks at a file's content and says whether it is of its kind.
_KINDS: list[tuple[Callable[[pathlib.Path], bool], Callable[[pathlib.Path], Description]]] = [
    (keras_file.is_keras_file, keras_file.describe),
    (tflite.is_tflite, tflite.describe),
    (event_file.is_event_file, event_file.describe),
]


def _describe_file(path: pathlib.Path) -> Description | None:
    """Returns what a file is that belongs to no checkpoint; None where that is not known."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return None
        for is_of_kind, describe_it in _KINDS:
            if is_of_kind(path):
                return describe_it(path)
        if path.name in ("saved_model.pb", "saved_model.pbtxt"):
            return saved_model.describe(path.parent)
        return graph.describe(path)  # last, for next to any bytes are some protocol buffer
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be read ({programs.reason(error)}); {_REMEDY}"
        ) from error


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
    found = [checkpoint.describe(pathlib.Path(prefix)) for prefix in prefixes]
    if prefixes and (meta := pathlib.Path(f"{prefixes[-1]}.meta")).is_file():
        held = _describe_file(meta)
        found += [held] if held else []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and saved_model.is_saved_model(path):
            found.append(saved_model.describe(path))
        elif path.is_file() and path.suffix != ".meta" and not checkpoint.is_checkpoint(path):
            described = _describe_file(path)
            found += [described] if described else []
    if not found:
        raise UsageError(f"'{folder}' holds nothing that is known; {_REMEDY}")
    return found


@program
def main(argv: list[str] | None = None) -> None:
    """Describes what the arguments name."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("path", metavar="FILE_OR_FOLDER", help="what to look at")
    parser.add_argument("--json", action="store_true", help="Print one JSON array.")
    parser.add_argument("--all", action="store_true", help="Print long lists whole.")
    flags = parser.parse_args(argv)
    found = describe(flags.path)
    if flags.json:
        print(json.dumps([description.as_dict() for description in found], indent=2))
    else:
        print("\n\n".join(description.as_text(flags.all) for description in found))


if __name__ == "__main__":
    sys.exit(main())
