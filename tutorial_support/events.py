"""Reads and writes scalars in event files; as a program, lists, prints and plots them.

    python -m tutorial_support.events logs/mnist_feed
    python -m tutorial_support.events logs --tag loss --print
    python -m tutorial_support.events logs --tag accuracy --plot accuracy.png --csv accuracy.csv
    python -m tutorial_support.events cifar10_cnn/results/*.csv --tag accuracy --plot accuracy.png

Reads what any version of TensorFlow wrote. Of a file that is still being written, was cut off or is
damaged, it reads every whole record.
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
    """One tag of one run.

    Attributes:
        run: the run's folder, relative to the folder that was read; "." for that folder itself.
        kind: "scalars", "histograms", "images", "graph", "trace", or another plugin of TensorBoard.
        name: the tag, for example "loss".
        steps: list of int.
        values: list of float for scalars, else None.
    """

    run: str
    kind: str
    name: str
    steps: list[int]
    values: list[float] | None


def read(folder: str | os.PathLike) -> list[Tag]:
    """Returns the list of all `Tag`s in the event files of `folder` and below.

    Where a run was killed and resumed, the steps that it repeated are there once. `folder` may also
    be a file that `--csv` wrote.

    Raises:
        UsageError: there is no such folder, or no event file in it.
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
        raise UsageError(f"'{folder}' holds no event file; name the folder of a run")
    return [
        tag
        for run, paths in sorted(runs.items())
        for tag in _tags_of_run(str(run.relative_to(folder)), paths)
    ]


_COLUMNS = ["run", "tag", "step", "value"]  # of a table of scalars


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


# What version 0.1.0 called the tags that are the same in all tutorials now.
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
    """Returns the steps and values of each scalar of the run in `folder` itself, by tag.

    What an earlier version of this package wrote comes under today's tag.
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


DETAILS = "details"  # the collection of summaries that are written now and then, or on demand


def add_details(**tensors: tf.Tensor) -> None:
    """Adds summaries of tensors inside a net to the collection DETAILS, by their names.

    `images` becomes a picture; each other one a histogram, and the share of its zeros. The
    summaries of variables come from `merged_details`.
    """
    for name, tensor in tensors.items():
        if name == "images":
            tf.summary.image(name, tensor, max_outputs=6, collections=[DETAILS])
        else:
            tf.summary.histogram(f"activations/{name}", tensor, collections=[DETAILS])
            # In the tensor's own name scope: TensorBoard draws no box more.
            scope = tensor.op.name.rpartition("/")[0]
            with tf.name_scope(f"{scope}/zeros/" if scope else "zeros"):
                zeros = tf.reduce_sum(tf.cast(tf.equal(tensor, 0), tf.float32))
                sparsity = zeros / tf.cast(tf.size(tensor), tf.float32)
            tf.summary.scalar(f"sparsity/{name}", sparsity, collections=[DETAILS])


def merged_details() -> tf.Tensor:
    """Returns the summaries in DETAILS and a histogram of each trainable variable, merged."""
    for variable in tf.trainable_variables():
        tf.summary.histogram(f"variables/{variable.op.name}", variable, collections=[DETAILS])
    return tf.summary.merge_all(DETAILS)


def write_scalar(writer: tf.summary.FileWriter, tag: str, value: float, step: int) -> None:
    """Writes a number that Python holds: a summary need not come out of the graph."""
    summary = tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])
    writer.add_summary(summary, step)


def write_trace(
    writer: tf.summary.FileWriter, metadata: tf.RunMetadata, step: int, folder: pathlib.Path
) -> None:
    """Keeps a recorded step for TensorBoard's graph page and for a browser's trace viewer.

    Args:
        writer: of an event file that holds the graph.
        metadata: filled by `Session.run`.
        step: the step's number.
        folder: where `trace-step-<step>.json` goes, which chrome://tracing and
            https://ui.perfetto.dev open.
    """
    from tensorflow.python.client import timeline  # its only home; part of no public module

    writer.add_run_metadata(metadata, f"step{step}", step)
    trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    files.write_text(folder / f"trace-step-{step}.json", trace)


def _tags_of_run(run: str, paths: Sequence[pathlib.Path]) -> list[Tag]:
    """Returns the tags in the event files of one run; what cannot be read is left out and told."""
    kinds: dict[str, str] = {}
    points: dict[str, dict[int, Any]] = {}  # by tag and step
    for path in paths:
        records = event_files.Records(path)
        try:
            for event in records:
                if event.session_log.status == event.session_log.START:
                    # A restart at this step: what a killed run had written of later ones is void.
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
                "'%s' is damaged: %d bytes in %d places of it could not be read and are left out",
                path,
                records.lost,
                records.places,
            )
    return [_tag(run, kinds[name], name, found) for name, found in points.items() if found]


def _summaries(event: tf.Event) -> Iterator[tuple[str, str, float | None]]:
    """Yields (tag, plugin of TensorBoard, number of a scalar) for each summary in an event."""
    if event.HasField("graph_def"):
        yield "__run_graph__", "graphs", None  # as TensorBoard calls it
    if event.HasField("tagged_run_metadata"):
        yield event.tagged_run_metadata.tag, "graph_tagged_run_metadata", None
    for value in event.summary.value:
        field = value.WhichOneof("value")
        plugin = _PLUGINS.get(field) or value.metadata.plugin_data.plugin_name
        yield value.tag, plugin, value.simple_value if field == "simple_value" else _number(value)


# The fields of summaries of TensorFlow 1; TensorFlow 2 writes tensors, and names the plugin.
_PLUGINS = {
    "simple_value": "scalars",
    "histo": "histograms",
    "image": "images",
    "audio": "audio",
}
# What people call the things that TensorBoard's plugins show.
_KINDS = {"graphs": "graph", "graph_tagged_run_metadata": "trace"}


def _number(value: tf.Summary.Value) -> float | None:
    """Returns the number in a summary's tensor; None where it does not hold just one."""
    if math.prod(dim.size for dim in value.tensor.tensor_shape.dim) != 1:
        return None
    try:
        return float(tf.make_ndarray(value.tensor).item())
    except (TypeError, ValueError):
        return None


