"""One training run: its folder, its flags, its signals, and what its loop asks.

A run folder holds `checkpoint` and `model.ckpt-<global_step>.*`, event files, `flags.json` and
pictures. Training again in it resumes. A training program goes through these calls in order:

    with runs.Run(folder, "mnist_mechanics", flags) as run:   locks the folder and looks into it
        run.settle(facts, may_change)                         same flags, same data as before?
        ...                                                   builds the graph, opens a session
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

from tutorial_support import TEST, checkpoints, events, files, plots, programs
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
_LOCK_FILE = ".lock"
# Flags that say how to start, or how long to wait, not what the run is.
_FOR_THIS_START = (
    "fresh",
    "fallback",
    "keep_checkpoints",
    "sample",
    "wait_secs",
    "checkpoint_wait_secs",
)


def add_flags(parser: argparse.ArgumentParser, name: str, default: str) -> None:
    """Adds the flags of a run folder; `name` is that of the folder, such as "--train_dir"."""
    group = parser.add_argument_group("run folder")
    group.add_argument(name, default=default, help="The run's folder; a run in it is resumed.")
    group.add_argument("--fresh", action="store_true", help=f"Move the run in {name} aside first.")
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
    """Returns the configuration of a session.

    On a GPU, memory is taken as it is needed, so that an evaluation can run beside a training.

    Args:
        small_net: whether the ops take microseconds. Then they run one by one in the thread that
            calls `Session.run`, because handing them to other threads would cost more.
    """
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    if small_net:
        config.inter_op_parallelism_threads = -1
        config.intra_op_parallelism_threads = programs.op_threads
    else:
        # Otherwise TensorFlow optimizes a large graph twice: half a second later, and no faster.
        rewriting = config.graph_options.rewrite_options
        rewriting.meta_optimizer_iterations = rewriting.ONE
    return config


class Run:
    """A run folder, locked against a second training, and the course of one training in it.

    Attributes:
        path: the folder.
        folder: the same as a string, for tf.summary.FileWriter.
        checkpoint_prefix: for `Saver.save`: `<folder>/model.ckpt`.
        kept: the flags and facts of the run that the folder holds; empty for a new run.
        stop: turns signals into a request to stop.
    """

    def __init__(self, folder: str, program: str, flags: argparse.Namespace) -> None:
        """Locks the folder, making it if need be, and reads what it holds.

        Args:
            folder: path of the run folder.
            program: name of the tutorial, which the folder keeps.
            flags: the program's flags, among them those of `add_flags`.

        Raises:
            UsageError: the folder cannot be used, another process trains in it, or it holds a run
                of another tutorial.
        """
        checkpoints.check_path(folder)
        self.path, self.folder = pathlib.Path(folder), str(folder)
        self.checkpoint_prefix = str(self.path / "model.ckpt")
        self._flags, self._program = flags, program
        self._last_step, self._is_stopping, self._resumed_from = 0, False, ""
        self.stop = StopSignals()
        self._resources = contextlib.ExitStack()
        try:
            self._is_new = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
            files.sweep(self.path)
        except OSError as error:
            raise _unusable(folder, error) from error
        if (state := self.path / checkpoints.STATE_FILE).is_dir() and not flags.fresh:
            self._lock.release()
            raise UsageError(f"'{state}' is a folder where a file is to be; move it away")
        self.kept = {} if flags.fresh else read_flags(self.path)
        before = self.kept.get("program", program)
        if before != program:
            self._lock.release()
            raise UsageError(
                f"'{folder}' holds a run of {one_line(str(before))}, not of {program}; name "
                "another folder, or start anew with --fresh"
            )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()
        self._lock.release()
        if self._is_new:  # and nothing came of it, if the lock is all there is
            with contextlib.suppress(OSError):
                if [path.name for path in self.path.iterdir()] == [_LOCK_FILE]:
                    (self.path / _LOCK_FILE).unlink()
                    self.path.rmdir()

    def settle(self, facts: dict[str, Any], may_change: Collection[str] = ()) -> None:
        """Compares flags and facts with those of the run in the folder; with --fresh moves it.

        Args:
            facts: what else makes the run what it is, such as a checksum of its data.
            may_change: names of flags and facts that a resumed run may have other values of.

        Raises:
            UsageError: they contradict each other, or the folder cannot be moved.
        """
        self._to_keep = {"program": self._program, **description(self._flags, facts)}
        changed = differences(self.kept, self._to_keep, may_change, vars(self._flags))
        if changed:
            listed = "; ".join(f"{name} was {before}, is {now}" for name, before, now in changed)
            raise UsageError(
                f"'{self.path}' holds a run with other flags ({one_line(listed)}): "
                "repeat them to resume it, or start anew with --fresh or in another folder"
            )
        if self._flags.fresh:
            self._move_aside()

    def newest_checkpoint(self) -> str | None:
        """Returns the checkpoint to resume from, after reading it once; None for a new run.

        Raises:
            UsageError: it is damaged, and --fallback is not given or finds no other; or there is a
                checkpoint that another run wrote and this one would write over.
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
        raise UsageError(
            f"'{self.path}' holds no checkpoint that can be read; start anew with --fresh"
        )

    def _refuse_foreign(self, prefix: str, others: list[str]) -> None:
        own = checkpoints.recorded(self.path)
        later = others[others.index(prefix) + 1 :] if prefix in others else []
        for foreign in (other for other in later if own and pathlib.Path(other).name not in own):
            raise UsageError(
                f"'{foreign}' was not written by the run that would resume from '{prefix}' and "
                "write over it; move it to another folder"
            )

    def begin(self, writer: tf.summary.FileWriter, first_step: int, last_step: int) -> None:
        """Notes and says that the training begins; keeps its flags; closes the writer at the end.

        The event file notes a restart, so that readers forget what a killed run had written of the
        steps that this one repeats. What is written at the step of the checkpoint itself stays:
        its evaluation is there.
        """
        self._last_step = last_step
        self._resources.callback(writer.close)
        # From here on a signal asks the loop to save. Before, it ends the program at once.
        self._resources.enter_context(self.stop)
        kept = self._to_keep | {"last_step": last_step}
        files.write_text(self.path / FLAGS_FILE, json.dumps(kept, indent=2) + "\n")
        if first_step:
            what = f"'{self._resumed_from}'"
            print(
                f"Resuming at step {first_step} from {what}."
                if first_step < last_step
                else f"{what} is already at step {first_step}: a higher limit trains on, --fresh "
                "starts anew."
            )
        # TensorBoard takes a folder's first note of this kind for its beginning, and each later one
        # for a restart.
        session_log = tf.SessionLog(status=tf.SessionLog.START)
        writer.add_session_log(session_log, first_step + 1 if first_step else 0)
        if len(self._event_files()) > 1:  # there was a run before, if only until its first step
            writer.add_graph(tf.get_default_graph())  # which a restart at step 0 makes forgotten

    @property
    def event_suffix(self) -> str:
        """A `filename_suffix` for tf.summary.FileWriter, higher than those of all event files here.

        TensorFlow names event files by the second. Without a suffix, a run that is started again
        within a second would write over what it had written before; and readers could not tell the
        order of two files between which the clock was set back.
        """
        endings = [path.suffix[1:] for path in self._event_files()]
        given = [int(ending) for ending in endings if ending.isdecimal()]
        return f".{max([len(endings), *(number + 1 for number in given)])}"

    def _event_files(self) -> list[pathlib.Path]:
        return list(self.path.glob("*tfevents*"))

    def steps(
        self, first: int, end: int, name: str = "training", unit: str = "step"
    ) -> Iterator[int]:
        """Yields first .. end - 1 under a progress bar; ends early once a stop has been saved."""
        return (step for step, _ in self.spans(first, end, 1, name, unit))

    def spans(
        self, first: int, end: int, length: int, name: str = "training", unit: str = "step"
    ) -> Iterator[tuple[int, int]]:
        """Yields the same in spans: (first step, step behind the last), up to `length` steps each.

        A span ends at a multiple of `length`, or at `end`.
        """
        with files.progress_bar(end, name, unit, initial=first) as bar:
            while first < end and not self._is_stopping:
                span_end = min(first - first % length + length, end)
                yield first, span_end
                bar.update(span_end - first)
                first = span_end
        if self._is_stopping:
            say(f"Stopped by a signal; {unit} {first} is saved.")

    def is_save_step(self, steps_done: int, every: int) -> bool:
        """Returns whether to save now: every so many steps, at the end, and to stop on a signal."""
        self._is_stopping = self.stop.requested
        return self._is_stopping or steps_done % every == 0 or steps_done == self._last_step

    @property
    def is_stopping(self) -> bool:
        """Whether the loop ends early, because a signal asked for it."""
        return self._is_stopping

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
        """Draws the curves of the run and its predictions for some images; says which files.

        Args:
            labels, logits, class_names, pictures: as of `plots.draw_predictions`.
            mark, x_axis: as of `plots.draw_curves`.
            more: names of pictures that are there already.
            split: what the images are, one of tutorial_support.SPLITS.
        """
        is_sample = bool(self._to_keep.get("sample"))
        if is_sample:
            say("These results are on the shipped sample, not on the full data set.")
        sample = " of the shipped sample" * is_sample
        title = f"{split.capitalize()} images{sample}, {self.path.name} at step {self._last_step}"
        scalars = events.scalars(self.path)
        name = self.path.name + " (shipped sample)" * is_sample
        drawn = plots.draw_curves(self.path, scalars, name, mark, x_axis)
        if len(labels):
            drawn += plots.draw_predictions(self.path, labels, logits, class_names, pictures, title)
        say(f"Pictures: {self.path}/{', '.join([*drawn, *more])}")

    def _move_aside(self) -> None:
        """Moves an earlier run in the folder aside; the lock is held all the while."""
        if not (self.path / FLAGS_FILE).exists() and checkpoints.newest(self.path) is None:
            return  # nothing here that a run left
        if pathlib.Path.cwd().is_relative_to(self.path.resolve()):
            raise UsageError(
                f"--fresh cannot move '{self.path}', the current folder; name a subfolder"
            )
        stamp = time.strftime(f"{self.path.name}-%Y%m%d-%H%M%S")
        names = (f"{stamp}.{serial}" if serial > 1 else stamp for serial in range(1, 10**6))
        aside = next(p for p in map(self.path.with_name, names) if not os.path.lexists(p))
        try:
            self.path.rename(aside)
            self.path.mkdir()
            moved, self._lock = self._lock, _locked(self.path)
            moved.release()
        except OSError as error:
            raise _unusable(self.path, error) from error
        print(f"The earlier run is now in '{aside}'.")


