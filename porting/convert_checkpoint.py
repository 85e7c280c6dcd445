r"""Copies a checkpoint and renames, casts or drops its variables; writes format V2.

    python -m porting.convert_checkpoint old/model.ckpt-1000 new/model.ckpt-1000 --dry-run
    python -m porting.convert_checkpoint old.ckpt new.ckpt --rename conv1/weights=first/kernel
    python -m porting.convert_checkpoint old.ckpt new.ckpt --replace '^tower_0/(.*)' '\1'
    python -m porting.convert_checkpoint old.ckpt new.ckpt --drop '/Adam(_1)?$'
    python -m porting.convert_checkpoint old.ckpt new.ckpt --cast '^global_step$' int32
    python -m porting.convert_checkpoint old.ckpt new.ckpt --preset retrain

SRC may be in format V1 or V2, partitioned, or object-based (tf.train.Checkpoint, Keras). Parts are
joined, and variables of objects get their own names. The flags apply in this order: --drop,
--preset, --rename, --replace, --step, --cast. SRC does not change; DST must not exist. The result
is read back and compared value by value.
"""

import argparse
import contextlib
import pathlib
import re
import sys
from collections.abc import Container, Iterator

from tutorial_support import programs
from tutorial_support.programs import ArgumentParser, TrainingError, UsageError, number, program

if __name__ == "__main__":
    programs.before_tensorflow()

import tensorflow.compat.v1 as tf

from porting import conversion
from porting.conversion import Variable
from porting.kinds import checkpoint
from porting.presets import PRESETS
from tutorial_support import checkpoints, files

# Writing


def write(variables: list[Variable], target: str) -> None:
    """Writes a checkpoint in V2 format and reads it again.

    Raises:
        UsageError: the target exists, or two variables share a name.
        TrainingError: it cannot be written, or what was read back differs.
    """
    check_target(target)
    _check_names(variables)
    path = pathlib.Path(target)
    with _placing(target), files.temporary_folder(path) as temporary:
        _save(variables, str(temporary / "new"))
        _compare(variables, str(temporary / "new"))
        # Move the index last: readers see a checkpoint only if it has an index.
        for part in sorted(temporary.iterdir(), key=lambda part: part.suffix == ".index"):
            files.to_disk(part)
            part.rename(path.with_name(path.name + part.name.removeprefix("new")))
    files.to_disk(path.parent)


@contextlib.contextmanager
def _placing(target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"'{target}' cannot be written ({programs.reason(error)}); name another DST"
        ) from error


def check_target(target: str) -> None:
    """Raises UsageError if a file of this checkpoint already exists."""
    path = pathlib.Path(target)
    checkpoints.check_path(target)
    if not path.name or path.name.endswith((".index", ".meta")):
        raise UsageError(f"DST '{target}' must be a checkpoint prefix, such as new/model.ckpt-0")
    taken = [path] if path.exists() else []
    taken += [p for p in path.parent.glob("*") if p.name.startswith(path.name + ".")]
    taken = [p for p in taken if re.fullmatch(r"|\.(index|meta|data-.*)", p.name[len(path.name) :])]
    if taken:
        raise UsageError(f"'{taken[0]}' exists and is not overwritten; name another DST")


def _check_names(variables: list[Variable]) -> None:
    if not variables:
        raise UsageError("no variable is left to write; drop fewer")
    sources: dict[str, str | None] = {}
    for variable in variables:
        if not variable.name:
            raise UsageError(f"'{variable.source}' would have an empty name; rename it differently")
        if variable.name in sources:
            raise UsageError(
                f"'{sources[variable.name]}' and '{variable.source}' would both be named "
                f"'{variable.name}'; drop or rename one of them"
            )
        sources[variable.name] = variable.source


def _save(variables: list[Variable], prefix: str) -> None:
    names = [variable.name for variable in variables]
    try:
        # The op that a tf.train.Saver uses. It needs no variables, only tensors. Run eagerly, it
        # takes a tenth of the time that a graph with a placeholder for each variable takes.
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(variable.value) for variable in variables],
        )
    except tf.errors.OpError as error:
        raise TrainingError(
            f"cannot write the checkpoint ({programs.reason(error)}); free some disk space, or "
            "name another DST"
        ) from error


def _compare(variables: list[Variable], prefix: str) -> None:
    values = conversion.values(prefix)
    for variable in variables:
        if not conversion.is_same(values.pop(variable.name), variable.value):
            raise TrainingError(f"'{variable.name}' differs when it is read back; try again")
    if values:
        raise TrainingError(f"the new checkpoint also holds {', '.join(values)}; try again")


# The program


