"""Lists, prints and plots the scalars in event files.

    python -m tutorial_support.events logs/mnist_feed
    python -m tutorial_support.events logs --tag loss --print
    python -m tutorial_support.events logs --tag accuracy --plot accuracy.png --csv accuracy.csv
    python -m tutorial_support.events cifar10_cnn/results/*.csv --tag accuracy --plot accuracy.png

It reads event files of any TensorFlow version. If a file is still being written, truncated or
damaged, it reads all intact records.
"""

import collections
import csv
import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Sequence

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from tutorial_support import event_files, files, plots
from tutorial_support.event_files import Tag
from tutorial_support.programs import ArgumentParser, UsageError, program

_COLUMNS = ["run", "tag", "step", "value"]  # the columns of a table of scalars


def read(path: str | os.PathLike) -> list[Tag]:
    """Returns the tags in a folder's event files, or in a table that `--csv` wrote.

    Raises:
        UsageError: as in `event_files.read`, or the table cannot be read.
    """
    path = pathlib.Path(path)
    is_table = path.suffix == ".csv" and path.is_file()
    return _read_csv(path) if is_table else event_files.read(path)


def _read_csv(path: pathlib.Path) -> list[Tag]:
    """Returns the scalars in a table that `_write_csv` wrote."""
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    with (
        files.reading(path, "name a table that --csv wrote"),
        path.open(newline="", encoding="utf-8") as stream,
    ):
        rows = csv.reader(stream)
        if next(rows, None) != _COLUMNS:
            raise ValueError(f"its columns are not {', '.join(_COLUMNS)}")
        for number, row in enumerate(rows, start=2):
            if len(row) != len(_COLUMNS):
                raise ValueError(f"line {number} does not have {len(_COLUMNS)} columns")
            run, name, step, value = row
            points.setdefault((run, name), []).append((int(step), float(value)))
    return [
        Tag(run, "scalars", name, [step for step, _ in found], [value for _, value in found])
        for (run, name), found in points.items()
    ]


def _read_all(paths: Sequence[str]) -> list[Tag]:
    """Returns the tags in several paths; the name of each run starts with its path's name."""
    if len(paths) == 1:
        return read(paths[0])
    return [
        dataclasses.replace(tag, run=str(pathlib.PurePath(pathlib.Path(path).stem, tag.run)))
        for path in paths
        for tag in read(path)
    ]


def _list(tags):
    for run, members in _by(tags, "run").items():
        print(run)
        for tag in members:
            line = f"  {tag.kind:10} {tag.name}"
            if tag.steps:
                line += f": {len(tag.steps)} records, steps {tag.steps[0]} to {tag.steps[-1]}"
            if tag.values:
                line += f", last {tag.values[-1]:.6g}"
            print(line)


def _print(tags):
    for tag in tags:
        print(f"{tag.run} {tag.name}")
        for step, value in zip(tag.steps, tag.values, strict=True):
            print(f"{step:10d} {value:.6g}")


def _write_csv(path, tags):
    with (
        files.replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for tag in tags:
            for step, value in zip(tag.steps, tag.values, strict=True):
                writer.writerow([tag.run, tag.name, step, repr(value)])


def _plot(path, tags, title):
    series = {f"{tag.run}: {tag.name}".removeprefix(".: "): (tag.steps, tag.values) for tag in tags}
    names = _by(tags, "name")
    label = next(iter(names)) if len(names) == 1 else "value"
    plots.curves(path, series, title, "step", label)


def _by(tags, attribute):
    groups = collections.defaultdict(list)
    for tag in tags:
        groups[getattr(tag, attribute)].append(tag)
    return groups


def _regular_expression(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"--tag {text}: not a regular expression ({error})") from error


@program
def main(argv: list[str] | None = None) -> None:
    """Lists the tags below a folder, or prints, plots or writes out its scalars."""
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "logdir",
        nargs="+",
        help="A folder with event files, also in subfolders; or a table that --csv wrote.",
    )
    add = parser.add_argument_group("output").add_argument
    tag_help = "Use only the tags that match this regular expression. By default all tags."
    add("--tag", metavar="REGEX", help=tag_help)
    add("--print", action="store_true", help="Print every scalar instead of a list of the tags.")
    add("--plot", metavar="PNG", help="Plot the scalars into this file.")
    add("--csv", metavar="FILE", help="Write run, tag, step and value to this file.")
    flags = parser.parse_args(argv)

    pattern = _regular_expression(flags.tag or "")
    where = "', '".join(flags.logdir)
    tags = [tag for tag in _read_all(flags.logdir) if pattern.search(tag.name)]
    if not tags:
        which = f" matches --tag {flags.tag}" if flags.tag else ": its event files are empty"
        raise UsageError(f"no tag in '{where}'{which}; name another folder or tag")
    if not (flags.print or flags.plot or flags.csv):
        _list(tags)
        return
    scalar_tags = [tag for tag in tags if tag.kind == "scalars"]
    if not scalar_tags:
        which = f" matches --tag {flags.tag}" if flags.tag else ""
        raise UsageError(f"no scalar in '{where}'{which}; leave --print, --plot and --csv out")
    if flags.print:
        _print(scalar_tags)
    for path in filter(None, (flags.plot, flags.csv)):
        try:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(
                f"'{path}' cannot be written, because its parent is not a folder; name another file"
            ) from error
    if flags.plot:
        _plot(flags.plot, scalar_tags, f"Scalars of {', '.join(flags.logdir)}")
    if flags.csv:
        _write_csv(flags.csv, scalar_tags)


if __name__ == "__main__":
    sys.exit(main())
