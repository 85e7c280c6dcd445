"""Creates the session of a computing task, and recreates it after a ps was lost.

It works like MonitoredTrainingSession, with three differences. It is created only after all ps
tasks answer; otherwise TensorFlow would wait for them forever. A worker checks ten times a second
whether the chief has started, not every 30 seconds. And it refuses a task that does not belong to
the training on these ps tasks.
"""

import json
import pathlib
import time
from collections.abc import Collection
from typing import Any

import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints, runs
from tutorial_support.cluster import PS, VARIABLE
from tutorial_support.cluster.clusters import Cluster
from tutorial_support.cluster.watchdog import Watchdog
from tutorial_support.programs import LOG, TrainingError, UsageError, one_line

_POLL_SECS = 0.1


class Noticeboard:
    """Variables on the first ps through which the tasks communicate; they are never saved.

    Attributes:
        stop_after: the step at which all tasks stop: the last step, or an earlier one after a
            signal.
        last_step: the step to train up to.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: pathlib.Path,
        description: dict[str, Any],
        may_differ: Collection[str],
        last_step: int,
    ) -> None:
        """Adds the variables, which only the chief initializes.

        Args:
            cluster: the cluster and this task.
            folder: the run folder.
            description: from `runs.description`; it must be the same in all tasks.
            may_differ: names of the entries that may differ.
            last_step: the step to train up to.
        """
        self._address, self._folder = cluster.computing[0], str(folder)
        self._description, self._may_differ = json.dumps(description), may_differ
        global_step = tf.train.get_global_step()
        step_type = global_step.dtype.base_dtype
        # Fix the device, because the device function would distribute the variables over all ps.
        with tf.device(f"/job:{PS}/task:0"), tf.variable_scope("noticeboard"):
            self._owner = _variable("chief", tf.constant(f"{self._address} {folder}"))
            self._flags = _variable("flags", tf.constant(self._description))
            self.stop_after = _variable("stop_after", tf.constant(last_step, step_type))
            self.last_step = _variable("last_step", tf.constant(last_step, step_type))
            self._joined = _variable("joined", tf.zeros([cluster.num_workers], tf.int32))
            self._has_values = self._owner.is_initialized()
            self._release = self._owner.assign(f"{self._address} ")
            # The others may have started the next step, which needs this task's gradient.
            self._end = self.stop_after.assign(tf.minimum(self.stop_after, global_step + 1))
            self._has_joined = tf.equal(self._joined[cluster.worker_number], 1)
            self._join = self._joined.scatter_update(tf.IndexedSlices(1, cluster.worker_number))

    def has_values(self, sess: tf.Session) -> bool:
        """Returns whether a chief has registered on these ps tasks, now or earlier."""
        return bool(sess.run(self._has_values))

    def was_left(self, sess: tf.Session) -> bool:
        """Returns whether an earlier training on these ps tasks has ended."""
        return self.has_values(sess) and sess.run(self._owner).endswith(b" ")

    def refuse_others(self, sess: tf.Session) -> None:
        """Checks that the ps tasks are free or belong to this chief.

        Raises:
            UsageError: a chief at another address, or one that trains or was killed in another
                folder, is registered.
        """
        if not self.has_values(sess):
            return
        address, _, folder = sess.run(self._owner).decode().partition(" ")
        if address != self._address or folder not in ("", self._folder):
            raise UsageError(
                f"{VARIABLE}: the ps tasks belong to the training of the chief at {address} in "
                f"'{one_line(folder)}', but this is the chief at {self._address} for "
                f"'{one_line(self._folder)}'; name other ps tasks, or restart these"
            )

    def claim(self, sess: tf.Session) -> None:
        """Registers this chief on the ps tasks; raises UsageError as `refuse_others` does."""
        self.refuse_others(sess)
        variables = (self._flags, self.stop_after, self.last_step, self._joined)
        sess.run([variable.initializer for variable in variables])
        sess.run(self._owner.initializer)  # last, because workers look for it first

    def join(self, sess: tf.Session) -> bool:
        """Registers this worker; returns False if it has joined the chief's training before."""
        if sess.run(self._has_joined):
            return False
        sess.run(self._join)
        return True

    def has_chief(self, sess: tf.Session) -> bool:
        """Returns whether a chief is training, or has finished training, with this worker's flags.

        Raises:
            UsageError: a chief is training with other flags.
        """
        try:
            owner, text, stop_after, last_step = sess.run(
                [self._owner, self._flags, self.stop_after, self.last_step]
            )
        except tf.errors.FailedPreconditionError:  # the variables are not initialized yet
            return False
        theirs, ours = json.loads(text), json.loads(self._description)
        differences = runs.differences(theirs, ours, self._may_differ, ours)
        if owner.endswith(b" "):  # the chief has ended; is there nothing left to do?
            return not differences and stop_after == last_step
        if not differences:
            return True
        listed = "; ".join(
            f"{name} is {there} there, {here} here" for name, there, here in differences
        )
        raise UsageError(
            f"this worker's flags or data differ from the chief's ({one_line(listed)}); start all "
            "tasks of a cluster with the same flags and data"
        )

    def end_early(self, sess: tf.Session) -> None:
        """Makes all synchronous tasks stop after the next step."""
        sess.run(self._end)

    def release(self, sess: tf.Session) -> None:
        """Unregisters the chief, so that another training may use the ps tasks."""
        sess.run(self._release)


