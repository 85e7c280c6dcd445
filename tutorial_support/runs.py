"""A training run: its folder, flags and signals, and what its loop needs.

A run folder contains `checkpoint` and `model.ckpt-<global_step>.*`, event files, `flags.json` and
plots. Training in it again resumes the run. A training program makes these calls in order:

    with runs.Run(folder, "mnist_mechanics", flags) as run:   locks and reads the folder
        run.settle(facts, may_change)                         checks that flags and data match
        ...                                                   build the graph, open a session
        checkpoint = run.newest_checkpoint()
        run.begin(writer, first_step, last_step)
        for step in run.steps(first_step, last_step):
            ...
            if run.is_save_step(step + 1, every=1000):
                saver.save(sess, run.checkpoint_prefix, global_step=step + 1)
    return run.exit_code
"""

import argparse
import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import filelock
import numpy as np
import tensorflow.compat.v1 as tf
from tqdm import tqdm

from tutorial_support import TEST, checkpoints, event_files, files, plots, programs
from tutorial_support.programs import (
    LOG,
    StopSignals,
    UsageError,
    number,
    one_line,
    printable,
    reason,
)

FLAGS_FILE = "flags.json"
_PLACE = "run_dir"
_LIMITS = ("max_steps", "generations", "how_many_training_steps", "fine_tune_epochs")  # flags
# Flags that control this start of the program, not the training itself.
_FOR_THIS_START = (
    "fresh",
    "fallback",
    "keep_checkpoints",
    "sample",
    "wait_secs",
    "checkpoint_wait_secs",
)


def add_flags(parser: argparse.ArgumentParser, name: str, default: str) -> None:
    """Adds the flags of a run folder; `name` is the folder's flag, such as "--train_dir"."""
    group = parser.add_argument_group("run folder")
    group.add_argument(
        name, default=default, help="Folder of the run. If it contains a run, training resumes."
    )
    group.add_argument(
        "--fresh", action="store_true", help=f"Move an earlier run in {name} aside and start anew."
    )
    group.add_argument(
        "--fallback",
        action="store_true",
        help="If the newest checkpoint is damaged, resume from the one before it.",
    )
    group.add_argument(
        "--keep_checkpoints",
        type=number(int, 0),
        default=5,
        metavar="N",
        help="Keep the newest N checkpoints and delete older ones; 0 keeps all.",
    )


def session_config(small_net: bool = False) -> tf.ConfigProto:
    """Returns a session configuration.

    GPU memory is allocated as needed, so that an evaluation can run alongside a training.

    Args:
        small_net: the ops take only microseconds, so run them one by one in the thread that calls
            `Session.run`; handing them to other threads would take longer.
    """
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    if small_net:
        config.inter_op_parallelism_threads = -1
        config.intra_op_parallelism_threads = programs.op_threads
    else:
        # By default TensorFlow optimizes a graph twice, which takes half a second more for a large
        # one and makes it no faster.
        rewriting = config.graph_options.rewrite_options
        rewriting.meta_optimizer_iterations = rewriting.ONE
    return config


def graph_to_restore() -> tf.Graph:
    """Returns a new graph for a net whose variables are restored.

    It has a seed, although the initial values are never used: with TF_DETERMINISTIC_OPS=1,
    TensorFlow refuses random initializers without one.
    """
    graph = tf.Graph()
    graph.seed = 0  # as tf.set_random_seed sets it
    return graph


# For the functions of a pipeline: tf.data would let AutoGraph rewrite them before tracing. That
# takes longer than the tracing, and leaves a temporary file behind if the program is killed.
without_autograph = tf.autograph.experimental.do_not_convert


