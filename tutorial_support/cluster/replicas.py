"""A computing task of a cluster: its training steps and its coordination with the other tasks.

A program's `run_worker(flags, cluster)` reads like this:

    with replicas.Replica(cluster, flags, folder, "mnist_mechanics") as replica, graph.as_default():
        with tf.device(cluster.variables_on_ps()):
            ...                                         the same builders as in a single process
            train_op = training(loss, replica.optimizer(optimizer))
        with replica.training(facts, may_change, last_step, save_every) as training:
            for step in training.steps():
                loss_value = training.take_step(train_op, loss)
    return replica.exit_code
"""

import argparse
import contextlib
import logging
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn

import numpy as np
import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints, drivers, files, programs, runs, trained
from tutorial_support import cluster as jobs
from tutorial_support.cluster import clusters, sessions
from tutorial_support.cluster.watchdog import Watchdog, limit_exit
from tutorial_support.programs import (
    ArgumentParser,
    StopSignals,
    TrainingError,
    UsageError,
    number,
)

SUMMARY_EVERY = 100  # steps
_ENDED = "the session ended before the last step; check the chief's output"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a program that trains on a cluster."""
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--sync",
        action="store_true",
        help="Train synchronously: average the gradients of all workers at each step.",
    )
    group.add_argument(
        "--checkpoint_wait_secs",
        type=number(float, 0.1),
        default=3600.0,
        help="Longest wait of the evaluator for a new checkpoint, in seconds.",
    )
    add_wait_flag(group)


def add_wait_flag(parser: argparse._ActionsContainer) -> None:
    """Adds the flag that limits every wait for other tasks."""
    parser.add_argument(
        "--wait_secs",
        type=number(float, 0.1),
        default=60.0,
        help="Longest wait for other tasks, in seconds.",
    )


def share_from_environment() -> slice:
    """Returns this task's share of the pictures according to TF_CONFIG; without it, all pictures.

    Raises:
        UsageError: TF_CONFIG is unusable, or this is not a computing task.
    """
    if not os.environ.get(jobs.VARIABLE):
        return slice(None)
    cluster = clusters.from_environment(needs_ps=False)
    if cluster.job not in (jobs.CHIEF, jobs.WORKER):
        raise UsageError(
            f"{jobs.VARIABLE} gives this task the job {cluster.job}, but this program has no ps or "
            "evaluator tasks; start only workers (one may be the chief)"
        )
    return cluster.share


def program(
    description: str | None,
    add_training_flags: Callable[[argparse.ArgumentParser], None],
    run_worker: Callable[[argparse.Namespace, clusters.Cluster], int],
    net: type[trained.TrainedNet],
    folder: str = "train_dir",
    batch_size: str = "batch_size",
) -> Callable[..., int]:
    """Returns the `main` of a replicated program, which runs the task that TF_CONFIG describes.

    The task serves variables, evaluates or trains. `main` raises UsageError if TF_CONFIG is wrong,
    and TrainingError if another task kept this one waiting for too long.

    Args:
        description: for `--help`.
        add_training_flags: adds the training flags to a parser.
        run_worker: trains; returns an exit code.
        net: the net that an evaluator evaluates.
        folder, batch_size: names of the flags for the run folder and the batch size.
    """

    @programs.program
    def main(argv: list[str] | None = None) -> int:
        parser = ArgumentParser(description)
        add_training_flags(parser)
        add_flags(parser)
        flags = parser.parse_args(argv)
        cluster = clusters.from_environment()
        if vars(flags)[batch_size] % cluster.num_workers:
            raise UsageError(
                f"--{batch_size} {vars(flags)[batch_size]} is not a multiple of the number of "
                f"workers, {cluster.num_workers}; change it"
            )
        if cluster.job == jobs.PS:
            with Watchdog():
                return clusters.serve_variables(cluster)
        if cluster.job == jobs.EVALUATOR:
            wait = ["--checkpoint_wait_secs", str(flags.checkpoint_wait_secs)]
            watch = ["--checkpoint", vars(flags)[folder], "--eval_interval_secs", "1", *wait]
            with Watchdog():
                return drivers.evaluate(net, None, watch)
        threading.excepthook = _without_cancelled(threading.excepthook)
        try:
            return run_worker(flags, cluster)
        except tf.errors.DeadlineExceededError as error:
            raise TrainingError(_waited(cluster, flags.wait_secs)) from error
        except tf.errors.FailedPreconditionError as error:  # a new chief has reset the ps tasks
            raise TrainingError(
                "the chief has started again and cleared the variables on the ps tasks; restart "
                f"{cluster.job} {cluster.index} as well: it then continues together with the chief"
            ) from error

    return main


def end(exit_code: int) -> NoReturn:
    """Ends this process at once; everything must be closed already.

    Python's normal exit would wait for TensorFlow's threads. They may wait forever for a frozen
    task, and the watchdog is no longer running then.
    """
    limit_exit()
    files.remove_temporary_folders()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it is closed, or has no reader
            stream.flush()
    os._exit(exit_code)


def _waited(cluster: clusters.Cluster, wait_secs: float) -> str:
    return (
        f"other tasks kept {cluster.job} {cluster.index} waiting for more than {wait_secs:g} s; "
        "check their output, or raise --wait_secs"
    )


class Replica:
    """A computing task; a context manager.

    Attributes:
        kept: the flags and facts of the run in the folder; empty for a new run.
    """

    def __init__(
        self, cluster: clusters.Cluster, flags: argparse.Namespace, folder: str, tutorial: str
    ) -> None:
        """Opens the run folder if this task is the chief.

        Args:
            cluster: the cluster and this task.
            flags: with those of `add_flags` and `runs.add_flags`.
            folder: the run folder, which only the chief writes to.
            tutorial: name of the tutorial's package.

        Raises:
            UsageError: the folder cannot be used.
        """
        self._cluster, self._flags = cluster, flags
        self._path = pathlib.Path(folder)
        self._run = runs.Run(folder, tutorial, flags) if cluster.is_chief else None
        self._stop = StopSignals() if self._run is None else self._run.stop
        self._watchdog = Watchdog(flags.wait_secs, _waited(cluster, flags.wait_secs))
        self._hooks: list[tf.train.SessionRunHook] = []
        self._is_cut_short = False
        self._synchronous: tf.train.SyncReplicasOptimizer | None = None
        self.kept = {} if flags.fresh else runs.read_flags(folder)

    def __enter__(self) -> "Replica":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._run is not None:
            self._run.__exit__(*exception)

    @property
    def exit_code(self) -> int:
        """0; 129, 130 or 143 after a signal; 143 if another task's signal ended the training."""
        return self._stop.exit_code or self._is_cut_short * (128 + signal.SIGTERM)

    def optimizer(
        self,
        optimizer: tf.train.Optimizer,
        average: tf.train.ExponentialMovingAverage | None = None,
    ) -> tf.train.Optimizer:
        """Returns `optimizer`; with --sync, wraps it to wait for the gradients of all workers.

        Args:
            optimizer: the optimizer of the single-process program.
            average: with --sync, moving averages of the trainable variables, updated once a step.
        """
        if not self._flags.sync:
            return optimizer
        workers = self._cluster.num_workers
        synchronous = tf.train.SyncReplicasOptimizer(
            optimizer,
            workers,
            workers,
            variable_averages=average,
            variables_to_average=None if average is None else tf.trainable_variables(),
        )
        # By default workers start with a token each and compute gradients before all are there.
        hook = synchronous.make_session_run_hook(self._cluster.is_chief, num_tokens=0)
        self._hooks.append(hook)
        self._synchronous = synchronous
        return synchronous

    @contextlib.contextmanager
    def training(
        self,
        facts: dict[str, Any],
        may_change: Collection[str],
        last_step: int,
        save_every: int,
        seek_input: Callable[[tf.Session, int], None] | None = None,
    ) -> Iterator["Training"]:
        """Opens the session for the block; the chief also saves at the block's end.

        Args:
            facts, may_change: as in `runs.Run.settle`.
            last_step: the step to train up to; the chief's value counts.
            save_every: steps between checkpoints.
            seek_input: moves an input pipeline in the graph to a step; None for input that is fed.
        """
        flags, watchdog = self._flags, self._watchdog
        description = runs.description(flags, facts)
        board = sessions.Noticeboard(
            self._cluster, self._path.resolve(), description, may_change, last_step
        )
        training = Training(board, self._stop, flags.sync, watchdog, seek_input)
        saver = checkpoints.Saver(keep=flags.keep_checkpoints)
        hooks = [training, *self._hooks]
        if self._run is not None:
            self._run.settle(facts, may_change)
            if (newest := self._run.newest_checkpoint()) is not None:
                checkpoints.make_newest(newest)  # the session restores the newest
            hooks.append(_Keeper(training, board, saver, self._run, last_step, save_every))
        end_all = None
        if self._synchronous is not None:  # without their queue, no task gets through a step
            end_all = self._synchronous.get_chief_queue_runner().queue.close(True)
        creator = sessions.Creator(
            self._cluster, board, saver, self._path, watchdog, flags.wait_secs, end_all
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(watchdog)
            with watchdog.waiting():
                # At the end, the chief's thread that averages gradients waits for gradients that
                # never come; it gets one second.
                sess = tf.train.MonitoredSession(creator, hooks, stop_grace_period_secs=1)
            if self._run is None:  # the chief's Run has entered it already
                stack.enter_context(self._stop)
            stack.enter_context(sess)
            stack.callback(watchdog.closing)
            training.session = sess
            yield training
            self._is_cut_short = training.is_cut_short


class Training(tf.train.SessionRunHook):
    """The training steps of a task in a session.

    If a synchronous worker simply stopped, the others would wait forever for its next gradient. So
    it first posts on the noticeboard the step after which all tasks stop.

    Attributes:
        session: the session that runs the steps; None until it is open.
        step: the global step after the last run.
        is_cut_short: whether a synchronous task has made all tasks stop before the last step.
    """

    def __init__(
        self,
        board: sessions.Noticeboard,
        stop: StopSignals,
        is_sync: bool,
        watchdog: Watchdog,
        seek_input: Callable[[tf.Session, int], None] | None,
    ) -> None:
        self.step = self._stop_after = 0
        self.is_cut_short = False
        self._board, self._stop, self._is_sync = board, stop, is_sync
        self._watchdog, self._seek_input = watchdog, seek_input
        self._global_step = tf.train.get_global_step()
        self.session: tf.train.MonitoredSession | None = None

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        """Moves the input to the current step, at the start and after a ps was lost."""
        self._read_step(session)
        self._seek(session)

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        """Reads the global step after each run."""
        session, expected = run_context.session, self.step + 1
        if self._stop.requested and self._is_sync:
            self._board.end_early(session)
        self._read_step(session)
        # A lower step means that the chief was killed and has restored its checkpoint. A higher
        # step is normal in asynchronous training: other workers advance the global step too.
        if self.step < expected or (self._is_sync and self.step > expected):
            self._seek(session)

    def take_step(
        self, train_op: tf.Operation, loss: tf.Tensor, feed_dict: dict | None = None
    ) -> np.floating:
        """Runs a step and returns its loss; if a ps is lost, retries with restored variables.

        Raises:
            TrainingError: the loss is not finite, or other tasks ended before the last step.
        """
        assert self.session is not None
        step = self.step
        try:
            with self._watchdog.waiting():
                _, loss_value = self.session.run([train_op, loss], feed_dict)
        except tf.errors.OutOfRangeError as error:  # the queue of a synchronous training is closed
            if self.step + 1 >= self._stop_after:
                raise  # the session handles it by ending
            raise TrainingError(_ENDED) from error
        checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
        return loss_value

    def steps(self) -> Iterator[int]:
        """Yields the global step before each step to take, until the last step or a signal.

        Raises:
            TrainingError: the session ended before that.
        """
        assert self.session is not None
        while not self.session.should_stop():
            if self.step >= self._stop_after or (self._stop.requested and not self._is_sync):
                return
            yield self.step
        if not self._stop.requested:
            raise TrainingError(_ENDED)

    def _read_step(self, session: tf.Session) -> None:
        fetches = [self._global_step, self._board.stop_after, self._board.last_step]
        self.step, self._stop_after, last_step = map(int, session.run(fetches))
        self.is_cut_short = self._stop_after < last_step

    def _seek(self, session: tf.Session) -> None:
        if self._seek_input is not None:
            self._seek_input(session, self.step)


class _Keeper(tf.train.SessionRunHook):
    """Writes the chief's event file and checkpoints.

    TensorFlow's own hooks would write a second event file next to the run's.
    """

    def __init__(
        self,
        training: Training,
        board: sessions.Noticeboard,
        saver: checkpoints.Saver,
        run: runs.Run,
        last_step: int,
        save_every: int,
    ) -> None:
        self._training, self._board, self._saver = training, board, saver
        self._run, self._last_step, self._save_every = run, last_step, save_every
        self._summary = tf.summary.merge_all()
        self._writer: tf.summary.FileWriter | None = None
        self._saved = self._summary_step = self._next_summary = 0

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        """Starts the run, or records in its event file that a lost ps has set it back."""
        step = self._saved = self._training.step
        self._next_summary = step + -step % SUMMARY_EVERY
        if self._writer is None:
            self._writer = tf.summary.FileWriter(
                self._run.folder, session.graph, filename_suffix=self._run.event_suffix
            )
            self._run.begin(self._writer, step, self._last_step)
        else:
            self._writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), step + 1)

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs | None:
        """Fetches the summaries along with the step every SUMMARY_EVERY steps."""
        self._summary_step = self._training.step
        is_due = self._summary_step >= self._next_summary and self._summary is not None
        return tf.train.SessionRunArgs(self._summary) if is_due else None

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        """Writes the fetched summaries; saves a checkpoint when one is due."""
        step = self._training.step
        if run_values.results is not None and self._writer is not None:
            self._writer.add_summary(run_values.results, self._summary_step)
            self._writer.flush()
            self._next_summary = self._summary_step // SUMMARY_EVERY * SUMMARY_EVERY + SUMMARY_EVERY
        if step // self._save_every > self._saved // self._save_every:
            self._save(run_context.session)

    def end(self, session: tf.Session) -> None:
        """Saves the last step and releases the ps tasks."""
        if self._training.step != self._saved:
            self._save(session)
        self._board.release(session)

    def _save(self, session: tf.Session) -> None:
        self._saved = self._training.step
        self._saver.save(session, self._run.checkpoint_prefix, global_step=self._saved)


def _without_cancelled(report: Callable) -> Callable:
    """Returns a threading.excepthook that ignores errors from closed sessions and queues."""

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, tf.errors.CancelledError | tf.errors.AbortedError):
            report(failure)

    return hook