def _variable(name: str, value: tf.Tensor) -> tf.Variable:
    return tf.get_variable(name, initializer=value, trainable=False, collections=[])


class Creator(tf.train.SessionCreator):
    """Creates the session of a computing task, and recreates it after a ps was lost."""

    def __init__(
        self,
        cluster: Cluster,
        board: Noticeboard,
        saver: checkpoints.Saver,
        folder: pathlib.Path,
        watchdog: Watchdog,
        wait_secs: float,
        end_all: tf.Operation | None,
    ) -> None:
        """Starts the server of this task.

        Args:
            cluster: the cluster and this task.
            board: compares this task with the chief.
            saver: restores the variables.
            folder: the run folder; its state file names the checkpoint to restore.
            watchdog: is told of progress.
            wait_secs: longest wait for other tasks, in seconds.
            end_all: ends a synchronous training on all tasks; None for an asynchronous one, in
                which a new session may replace one that lost a ps.
        """
        self._cluster, self._board, self._watchdog = cluster, board, watchdog
        self._wait_secs, self._end_all = wait_secs, end_all
        self._server = cluster.start_server()
        self._config = cluster.session_config(wait_secs)
        self._have_values = tf.reduce_all([v.is_initialized() for v in tf.global_variables()])
        scaffold = tf.train.Scaffold(saver=saver)
        target = self._server.target
        if cluster.is_chief:
            self._creator: tf.train.SessionCreator = tf.train.ChiefSessionCreator(
                scaffold, target, self._config, str(folder)
            )
        else:
            self._creator = tf.train.WorkerSessionCreator(
                scaffold, target, self._config, max_wait_secs=wait_secs
            )
        self._has_begun = False
        self._trying_since: float | None = None

    def create_session(self) -> tf.Session:
        """Returns a new session; called again and again while a ps is unavailable.

        Raises:
            UsageError: other tasks did not answer in time or have other flags.
            TrainingError: the same after a session was lost, or the loss of a ps is final.
        """
        self._limit_attempts()
        try:
            self._watchdog.progress()
            self._cluster.wait_for_ps(self._wait_secs)
            self._watchdog.progress()
            if self._cluster.is_chief:
                self._claim()
            else:
                self._await_chief()
            self._watchdog.progress()
            session = self._creator.create_session()
        except UsageError as error:
            raise (TrainingError(error) if self._has_begun else error) from None
        self._has_begun, self._trying_since = True, None
        return session

    def _session(self) -> tf.Session:
        return tf.Session(self._server.target, config=self._config)

    def _claim(self) -> None:
        with self._session() as sess:
            must_reset = self._board.was_left(sess)
            if not must_reset:
                self._board.refuse_others(sess)
                must_reset = self._end_all is not None and self._board.has_values(sess)
        if must_reset:
            # The earlier training's variables may have other shapes. A synchronous training leaves
            # a closed queue, or gradients that a killed task has sent.
            tf.Session.reset(self._server.target, config=self._config)
        with self._session() as sess:
            self._board.claim(sess)

    def _await_chief(self) -> None:
        due = time.monotonic() + self._wait_secs
        with self._session() as sess:
            while not (
                self._board.has_chief(sess) and sess.run(self._have_values) and self._joins(sess)
            ):
                if time.monotonic() > due:
                    raise UsageError(
                        f"{VARIABLE}: the chief did not start within {self._wait_secs:g} s; start "
                        "it, or raise --wait_secs"
                    )
                time.sleep(_POLL_SECS)

    def _joins(self, sess: tf.Session) -> bool:
        """Returns whether this worker may take part in the chief's training.

        A synchronous worker that was killed may have sent its gradient of the current step. Sent
        twice, it would take another worker's place. So its training ends, and when the chief has
        started again, all go on from the newest checkpoint.
        """
        if self._end_all is None or self._board.was_left(sess) or self._board.join(sess):
            return True
        sess.run(self._end_all)
        return False

    def _limit_attempts(self) -> None:
        """Logs the loss of a ps, pauses between attempts, and ends them after `wait_secs`."""
        if self._has_begun and self._end_all is not None:
            # SyncReplicasOptimizer's threads would keep using the queues of the lost session.
            raise TrainingError(
                "a ps was lost; start all tasks again to resume from the newest checkpoint"
            )
        if self._trying_since is None:
            self._trying_since = time.monotonic()
            if self._has_begun:
                LOG.warning("a ps was lost; resuming from the newest checkpoint once it is back")
        elif time.monotonic() - self._trying_since < self._wait_secs:
            time.sleep(_POLL_SECS)
        elif self._has_begun:
            raise TrainingError(
                f"a ps was lost and did not come back within {self._wait_secs:g} s; check its "
                "output, or raise --wait_secs"
            )
        else:
            addresses = ", ".join(self._cluster.addresses[PS])
            raise UsageError(
                f"{VARIABLE}: the ps at {addresses} accepts connections, but answered no call "
                f"within {self._wait_secs:g} s; check that a ps listens there, or raise --wait_secs"
            )
