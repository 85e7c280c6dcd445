"""The session of a computing task: how it begins, and begins anew after a ps was lost.

It is what MonitoredTrainingSession makes, with three differences. It is created only once the ps
tasks answer; otherwise TensorFlow waits for them without end. A worker asks ten times a second
whether the chief has begun, not every 30 seconds. And a task that does not belong to the training
on these ps tasks is refused.
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
    """What the tasks tell each other, in variables on the first ps that no checkpoint holds.

    Attributes:
        stop_after: the step at which all tasks end: the last one, or an earlier one after a signal.
        last_step: the number of steps, in all.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: pathlib.Path,
        description: dict[str, Any],
        may_differ: Collection[str],
        last_step: int,
    ) -> None:
        """Adds the variables; only the chief gives them values.

        Args:
            cluster: tells what this task is.
            folder: of the run.
            description: from `runs.description`; the tasks compare it.
            may_differ: names of the entries in which they may differ.
            last_step: the number of steps, in all.
        """
        self._address, self._folder = cluster.computing[0], str(folder)
        self._description, self._may_differ = json.dumps(description), may_differ
        global_step = tf.train.get_global_step()
        step_type = global_step.dtype.base_dtype
        # The device is named, because the device function would choose a ps by counting variables.
        with tf.device(f"/job:{PS}/task:0"), tf.variable_scope("noticeboard"):
            self._owner = _variable("chief", tf.constant(f"{self._address} {folder}"))
            self._flags = _variable("flags", tf.constant(self._description))
            self.stop_after = _variable("stop_after", tf.constant(last_step, step_type))
            self.last_step = _variable("last_step", tf.constant(last_step, step_type))
            self._has_values = self._owner.is_initialized()
            self._release = self._owner.assign(f"{self._address} ")
            # The others may be taking the next step already, and need this task's gradient for it.
            self._end = self.stop_after.assign(tf.minimum(self.stop_after, global_step + 1))

    def was_left(self, sess: tf.Session) -> bool:
        """Returns whether an earlier training on these ps tasks has ended."""
        return bool(sess.run(self._has_values)) and sess.run(self._owner).endswith(b" ")

    def claim(self, sess: tf.Session) -> None:
        """Says that this chief trains on these ps tasks.

        Raises:
            UsageError: these ps tasks know a chief at another address, or one that trains in
                another folder, or was killed there.
        """
        if sess.run(self._has_values):
            address, _, folder = sess.run(self._owner).decode().partition(" ")
            if address != self._address or folder not in ("", self._folder):
                raise UsageError(
                    f"{VARIABLE}: the ps tasks belong to the training of the chief at {address} in "
                    f"'{one_line(folder)}', but this is the chief at {self._address} for "
                    f"'{one_line(self._folder)}'; name other ps tasks, or start these again"
                )
        sess.run([v.initializer for v in (self._flags, self.stop_after, self.last_step)])
        sess.run(self._owner.initializer)  # last, because workers look for it first

    def has_chief(self, sess: tf.Session) -> bool:
        """Returns whether a chief trains here, or has trained to the end, with this worker's flags.

        Raises:
            UsageError: it trains with other flags.
        """
        try:
            owner, text, stop_after, last_step = sess.run(
                [self._owner, self._flags, self.stop_after, self.last_step]
            )
        except tf.errors.FailedPreconditionError:  # they have no values
            return False
        theirs, ours = json.loads(text), json.loads(self._description)
        differences = runs.differences(theirs, ours, self._may_differ, ours)
        if owner.endswith(b" "):  # the chief has ended: has this worker nothing to do any more?
            return not differences and stop_after == last_step
        if not differences:
            return True
        listed = "; ".join(
            f"{name} is {there} there, {here} here" for name, there, here in differences
        )
        raise UsageError(
            f"this worker's flags or data are not the chief's ({one_line(listed)}); start all "
            "tasks of a cluster with the same"
        )

    def end_early(self, sess: tf.Session) -> None:
        """Makes all synchronous tasks end after the next step."""
        sess.run(self._end)

    def release(self, sess: tf.Session) -> None:
        """Says that the chief has ended, so that another training may use the ps tasks."""
        sess.run(self._release)


def _variable(name: str, value: tf.Tensor) -> tf.Variable:
    return tf.get_variable(name, initializer=value, trainable=False, collections=[])


class Creator(tf.train.SessionCreator):
    """Creates the session of a computing task, and creates it anew after a ps was lost."""

    def __init__(
        self,
        cluster: Cluster,
        board: Noticeboard,
        saver: checkpoints.Saver,
        folder: pathlib.Path,
        watchdog: Watchdog,
        wait_secs: float,
        can_recover: bool,
    ) -> None:
        """Starts the server of this task.

        Args:
            cluster: tells what this task is.
            board: compares it with the others.
            saver: restores the variables.
            folder: where its state file names the checkpoint to restore.
            watchdog: hears of progress.
            wait_secs: longest wait for other tasks, in seconds.
            can_recover: whether a new session may take the place of one that lost a ps.
        """
        self._cluster, self._board, self._watchdog = cluster, board, watchdog
        self._wait_secs, self._can_recover = wait_secs, can_recover
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
        self._lost_at: float | None = None

    def create_session(self) -> tf.Session:
        """Returns a session.

        Raises:
            UsageError: other tasks did not answer in time, or have other flags.
            TrainingError: the same, when they had before; or a lost ps cannot be recovered from.
        """
        if self._has_begun:
            self._note_loss()
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
        self._has_begun, self._lost_at = True, None
        return session

    def _session(self) -> tf.Session:
        return tf.Session(self._server.target, config=self._config)

    def _claim(self) -> None:
        with self._session() as sess:
            was_left = self._board.was_left(sess)
        if was_left:
            # Its variables may have other shapes, and the queue of a synchronous training that has
            # ended stays closed.
            tf.Session.reset(self._server.target, config=self._config)
        with self._session() as sess:
            self._board.claim(sess)

    def _await_chief(self) -> None:
        due = time.monotonic() + self._wait_secs
        with self._session() as sess:
            while not (self._board.has_chief(sess) and sess.run(self._have_values)):
                if time.monotonic() > due:
                    raise UsageError(
                        f"{VARIABLE}: the chief has not begun within {self._wait_secs:g} s; start "
                        "it, or raise --wait_secs"
                    )
                time.sleep(_POLL_SECS)

    def _note_loss(self) -> None:
        """Is called again and again while no session can be created."""
        if not self._can_recover:
            # SyncReplicasOptimizer's threads would go on with the queues of the lost session.
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
            time.sleep(_POLL_SECS)
