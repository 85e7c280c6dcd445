"""A task that computes on a cluster: what it does beside its graph and its loop.

replica = Replica(cluster, flags, run_path, kept, may_change)
with tf.Graph().as_default():
    with tf.device(cluster.variables_on_ps()):
        ...                                     # the builders of the single process
        train_op = training(loss, replica.wrap(optimizer))
    with replica.training(last_step, save_every) as training:
        for step in training.steps():
            training.run(train_op)
"""

import contextlib
import os
import pathlib
import threading
import time

import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints, feature_store, runs
from tutorial_support.cluster import clusters
from tutorial_support.programs import LOG, TrainingError, UsageError, number


def add_flags(parser):
    """Adds the flags of a program that trains on a cluster."""
    parser.add_argument("--sync", action="store_true", help="average the gradients of a step")
    parser.add_argument(
        "--checkpoint_wait_secs",
        type=number(float, 0.1),
        default=3600.0,
        help="longest wait of the evaluator for another checkpoint, in seconds",
    )
    add_wait_flag(parser)


def add_wait_flag(parser):
    """Adds the flag that limits every wait for other tasks."""
    parser.add_argument(
        "--wait_secs",
        type=number(float, 0.1),
        default=60.0,
        help="longest wait for other tasks, in seconds",
    )


def check_batch_size(batch_size, cluster, flag="--batch_size"):
    """Raises UsageError where a batch does not divide over the workers."""
    if batch_size % cluster.num_workers:
        raise UsageError(
            f"{flag} {batch_size} does not divide over {cluster.num_workers} workers; give a "
            "multiple of their number"
        )


def share_from_environment(wait_secs):
    """Returns the feature_store.Share of this task where TF_CONFIG tells of one, else all.

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


def evaluate_each(flags, folder, last_step, evaluate):
    """Evaluates each new checkpoint of a run folder until the last one, or until a signal.

    Args:
        flags: with those of `add_flags`.
        folder: the run folder.
        last_step: int, the step at which the training ends.
        evaluate: the `main` of a tutorial's evaluation program.

    Returns:
        the exit code.
    """
    with runs.StopSignals() as stop:
        for prefix in checkpoints.each_new(
            folder, 1.0, last_step, stop, flags.checkpoint_wait_secs
        ):
            code = evaluate(["--checkpoint", prefix])
            if code:
                return code
    return stop.exit_code


def do_task(cluster, flags, compute, evaluate):
    """Does what this task is for: serves variables, evaluates, or computes.

    Args:
        cluster: clusters.Cluster.
        flags: with those of `add_flags`.
        compute, evaluate: functions without arguments that return an exit code.

    Returns:
        the exit code.

    Raises:
        TrainingError: another task let this one wait for too long.
    """
    if cluster.job == clusters.PS:
        return clusters.serve_variables(cluster)
    if cluster.job == clusters.EVALUATOR:
        return evaluate()
    try:
        return compute()
    except tf.errors.DeadlineExceededError as error:
        raise TrainingError(
            f"other tasks kept {cluster.job} {cluster.index} waiting for more than "
            f"{flags.wait_secs:g} s: look at their output, or raise --wait_secs"
        ) from error


class Replica:
    """One of the tasks that compute."""

    def __init__(self, cluster, flags, path, kept, may_change):
        """Starts this task's server; the chief opens the run folder.

        Args:
            cluster: clusters.Cluster.
            flags: with those of `add_flags` and of `runs.add_flags`.
            path: the run folder, which the ps tasks can write to as well.
            kept, may_change: as of `runs.RunFolder`.

        Raises:
            UsageError: the port cannot be listened on, or the folder cannot be used.
        """
        self._cluster, self._is_sync, self._wait_secs = cluster, flags.sync, flags.wait_secs
        self._path = pathlib.Path(path).resolve()
        self._hooks = []
        if cluster.is_chief:
            self._run = runs.RunFolder(path, kept, may_change)  # kept, for it is locked
            try:
                checkpoints.settle_newest(self._run)
            except UsageError:
                self._run.close()
                raise
        self._server = cluster.start_server()

    def wrap(self, optimizer, average=None):
        """Returns the optimizer to use: with `is_sync` one that waits for all workers' gradients.

        Args:
            optimizer: tf.train.Optimizer.
            average: with `is_sync`, the tf.train.ExponentialMovingAverage that follows the
                trainable variables, once a step; or None.
        """
        if not self._is_sync:
            return optimizer
        workers = self._cluster.num_workers
        optimizer = tf.train.SyncReplicasOptimizer(
            optimizer,
            workers,
            workers,
            variable_averages=average,
            variables_to_average=None if average is None else tf.trainable_variables(),
        )
        # Without tokens in the beginning, nobody computes a second gradient for one step.
        hook = optimizer.make_session_run_hook(self._cluster.is_chief, num_tokens=0)
        self._hooks.append(hook)
        return optimizer

    @contextlib.contextmanager
    def training(self, last_step, save_every, begin_input=None):
        """Opens the session, a context manager; the chief saves when it is left, too.

        What MonitoredTrainingSession makes, with two differences. A session is only created, and
        created anew when a ps was lost, once the ps tasks answer; else TensorFlow would wait for
        them without an end. And a worker asks for the chief's variables ten times a second, not
        every 30 seconds.

        Args:
            last_step: int, at which the training ends.
            save_every: int, steps between checkpoints.
            begin_input: function from a session and a step, an int, which makes that step's batch
                the next one; for input that the graph keeps a place in. Or None.

        Yields:
            Training.
        """
        with tf.device(self._cluster.variables_on_ps()):
            training = Training(last_step, self._is_sync, begin_input)
        scaffold = tf.train.Scaffold()
        hooks = [training, *self._hooks]
        if self._cluster.is_chief:
            folder = str(self._path)
            hooks += [
                tf.train.CheckpointSaverHook(folder, save_steps=save_every, scaffold=scaffold),
                tf.train.SummarySaverHook(100, output_dir=folder, scaffold=scaffold),
            ]
        with (
            contextlib.closing(self._run) if self._cluster.is_chief else contextlib.nullcontext(),
            training.stop,
            tf.train.MonitoredSession(
                self._session_creator(scaffold),
                hooks,
                # At the end, the chief's thread that averages waits for a step that never comes.
                stop_grace_period_secs=1,
            ) as sess,
        ):
            training.enter(sess)
            yield training
            threading.excepthook = _after_the_end(threading.excepthook)

    def _session_creator(self, scaffold):
        cluster, wait_secs, target = self._cluster, self._wait_secs, self._server.target
        config = cluster.session_config(wait_secs)
        if cluster.is_chief:
            creator = tf.train.ChiefSessionCreator(scaffold, target, config, str(self._path))
        else:
            creator = tf.train.WorkerSessionCreator(
                scaffold, target, config, max_wait_secs=wait_secs
            )
            creator = _AfterChief(creator, target, config, wait_secs)
        return _AfterPs(creator, cluster, wait_secs, can_recover=not self._is_sync)


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
