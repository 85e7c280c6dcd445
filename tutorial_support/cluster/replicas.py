"""One of the tasks that train a net together: its session, and how it lives with the others.

    replica = replicas.Replica(cluster, flags, folder, "mnist_mechanics")
    with tf.Graph().as_default():
        with tf.device(cluster.variables_on_ps()):
            ...                                     the builders of the single process
            train_op = training(loss, replica.optimizer(optimizer))
        with replica.training(facts, may_change, last_step, save_every) as training:
            for step in training.steps():
                training.run(train_op)
"""

import argparse
import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints, drivers, feature_store, runs, trained
from tutorial_support.cluster import clusters
from tutorial_support.programs import LOG, TrainingError, UsageError, number


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a program that trains on a cluster."""
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--sync", action="store_true", help="Average the workers' gradients of a step."
    )
    group.add_argument(
        "--checkpoint_wait_secs",
        type=number(float, 0.1),
        default=3600.0,
        help="Longest wait of the evaluator for another checkpoint, in seconds.",
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


def check_batch_size(batch_size: int, cluster: clusters.Cluster, flag: str = "--batch_size") -> None:
    """Raises UsageError where a batch does not divide over the workers."""
    if batch_size % cluster.num_workers:
        raise UsageError(
            f"{flag} {batch_size} does not divide over {cluster.num_workers} workers; give a "
            "multiple of their number"
        )


def share_from_environment(wait_secs: float) -> feature_store.Share:
    """Returns which pictures this task computes, as TF_CONFIG says; all of them without it.

    Args:
        wait_secs: longest wait for other tasks, in seconds.

    Raises:
        UsageError: TF_CONFIG is unusable, or this task is none that computes.
    """
    if not os.environ.get(clusters.VARIABLE):
        return feature_store.ALL
    cluster = clusters.from_environment(needs_ps=False)
    if cluster.job not in (clusters.CHIEF, clusters.WORKER):
        raise UsageError(
            f"{clusters.VARIABLE} says that this is a task {cluster.job}, but here all tasks "
            "compute; start workers alone"
        )
    return cluster.feature_share(wait_secs)


def do_task(
    cluster: clusters.Cluster,
    flags: argparse.Namespace,
    folder: str,
    kind: type[trained.TrainedNet],
    compute: Callable[[], int],
) -> int:
    """Does what this task is for: serves variables, evaluates, or computes.

    Args:
        cluster: tells what this task is.
        flags: with those of `add_flags`.
        folder: the run folder, whose checkpoints an evaluator evaluates.
        kind: the net that it evaluates.
        compute: trains; returns an exit code.

    Returns:
        the exit code.

    Raises:
        TrainingError: another task let this one wait for too long.
    """
    if cluster.job == clusters.PS:
        return clusters.serve_variables(cluster)
    if cluster.job == clusters.EVALUATOR:
        wait = ["--checkpoint_wait_secs", str(flags.checkpoint_wait_secs)]
        watch = ["--checkpoint", folder, "--eval_interval_secs", "1", *wait]
        return drivers.evaluate(kind, None, watch)
    try:
        return compute()
    except tf.errors.DeadlineExceededError as error:
        raise TrainingError(
            f"other tasks kept {cluster.job} {cluster.index} waiting for more than "
            f"{flags.wait_secs:g} s: look at their output, or raise --wait_secs"
        ) from error


class Replica:
    """One of the tasks that compute.

    Attributes:
        kept: the flags and facts of the run that the folder holds; empty for a new run.
    """

    def __init__(
        self, cluster: clusters.Cluster, flags: argparse.Namespace, folder: str, tutorial: str
    ) -> None:
        """Lets the chief open the run folder.

        Args:
            cluster: tells what this task is.
            flags: with those of `add_flags` and of `runs.add_flags`.
            folder: the run folder, which the ps tasks can write to as well.
            tutorial: name of its package.

        Raises:
            UsageError: the folder cannot be used.
        """
        self._cluster, self._flags = cluster, flags
        self._path = pathlib.Path(folder).resolve()
        self._hooks: list[tf.train.SessionRunHook] = []
        self._run = runs.Run(folder, tutorial, flags) if cluster.is_chief else None
        self.kept = {} if flags.fresh else runs.read_flags(folder)

    def optimizer(
        self, optimizer: tf.train.Optimizer, average: tf.train.ExponentialMovingAverage | None = None
    ) -> tf.train.Optimizer:
        """Returns the optimizer to use: with --sync one that waits for all workers' gradients.

        Args:
            optimizer: that of a single process.
            average: with --sync, follows the trainable variables, once a step.
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
        # Without tokens in the beginning, nobody computes a second gradient for one step.
        hook = synchronous.make_session_run_hook(self._cluster.is_chief, num_tokens=0)
        self._hooks.append(hook)
        return synchronous

    @contextlib.contextmanager
    def training(
        self,
        facts: dict[str, Any],
        may_change: Collection[str],
        last_step: int,
        save_every: int,
        begin_input: Callable[[tf.Session, int], None] | None = None,
    ) -> Iterator["Training"]:
        """Opens the session, a context manager; the chief saves when it is left, too.

        What MonitoredTrainingSession makes, with two differences. A session is created, and
        created anew after a ps was lost, only once the ps tasks answer; otherwise TensorFlow would
        wait for them without an end. And a worker asks for the chief's variables ten times a
        second, not every 30 seconds.

        Args:
            facts, may_change: as of `runs.Run.settle`.
            last_step: at which the training ends.
            save_every: steps between checkpoints.
            begin_input: makes the batch of a step the next one, for input that the graph keeps a
                place in; None for input that is fed.
        """
        flags = self._flags
        with tf.device(self._cluster.variables_on_ps()):
            training = Training(last_step, flags.sync, begin_input)
        saver = checkpoints.Saver(keep=flags.keep_checkpoints)
        scaffold = tf.train.Scaffold(saver=saver)
        hooks = [training, *self._hooks]
        with contextlib.ExitStack() as stack:
            if self._run is not None:
                stack.enter_context(self._run)
                self._open_run(self._run, facts, may_change, last_step)
                folder = str(self._path)
                hooks += [
                    tf.train.CheckpointSaverHook(folder, save_steps=save_every, scaffold=scaffold),
                    tf.train.SummarySaverHook(100, output_dir=folder, scaffold=scaffold),
                ]
            self._server = self._cluster.start_server()
            stack.enter_context(training.stop)
            sess = stack.enter_context(
                tf.train.MonitoredSession(
                    self._session_creator(scaffold),
                    hooks,
                    # At the end, the chief's averaging thread waits for a step that never comes.
                    stop_grace_period_secs=1,
                )
            )
            training.enter(sess)
            yield training
            threading.excepthook = _after_the_end(threading.excepthook)

    def _open_run(
        self, run: runs.Run, facts: dict[str, Any], may_change: Collection[str], last_step: int
    ) -> None:
        """Settles the run; makes the checkpoint to resume from the newest one, for the session."""
        run.settle(facts, may_change)
        prefix = run.newest_checkpoint()
        step = 0
        if prefix is not None:
            checkpoints.make_newest(prefix)
            step = checkpoints.stored_step(prefix) or 0
        with tf.Graph().as_default():
            writer = tf.summary.FileWriter(run.folder, filename_suffix=run.event_suffix)
            run.begin(writer, step, last_step)

    def _session_creator(self, scaffold: tf.train.Scaffold) -> tf.train.SessionCreator:
        cluster, wait_secs, target = self._cluster, self._flags.wait_secs, self._server.target
        config = cluster.session_config(wait_secs)
        if cluster.is_chief:
            creator = tf.train.ChiefSessionCreator(scaffold, target, config, str(self._path))
        else:
            creator = tf.train.WorkerSessionCreator(
                scaffold, target, config, max_wait_secs=wait_secs
            )
            creator = _AfterChief(creator, target, config, wait_secs)
        return _AfterPs(creator, cluster, wait_secs, can_recover=not self._flags.sync)