def _tag(run: str, plugin: str, name: str, points: dict[int, float | None]) -> Tag:
    """Returns a Tag; of scalars, those that are one number."""
    kind = _KINDS.get(plugin, plugin or "tensors")
    if kind != "scalars":
        return Tag(run, kind, name, list(points), None)
    numbers = {step: value for step, value in points.items() if value is not None}
    if len(numbers) < len(points):
        count = len(points) - len(numbers)
        LOG.warning("%s %s: %d records hold no single number", run, one_line(name), count)
    if not numbers:
        return Tag(run, "tensors", name, list(points), None)
    return Tag(run, kind, name, list(numbers), list(numbers.values()))


def _read_all(paths: Sequence[str]) -> list[Tag]:
    """Returns the tags below several paths; the name of a run begins with that of its path."""
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
        help="a folder with event files in it or below it, or a table that --csv wrote",
    )
    parser.add_argument("--tag", default="", help="only tags that match this regular expression")
    parser.add_argument("--print", action="store_true", help="print every scalar")
    parser.add_argument("--plot", metavar="PNG", help="draw the scalars into this file")
    parser.add_argument("--csv", metavar="FILE", help="write run, tag, step, value to this file")
    flags = parser.parse_args(argv)

    pattern = _regular_expression(flags.tag)
    where = "', '".join(flags.logdir)
    tags = [tag for tag in _read_all(flags.logdir) if pattern.search(tag.name)]
    if not tags:
        which = f" matches --tag {flags.tag}" if flags.tag else ": its event files are empty"
        raise UsageError(f"no tag in '{where}'{which}")
    if not (flags.print or flags.plot or flags.csv):
        _list(tags)
        return
    of_numbers = [tag for tag in tags if tag.kind == "scalars"]
    if not of_numbers:
        which = f" matches --tag {flags.tag}" if flags.tag else ""
        raise UsageError(f"no scalar in '{where}'{which}; leave --print, --plot and --csv out")
    if flags.print:
        _print(of_numbers)
    for path in filter(None, (flags.plot, flags.csv)):
        try:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"'{path}' lies in what is no folder; name another file") from error
    if flags.plot:
        _plot(flags.plot, of_numbers, f"Scalars of {', '.join(flags.logdir)}")
    if flags.csv:
        _write_csv(flags.csv, of_numbers)


if __name__ == "__main__":
    sys.exit(main())
