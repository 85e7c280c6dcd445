"""Lists, prints and plots the scalars in event files; as a module, reads and writes them.

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
import math
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

import tensorflow.compat.v1 as tf

from tutorial_support import event_files, files, plots
from tutorial_support.programs import LOG, ArgumentParser, UsageError, one_line, program, reason


@dataclasses.dataclass(frozen=True)
class Tag:
    """A tag of a run.

    Attributes:
        run: the run's folder, relative to the folder that was read; "." if it is the same.
        kind: "scalars", "histograms", "images", "graph", "trace", or another plugin of TensorBoard.
        name: the tag, for example "loss".
        steps: the global steps of the records.
        values: the values if the kind is "scalars", else None.
    """

    run: str
    kind: str
    name: str
    steps: list[int]
    values: list[float] | None


def read(folder: str | os.PathLike) -> list[Tag]:
    """Returns all tags in the event files of `folder` and its subfolders.

    Steps that were repeated after a killed run was resumed appear only once. `folder` may also be a
    file that `--csv` wrote.

    Raises:
        UsageError: the folder does not exist or contains no event file.
    """
    folder = pathlib.Path(folder)
    if folder.suffix == ".csv" and folder.is_file():
        return _read_csv(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'; name the folder of a run")
    runs: dict[pathlib.Path, list[pathlib.Path]] = {}
    for path in sorted(folder.rglob("*tfevents*"), key=event_files.order):
        if path.is_file():
            runs.setdefault(path.parent, []).append(path)
    if not runs:
        raise UsageError(f"'{folder}' contains no event file; name the folder of a run")
    return [
        tag
        for run, paths in sorted(runs.items())
        for tag in _tags_of_run(str(run.relative_to(folder)), paths)
    ]


_COLUMNS = ["run", "tag", "step", "value"]  # the columns of a table of scalars


def _read_csv(path: pathlib.Path) -> list[Tag]:
    """Returns the scalars in a table that `_write_csv` wrote."""
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    with (
        files.reading(path, "name a table that --csv wrote"),
        path.open(newline="", encoding="utf-8") as stream,
    ):
        header, *rows = csv.reader(stream)
        if header != _COLUMNS:
            raise ValueError(f"its columns are not {', '.join(_COLUMNS)}")
        for run, name, step, value in rows:
            points.setdefault((run, name), []).append((int(step), float(value)))
    return [
        Tag(run, "scalars", name, [step for step, _ in found], [value for _, value in found])
        for (run, name), found in points.items()
    ]


# The tags of version 0.1.0, and their present names.
_EARLIER_NAMES = {
    "precision/train": "accuracy/train",
    "precision/validation": "accuracy/validation",
    "precision/test": "accuracy/test",
    "test_accuracy": "accuracy/test",
    "accuracy/training": "accuracy/train",
    "accuracy/testing": "accuracy/test",
    "cross_entropy/training": "loss/train",
    "cross_entropy/validation": "loss/validation",
    "loss/training": "loss/train",
    "batch_loss": "loss",
}


def scalars(folder: str | os.PathLike) -> dict[str, tuple[list[int], list[float]]]:
    """Returns (steps, values) of each scalar of the run in `folder` itself, by tag.

    Tags of version 0.1.0 are returned under their present names.
    """
    found: dict[str, dict[int, float]] = {}
    for tag in read(folder):
        if tag.values is not None and tag.run == ".":
            points = zip(tag.steps, tag.values, strict=True)
            found.setdefault(_EARLIER_NAMES.get(tag.name, tag.name), {}).update(points)
    in_order = {name: sorted(points.items()) for name, points in found.items()}
    return {
        name: ([step for step, _ in points], [value for _, value in points])
        for name, points in in_order.items()
    }


DETAILS = "details"  # the collection of summaries that are written occasionally or on demand


def add_details(**tensors: tf.Tensor) -> None:
    """Adds summaries of a net's inner tensors, given by name, to the collection DETAILS.

    `images` gets an image summary; every other tensor gets a histogram and its fraction of zeros.
    `merged_details` adds the summaries of the variables.
    """
    for name, tensor in tensors.items():
        if name == "images":
            tf.summary.image(name, tensor, max_outputs=6, collections=[DETAILS])
        else:
            tf.summary.histogram(f"activations/{name}", tensor, collections=[DETAILS])
            # Use the tensor's own name scope, so that TensorBoard draws no additional box.
            # tf.nn.zero_fraction would add two functions, each of which gets a box, too.
            scope = tensor.op.name.rpartition("/")[0]
            with tf.name_scope(f"{scope}/zeros/" if scope else "zeros"):
                zeros = tf.reduce_sum(tf.cast(tf.equal(tensor, 0), tf.float32))
                sparsity = zeros / tf.cast(tf.size(tensor), tf.float32)
            tf.summary.scalar(f"sparsity/{name}", sparsity, collections=[DETAILS])


def merged_details() -> tf.Tensor:
    """Returns the merged summaries in DETAILS, after adding a histogram per trainable variable."""
    for variable in tf.trainable_variables():
        tf.summary.histogram(f"variables/{variable.op.name}", variable, collections=[DETAILS])
    return tf.summary.merge_all(DETAILS)


def write_scalar(writer: tf.summary.FileWriter, tag: str, value: float, step: int) -> None:
    """Writes a Python number as a scalar; a summary need not come from the graph."""
    summary = tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])
    writer.add_summary(summary, step)


def write_trace(
    writer: tf.summary.FileWriter, metadata: tf.RunMetadata, step: int, folder: pathlib.Path
) -> None:
    """Writes the trace of a step for TensorBoard's graph page and for a browser's trace viewer.

    Args:
        writer: the writer of the event file that contains the graph.
        metadata: filled in by `Session.run`.
        step: the global step.
        folder: the folder for `trace-step-<step>.json`, which chrome://tracing and
            https://ui.perfetto.dev can open.
    """
    from tensorflow.python.client import timeline  # not available from a public module

    writer.add_run_metadata(metadata, f"step{step}", step)
    trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    files.write_text(folder / f"trace-step-{step}.json", trace)


def _tags_of_run(run: str, paths: Sequence[pathlib.Path]) -> list[Tag]:
    """Returns the tags in the event files of one run; logs a warning for unreadable parts."""
    kinds: dict[str, str] = {}
    points: dict[str, dict[int, Any]] = {}  # by tag and step
    for path in paths:
        records = event_files.Records(path)
        try:
            for event in records:
                if event.session_log.status == event.session_log.START:
                    # A restart at this step. Discard what a killed run wrote from here on.
                    for of_tag in points.values():
                        for step in [step for step in of_tag if step >= event.step]:
                            del of_tag[step]
                for name, plugin, value in _summaries(event):
                    kinds[name] = kinds.get(name) or plugin
                    points.setdefault(name, {})[event.step] = value
        except OSError as error:
            LOG.warning("'%s' cannot be read (%s)", path, reason(error))
        if records.lost:
            LOG.warning(
                "'%s' is damaged: skipped %d unreadable bytes in %d places",
                path,
                records.lost,
                records.places,
            )
    return [_tag(run, kinds[name], name, found) for name, found in points.items() if found]


def _summaries(event: tf.Event) -> Iterator[tuple[str, str, float | None]]:
    """Yields (tag, TensorBoard plugin, scalar value or None) for each summary in an event."""
    if event.HasField("graph_def"):
        yield "__run_graph__", "graphs", None  # TensorBoard's name for it
    if event.HasField("tagged_run_metadata"):
        yield event.tagged_run_metadata.tag, "graph_tagged_run_metadata", None
    for value in event.summary.value:
        field = value.WhichOneof("value")
        plugin = _PLUGINS.get(field) or value.metadata.plugin_data.plugin_name
        yield value.tag, plugin, value.simple_value if field == "simple_value" else _number(value)


# Plugins by the fields of TensorFlow 1's summaries. TensorFlow 2 writes tensors with a plugin name.
_PLUGINS = {
    "simple_value": "scalars",
    "histo": "histograms",
    "image": "images",
    "audio": "audio",
}
# Common names for what the plugins show.
_KINDS = {"graphs": "graph", "graph_tagged_run_metadata": "trace"}


def _number(value: tf.Summary.Value) -> float | None:
    """Returns the number in a summary's tensor, or None unless it is a single number."""
    if math.prod(dim.size for dim in value.tensor.tensor_shape.dim) != 1:
        return None
    try:
        return float(tf.make_ndarray(value.tensor).item())
    except (TypeError, ValueError):
        return None


def _tag(run: str, plugin: str, name: str, points: dict[int, float | None]) -> Tag:
    """Returns a Tag; drops records of scalars that are not a single number."""
    kind = _KINDS.get(plugin, plugin or "tensors")
    if kind != "scalars":
        return Tag(run, kind, name, list(points), None)
    numbers = {step: value for step, value in points.items() if value is not None}
    if len(numbers) < len(points):
        count = len(points) - len(numbers)
        LOG.warning("%s %s: %d records are not a single number", run, one_line(name), count)
    if not numbers:
        return Tag(run, "tensors", name, list(points), None)
    return Tag(run, kind, name, list(numbers), list(numbers.values()))


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