class Training(tf.train.SessionRunHook):
    """The steps of one task in a session.

    A synchronous worker that merely stopped would leave the others waiting for its next gradient.
    So it tells them, in the variable `stop_after`, after which step all of them end.

    Attributes:
        stop: runs.StopSignals.
    """

    def __init__(self, last_step, is_sync, begin_input):
        """Adds the variable; arguments as of `Replica` and `Replica.training`."""
        self.stop = runs.StopSignals()
        self._is_sync, self._begin_input = is_sync, begin_input
        self._sess = self._step = self._last_step = None
        self._global_step = tf.train.get_global_step()
        self._stop_after = tf.get_variable(
            "stop_after",
            initializer=tf.constant(last_step, self._global_step.dtype.base_dtype),
            trainable=False,
            collections=[tf.GraphKeys.LOCAL_VARIABLES],
        )
        next_step = self._global_step + 1
        self._announce = self._stop_after.assign(tf.minimum(self._stop_after, next_step))

    def after_create_session(self, session, coord):
        """Begins the input where the variables are: in the beginning, and after a ps was lost."""
        self._look(session)
        self._begin(session)

    def after_run(self, run_context, run_values):
        """Learns which step is next, after each run."""
        session, expected = run_context.session, self._step + 1
        if self.stop.requested and self._is_sync:
            session.run(self._announce)
        self._look(session)
        # The chief may have died and gone back to its checkpoint. (A step that is too high is no
        # wonder where others take steps meanwhile.)
        if self._step < expected or (self._is_sync and self._step > expected):
            self._begin(session)

    def enter(self, sess):
        """Takes the tf.train.MonitoredSession whose steps these are."""
        self._sess = sess

    @property
    def exit_code(self):
        """0, or 130 or 143 after a signal."""
        return self.stop.exit_code

    def run(self, fetches, feed_dict=None):
        """Runs a step, as `Session.run`; where a ps is lost, again with its restored variables."""
        return self._sess.run(fetches, feed_dict)

    def steps(self):
        """Yields the number of each step to take, the global one, until the last or a signal.

        Raises:
            TrainingError: the session has ended before.
        """
        while not self._sess.should_stop():
            if self._step >= self._last_step or (self.stop.requested and not self._is_sync):
                return
            yield self._step
        if not self.stop.requested:
            raise TrainingError(
                "the session ended before the last step; look at the chief's output"
            )

    def _look(self, session):
        self._step, self._last_step = map(int, session.run([self._global_step, self._stop_after]))

    def _begin(self, session):
        if self._begin_input is not None:
            self._begin_input(session, self._step)