def description(flags: argparse.Namespace, facts: dict[str, Any]) -> dict[str, Any]:
    """Returns what makes a run what it is: its flags, and facts such as a checksum of its data."""
    return {k: v for k, v in vars(flags).items() if k not in _FOR_THIS_START} | facts


def differences(
    before: dict[str, Any], now: dict[str, Any], may_differ: Collection[str], flags: Collection[str]
) -> list[tuple[str, Any, Any]]:
    """Returns the entries that two descriptions have different values of: (name, before, now).

    Args:
        before, now: from `description`.
        may_differ: names of the entries that do not matter.
        flags: names of the entries that are flags, which get their dashes.
    """
    return [
        (f"--{name}" if name in flags else f"the {name}", before[name], value)
        for name, value in now.items()
        if name in before and name not in may_differ and before[name] != value
    ]


def say(text: str) -> None:
    """Prints a line on standard output without breaking a progress bar."""
    tqdm.write(printable(text))


def read_flags(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns the flags and facts of the run in `folder`; an empty dict where there are none.

    Raises:
        UsageError: flags.json is damaged.
    """
    path = pathlib.Path(folder) / FLAGS_FILE
    if not os.path.lexists(path):
        return {}
    with files.reading(path, "mend it or move it away"):
        flags = json.loads(files.read_text(path, "mend it or move it away"))
        if not isinstance(flags, dict):
            raise ValueError("it holds no JSON object")
        return flags


def _locked(path: pathlib.Path) -> filelock.FileLock:
    """Returns a lock on the folder; the system lets go of it when the process ends, however."""
    lock_file = path / _LOCK_FILE
    if lock_file.is_symlink():
        raise UsageError(f"'{lock_file}' is a link; remove it")
    lock = filelock.FileLock(lock_file, thread_local=False)
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