def fixed_parallelism(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without tf.data's autotuner, because the pipelines here set all numbers.

    The autotuner measures at growing intervals, and a session waits for its next measurement before
    it initializes an iterator again. With one core, that took up to 40 s (TensorFlow 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


class Run:
    """A run folder, locked against other trainings, and the progress of the training in it.

    Attributes:
        path: the folder.
        folder: the folder as a string, for tf.summary.FileWriter.
        checkpoint_prefix: `<folder>/model.ckpt`, for `Saver.save`.
        kept: the flags and facts of the run in the folder; empty for a new run.
        stop: turns signals into a request to stop.
        is_stopping: whether the loop is ending early because of a signal.
    """

    def __init__(self, folder: str, program: str, flags: argparse.Namespace) -> None:
        """Creates the folder if necessary, locks it, and reads the flags of the run in it.

        Args:
            folder: path of the run folder.
            program: name of the tutorial, stored in the folder.
            flags: the program's flags, including those of `add_flags`.

        Raises:
            UsageError: the folder cannot be used, another process is training in it, or it contains
                a run of another tutorial.
        """
        checkpoints.check_path(folder)
        self.path, self.folder = pathlib.Path(folder), str(folder)
        self.checkpoint_prefix = str(self.path / "model.ckpt")
        self._flags, self._program = flags, program
        self._last_step, self.is_stopping, self._resumed_from = 0, False, ""
        self.stop = StopSignals()
        self._limit = ""  # the flag that sets how long to train, if it may be raised
        self._resources = contextlib.ExitStack()
        try:
            self._is_new = not self.path.exists()
            files.make_folder(self.path)
            self._lock = _locked(self.path)
            files.sweep(self.path)
        except OSError as error:
            raise _unusable(folder, error) from error
        if (state := self.path / checkpoints.STATE_FILE).is_dir() and not flags.fresh:
            self._lock.release()
            raise UsageError(f"'{state}' must be a file, but is a folder; move it away")
        self.kept = {} if flags.fresh else read_flags(self.path)
        before = self.kept.get("program", program)
        if before != program:
            self._lock.release()
            raise UsageError(
                f"'{folder}' contains a run of {one_line(str(before))}, not of {program}; name "
                "another folder, or start anew with --fresh"
            )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()
        self._lock.release()
        if self._is_new:  # remove a new folder that contains only the lock
            with contextlib.suppress(OSError):
                if [path.name for path in self.path.iterdir()] == [files.LOCK_FILE]:
                    (self.path / files.LOCK_FILE).unlink()
                    self.path.rmdir()

    def settle(self, facts: dict[str, Any], may_change: Collection[str] = ()) -> None:
        """Checks that flags and facts match the run in the folder; --fresh moves the run aside.

        Args:
            facts: further properties of the run, such as a checksum of its data.
            may_change: names of flags and facts that may differ in a resumed run.

        Raises:
            UsageError: others differ, or the folder cannot be moved.
        """
        self._limit = next((name for name in _LIMITS if name in may_change), "")
        self._to_keep = {"program": self._program, **description(self._flags, facts)}
        changed = differences(self.kept, self._to_keep, may_change, vars(self._flags))
        if changed:
            listed = "; ".join(f"{name} was {before}, is {now}" for name, before, now in changed)
            raise UsageError(
                f"'{self.path}' contains a run with other flags ({one_line(listed)}); use the "
                "earlier values to resume it, or start a new run with --fresh or in another folder"
            )
        if self._flags.fresh:
            self._move_aside()

    def newest_checkpoint(self) -> str | None:
        """Returns the checkpoint to resume from, after reading it as a check; None for a new run.

        Raises:
            UsageError: it is damaged, and --fallback is not given or finds no other; or this run
                would overwrite a checkpoint that another run wrote.
        """
        newest = checkpoints.newest(self.path)
        if newest is None:
            return None
        others = checkpoints.all_numbered(self.path)
        older = others[: others.index(newest)] if newest in others else []
        for prefix in [newest, *reversed(older)]:
            try:
                checkpoints.values(prefix)
                self._refuse_foreign(prefix, others)
                self._resumed_from = prefix
                return prefix
            except checkpoints.DamagedCheckpoint as error:
                if not self._flags.fallback:
                    raise UsageError(
                        f"{error}, or resume from the one before it with --fallback"
                    ) from error
                LOG.warning("%s", error)
        raise UsageError(f"'{self.path}' contains no readable checkpoint; start anew with --fresh")

    def _refuse_foreign(self, prefix: str, others: list[str]) -> None:
        own = checkpoints.recorded(self.path)
        later = others[others.index(prefix) + 1 :] if prefix in others else []
        for foreign in (other for other in later if own and pathlib.Path(other).name not in own):
            raise UsageError(
                f"the run that resumes from '{prefix}' would overwrite '{foreign}', which it did "
                "not write; move that checkpoint to another folder"
            )

    def begin(self, writer: tf.summary.FileWriter, first_step: int, last_step: int) -> None:
        """Starts the training: stores its flags and prints where it resumes.

        It also records a restart in the event file, so that readers discard what a killed run wrote
        for the steps that are now repeated. Records of the checkpoint's own step are kept, because
        its evaluation is among them. The writer is closed at the end of the run.
        """
        self._last_step = last_step
        self._resources.callback(writer.close)
        # From here on, a signal asks the loop to save; until now it ended the program at once.
        self._resources.enter_context(self.stop)
        kept = self._to_keep | {"last_step": last_step}
        write_flags(self.path, kept)
        if first_step:
            what = f"'{self._resumed_from}'"
            further = f"raise --{self._limit} to train further, or " if self._limit else ""
            print(
                f"Resuming at step {first_step} from {what}."
                if first_step < last_step
                else f"{what} is already at step {first_step}; {further}start anew with --fresh."
            )
        # TensorBoard takes the first START of a folder as its beginning and later ones as restarts.
        session_log = tf.SessionLog(status=tf.SessionLog.START)
        writer.add_session_log(session_log, first_step + 1 if first_step else 0)
        if len(self._event_files()) > 1:  # an earlier start
            writer.add_graph(tf.get_default_graph())  # again: a restart at step 0 discards it

    @property
    def event_suffix(self) -> str:
        """A `filename_suffix` for tf.summary.FileWriter, above those of the existing event files.

        TensorFlow puts the time in seconds into the names. Without a suffix, a run restarted within
        a second would overwrite its event file, and after the clock is set back readers could not
        tell the order of the files.
        """
        endings = [path.suffix[1:] for path in self._event_files()]
        given = [int(ending) for ending in endings if ending.isdecimal()]
        return f".{max([len(endings), *(number + 1 for number in given)])}"

    def _event_files(self) -> list[pathlib.Path]:
        return list(self.path.glob("*tfevents*"))

    def steps(
        self, first: int, end: int, name: str = "training", unit: str = "step"
    ) -> Iterator[int]:
        """Yields first .. end - 1 with a progress bar; ends early once a stop has been saved."""
        return (step for step, _ in self.spans(first, end, 1, name, unit))

    def spans(
        self, first: int, end: int, length: int, name: str = "training", unit: str = "step"
    ) -> Iterator[tuple[int, int]]:
        """Like `steps`, but yields spans (first step, last step + 1) of up to `length` steps.

        A span ends at a multiple of `length` or at `end`.
        """
        with files.progress_bar(end, name, unit, initial=first) as bar:
            while first < end and not self.is_stopping:
                span_end = min(first - first % length + length, end)
                yield first, span_end
                bar.update(span_end - first)
                first = span_end
        if self.is_stopping:
            print_line(f"Stopped by a signal; {unit} {first} is saved.")

    def is_save_step(self, steps_done: int, every: int) -> bool:
        """Returns whether to save now: every `every` steps, at the end, and after a signal."""
        self.is_stopping = self.stop.requested
        return self.is_stopping or steps_done % every == 0 or steps_done == self._last_step

    @property
    def exit_code(self) -> int:
        """0, or 129, 130 or 143 after a signal."""
        return self.stop.exit_code

    def draw(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        class_names: Sequence[str],
        pictures: Callable[[np.ndarray], Sequence[np.ndarray]],
        mark: tuple[float, str] | None = None,
        more: Sequence[str] = (),
        x_axis: tuple[str, int] = ("step", 1),
        split: str = TEST,
    ) -> None:
        """Draws the curves and predictions of the run and prints the files' names.

        Args:
            labels, logits, class_names, pictures: as in `plots.draw_predictions`.
            mark, x_axis: as in `plots.draw_curves`.
            more: names of further pictures to print.
            split: the split of the images, one of tutorial_support.SPLITS.
        """
        is_sample = bool(self._to_keep.get("sample"))
        if is_sample:
            print_line("These results are on the shipped sample, not on the full data set.")
        sample = " of the shipped sample" * is_sample
        title = f"{split.capitalize()} images{sample}, {self.path.name} at step {self._last_step}"
        scalars = event_files.scalars(self.path)
        name = self.path.name + " (shipped sample)" * is_sample
        drawn = plots.draw_curves(self.path, scalars, name, mark, x_axis)
        if len(labels):
            drawn += plots.draw_predictions(self.path, labels, logits, class_names, pictures, title)
        print_line(f"Pictures: {self.path}/{', '.join([*drawn, *more])}")

    def _move_aside(self) -> None:
        """Moves an earlier run in the folder aside, holding the lock throughout."""
        if not (self.path / FLAGS_FILE).exists() and checkpoints.newest(self.path) is None:
            return  # there is no earlier run
        real = self.path.resolve()  # a link keeps pointing to the folder of the new run
        if pathlib.Path.cwd().is_relative_to(real):
            raise UsageError(
                f"--fresh cannot move '{self.path}', the current folder; name a subfolder"
            )
        stamp = real.name + time.strftime("-%Y%m%d-%H%M%S")
        names = (f"{stamp}.{serial}" if serial > 1 else stamp for serial in range(1, 10**6))
        aside = next(p for p in map(real.with_name, names) if not os.path.lexists(p))
        try:
            real.rename(aside)
            real.mkdir()
            files.to_disk(real.parent)
            moved, self._lock = self._lock, _locked(self.path)
            moved.release()
        except OSError as error:
            raise _unusable(self.path, error) from error
        print(f"The earlier run is now in '{aside}'.")


def description(flags: argparse.Namespace, facts: dict[str, Any]) -> dict[str, Any]:
    """Returns what identifies a run: its flags, and facts such as a checksum of its data."""
    return {k: v for k, v in vars(flags).items() if k not in _FOR_THIS_START} | facts


def differences(
    before: dict[str, Any], now: dict[str, Any], may_differ: Collection[str], flags: Collection[str]
) -> list[tuple[str, Any, Any]]:
    """Returns the entries whose values differ between two descriptions: (name, before, now).

    Args:
        before, now: from `description`.
        may_differ: names of entries to ignore.
        flags: names of entries that are flags; they are returned with their dashes.
    """
    return [
        (f"--{name}" if name in flags else f"the {name}", before[name], value)
        for name, value in now.items()
        if name in before and name not in may_differ and before[name] != value
    ]


def print_line(text: str) -> None:
    """Prints a line on standard output without breaking a progress bar."""
    tqdm.write(printable(text))


def read_flags(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns the flags and facts of the run in `folder`; an empty dict if there are none.

    Raises:
        UsageError: flags.json is damaged.
    """
    path = pathlib.Path(folder) / FLAGS_FILE
    if not os.path.lexists(path):
        return {}
    with files.reading(path, "repair it or move it away"):
        flags = json.loads(files.read_text(path, "repair it or move it away"))
        if not isinstance(flags, dict):
            raise ValueError("it is not a JSON object")
        return _moved_along(flags, path.parent)


def write_flags(folder: pathlib.Path, flags: dict[str, Any]) -> None:
    """Stores the flags and facts of a run in its folder, together with the folder's path."""
    kept = flags | {_PLACE: str(folder.resolve())}
    files.write_text(folder / FLAGS_FILE, json.dumps(kept, indent=2) + "\n")


def _moved_along(flags: dict[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    """Returns the flags, with new paths for files that were moved together with the run."""
    place = str(flags.get(_PLACE, folder.resolve()))
    for name, value in flags.items():
        path = pathlib.Path(value if isinstance(value, str) else "")
        if path.is_absolute() and not os.path.lexists(path):
            moved = (folder / os.path.relpath(path, place)).resolve()
            flags[name] = str(moved if moved.exists() else path)
    return flags


def _locked(path: pathlib.Path) -> filelock.FileLock:
    """Returns the acquired lock of a run folder."""
    lock = files.lock_of(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise UsageError(
            f"another process is training in '{path}'; wait for it or name another folder"
        ) from None
    return lock


def _unusable(folder: str | os.PathLike, error: OSError) -> UsageError:
    return UsageError(
        f"the run folder '{folder}' cannot be used: {reason(error)}; name another one"
    )