def _pairs(flags: argparse.Namespace, names: Container[str]) -> dict[str, str]:
    """Returns the pairs of --rename and of --rename_file; a name in `names` may hold an `=`."""
    lines = list(flags.rename or [])
    if flags.rename_file:
        with files.reading(flags.rename_file, "write one OLD=NEW per line"):
            text = pathlib.Path(flags.rename_file).read_text(encoding="utf-8")
        stripped = (line.strip() for line in text.splitlines())
        lines += [line for line in stripped if line and not line.startswith("#")]
    pairs: dict[str, str] = {}
    for line in lines:
        ends = [place for place, character in enumerate(line) if character == "="]
        splits = [(line[:end].strip(), line[end + 1 :].strip()) for end in ends]
        splits = [(old, new) for old, new in splits if old and new]
        if not splits:
            raise UsageError(f"--rename: '{line}' does not have the form OLD=NEW; correct it")
        old, new = next((split for split in splits if split[0] in names), splits[0])
        if pairs.setdefault(old, new) != new:
            raise UsageError(f"--rename gives '{old}' two new names; leave one out")
    return pairs


def convert(prefix: str, flags: argparse.Namespace) -> tuple[list[Variable], list[str]]:
    """Returns the variables for DST and the names of those left out."""
    every = conversion.read(prefix)
    variables = conversion.drop(every, flags.drop or [])
    if flags.preset:
        variables = conversion.apply_preset(variables, PRESETS[flags.preset], flags.back)
    pairs = _pairs(flags, {variable.name for variable in variables})
    variables = conversion.rename(variables, pairs)
    for pattern, replacement in flags.replace or []:
        variables = conversion.replace(variables, pattern, replacement)
    if flags.step is not None:
        variables = conversion.with_step(variables, flags.step)
    for pattern, dtype in flags.cast or []:
        variables = conversion.cast(variables, pattern, dtype)
    _check_names(variables)
    kept = {variable.source for variable in variables}
    return variables, [v.source for v in every if v.source is not None and v.source not in kept]


def _add_flags(parser: argparse.ArgumentParser) -> None:
    source = "The prefix of a checkpoint; or a folder, for its newest checkpoint."
    parser.add_argument("source", metavar="SRC", help=source)
    target = "The prefix of the new checkpoint; its folder is created if necessary."
    parser.add_argument("target", metavar="DST", help=target)
    dry = "Only list what would be written."
    parser.add_argument("--dry-run", "--dry_run", action="store_true", help=dry)
    add = parser.add_argument_group("presets").add_argument
    preset = "Rename the variables of a published program to the names used here."
    add("--preset", choices=sorted(PRESETS), help=preset)
    add("--back", action="store_true", help="Apply the preset in the opposite direction.")
    add = parser.add_argument_group("changes").add_argument
    add(
        "--rename", action="append", metavar="OLD=NEW", help="Rename one variable; may be repeated."
    )
    add("--rename_file", metavar="FILE", help="A file with one OLD=NEW per line.")
    add(
        "--replace",
        action="append",
        nargs=2,
        metavar=("REGEX", "TEXT"),
        help="Replace REGEX by TEXT in all names, like Python's re.sub; may be repeated.",
    )
    drop = "Leave out variables whose names match; may be repeated."
    add("--drop", action="append", metavar="REGEX", help=drop)
    add(
        "--cast",
        action="append",
        nargs=2,
        metavar=("REGEX", "TYPE"),
        help="Cast variables whose new names match to TYPE; may be repeated.",
    )
    add("--step", type=number(int, 0, 2**63 - 1), help="Set global_step to this number.")


@program
def main(argv: list[str] | None = None) -> None:
    """Converts one checkpoint, or lists what that would do."""
    parser = ArgumentParser(__doc__)
    _add_flags(parser)
    flags = parser.parse_args(argv)
    if flags.back and not flags.preset:
        raise UsageError("--back needs --preset; name a preset")
    check_target(flags.target)
    prefix = checkpoint.find(flags.source)
    checkpoint.describe(pathlib.Path(prefix))  # raises UsageError if a part is missing
    variables, dropped = convert(prefix, flags)
    for variable in variables:
        print(programs.one_line(str(variable)))
    for name in dropped:
        print(programs.one_line(f"{name} -> left out"))
    if flags.preset:
        preset = PRESETS[flags.preset]
        for note in preset.notes_back if flags.back else preset.notes:
            print(f"Note: {note}")
    if flags.dry_run:
        print(f"Nothing was written. Without --dry-run, '{flags.target}' would hold the above.")
        return
    write(variables, flags.target)
    print(
        f"Wrote '{flags.target}': {len(variables)} variables, each compared value by value with "
        f"what was read from '{prefix}'."
    )


if __name__ == "__main__":
    sys.exit(main())