def _after_the_end(report):
    """Returns a threading.excepthook that lets averaging threads be cancelled without a word."""

    def hook(failure):
        if not isinstance(failure.exc_value, (tf.errors.CancelledError, tf.errors.AbortedError)):
            report(failure)

    return hook


class _AfterPs(tf.train.SessionCreator):
    """Creates a session once the ps tasks answer."""

    def __init__(self, creator, cluster, wait_secs, can_recover):
        """Takes the creator that then does it; and whether it may, when a ps was lost."""
        self._creator, self._cluster = creator, cluster
        self._wait_secs, self._can_recover = wait_secs, can_recover
        self._has_begun, self._lost_at = False, None

    def create_session(self):
        """Returns a session.

        Raises:
            UsageError: other tasks did not answer in time.
            TrainingError: the same, when they had before; or a lost ps cannot be recovered from.
        """
        if self._has_begun:
            self._note_loss()
        try:
            self._cluster.wait_for_ps(self._wait_secs)
            session = self._creator.create_session()
        except UsageError as error:
            raise (TrainingError(error) if self._has_begun else error) from None
        self._has_begun, self._lost_at = True, None
        return session

    def _note_loss(self):
        """Called again and again while no session can be created."""
        if not self._can_recover:
            # SyncReplicasOptimizer's threads would work on with the lost session's queues.
            raise TrainingError(
                "a ps was lost; start all tasks again: they go on from the newest checkpoint"
            )
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            LOG.warning("a ps was lost; going on from the newest checkpoint once it is back")
        elif time.monotonic() - self._lost_at > self._wait_secs:
            raise TrainingError(
                f"a ps was lost and did not serve again within {self._wait_secs:g} s; look at its "
                "output, or raise --wait_secs"
            )
        else:
            time.sleep(0.1)


class _AfterChief(tf.train.SessionCreator):
    """Creates a session once the chief has given every variable its value."""

    def __init__(self, creator, target, config, wait_secs):
        """Adds the op that asks; takes the creator that then does it, and what it was given."""
        self._creator, self._target, self._config = creator, target, config
        self._wait_secs = wait_secs
        self._have_values = tf.reduce_all([v.is_initialized() for v in tf.global_variables()])

    def create_session(self):
        """Returns a session.

        Raises:
            UsageError: the chief did not in time.
        """
        due = time.monotonic() + self._wait_secs
        with tf.Session(self._target, config=self._config) as sess:
            while not sess.run(self._have_values):
                if time.monotonic() > due:
                    raise UsageError(
                        f"{clusters.VARIABLE}: the chief has not begun within "
                        f"{self._wait_secs:g} s; start it, or raise --wait_secs"
                    )
                time.sleep(0.1)
        return self._creator.create_session()
