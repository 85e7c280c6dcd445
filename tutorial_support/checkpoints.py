"""Finding checkpoints, and restoring them with a readable report where they do not fit."""

import functools
import math
import pathlib
import time

import tensorflow.compat.v1 as tf

from tutorial_support.programs import LOG, TrainingError, UsageError

# What TensorFlow's reader of checkpoints raises, by the kind of damage.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


class DamagedCheckpoint(UsageError):
    """A checkpoint that is cut off, or of which a checksum is wrong."""


def find(path):
    """Returns the checkpoint that `path` names, as a prefix for `Saver.restore`.

    Args:
        path: a folder, which stands for its newest checkpoint; or one checkpoint: a prefix such
            as `logs/model.ckpt-2000`, or one of its files (V2 format), or the file (V1 format).

    Raises:
        UsageError: there is no such checkpoint.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _newest(path)
    prefix = str(path)
    for ending in (".index", ".meta"):
        prefix = prefix.removesuffix(ending)
    prefix = prefix.split(".data-")[0]
    if not _exists(prefix):
        raise UsageError(f"there is no checkpoint '{path}'; name one, or the folder of a run")
    return prefix


def newest_or_none(folder):
    """Returns the newest checkpoint of `folder`, or None where it has none yet.

    Raises:
        UsageError: the newest checkpoint's files are missing, or its record is damaged.
    """
    if not (pathlib.Path(folder) / "checkpoint").exists():
        return None
    return _newest(folder)


def _newest(folder):
    state = tf.train.get_checkpoint_state(str(folder))
    if state is None or not state.model_checkpoint_path:
        raise UsageError(
            f"'{folder}' holds no checkpoint; train first, or name the folder of a run"
        )
    # A folder that was moved or copied records where it was before: its own files come first.
    for prefix in (
        str(pathlib.Path(folder) / pathlib.Path(state.model_checkpoint_path).name),
        state.model_checkpoint_path,
    ):
        if _exists(prefix):
            return prefix
    raise UsageError(
        f"'{folder}' names '{state.model_checkpoint_path}' as its newest checkpoint, but its "
        "files are missing; name another checkpoint, or start anew with --fresh"
    )


def each_new(folder, interval, last_step, stop, wait_secs=math.inf):
    """Yields the newest checkpoint of a folder whenever there is another one.

    Args:
        folder: where a training saves.
        interval: seconds between two looks.
        last_step: the step after whose checkpoint it ends, or None where it is not known.
        stop: an entered sessions.StopSignals; a signal ends it, too.
        wait_secs: longest wait for another one, in seconds.

    Raises:
        TrainingError: there was no other checkpoint for that long.
    """
    seen, last_time = None, time.monotonic()
    while not stop.requested:
        prefix = newest_or_none(folder)
        if prefix not in (None, seen):
            yield prefix
            seen, last_time = prefix, time.monotonic()
            if stored_step(prefix) == last_step:
                return
        if time.monotonic() - last_time > wait_secs:
            raise TrainingError(
                f"'{folder}' has had no new checkpoint for {wait_secs:g} s; look after the "
                "training, or wait longer"
            )
        due = time.monotonic() + interval
        while time.monotonic() < due and not stop.requested:
            time.sleep(min(0.2, interval))


def shapes(prefix):
    """Returns a dict from each variable's name in the checkpoint to its shape as a list.

    Raises:
        UsageError: the checkpoint cannot be read.
    """
    return _reader(prefix).get_variable_to_shape_map()


def values(prefix):
    """Returns a dict from each variable's name in the checkpoint to its value, an array.

    Raises:
        UsageError: the checkpoint cannot be read.
    """
    reader = _reader(prefix)
    try:
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except _UNREADABLE as error:
        raise _damaged(prefix, error) from error


def stored_step(prefix):
    """Returns the `global_step` in the checkpoint as an int, or None where it has none."""
    reader = _reader(prefix)
    return int(reader.get_tensor("global_step")) if reader.has_tensor("global_step") else None


def restore(saver, sess, prefix, variables=None):
    """Restores variables from the checkpoint `prefix`, V1 or V2 format.

    Args:
        saver: the tf.train.Saver of the variables.
        sess: the session that receives the values.
        prefix: what `find` returned.
        variables: dict from the name in the checkpoint to the variable, as `saver` was given;
            None for all global variables under their own names.

    Raises:
        UsageError: the checkpoint is damaged, or does not fit: then the message lists each
            missing, surplus and misshapen variable.
    """
    if variables is None:
        variables = {variable.op.name: variable for variable in tf.global_variables()}
    wanted = {name: variable.shape.as_list() for name, variable in variables.items()}
    differences = compare(shapes(prefix), wanted)
    if any(line.startswith(("missing", "misshapen")) for line in differences):
        raise UsageError(
            f"the checkpoint '{prefix}' does not fit this graph:\n  "
            + "\n  ".join(differences)
            + "\nName a checkpoint of the same net."
        )
    try:
        saver.restore(sess, prefix)
    except (tf.errors.OpError, ValueError) as error:
        raise _damaged(prefix, error) from error


def resume(saver, sess, run, writer, last_step):
    """Restores the newest checkpoint of a run folder, where it has one, and says so.

    The event file notes the restart, so that readers forget what a killed run had written of the
    steps that this one repeats. What is written at the step of the checkpoint itself stays: its
    evaluation is there.

    Args:
        saver: the tf.train.Saver of all variables, `global_step` among them.
        sess: a session with initialized variables.
        run: runs.RunFolder.
        writer: tf.summary.FileWriter of the run.
        last_step: where the training is to end.

    Returns:
        the stored global step as an int: how many steps have been done.
    """
    prefix = newest_or_none(run.path)
    step = 0
    if prefix is not None:
        prefix = _first_readable(prefix, run, functools.partial(restore, saver, sess))
        step = stored_step(prefix)
        if step < last_step:
            print(f"Resuming at step {step} from '{prefix}'.")
        else:
            print(
                f"'{prefix}' is already at step {step}: a higher limit trains on, --fresh starts "
                "anew."
            )
    first_forgotten = step + 1 if step else 0
    writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), first_forgotten)
    return step


def settle_newest(run):
    """Makes sure that the newest checkpoint of a run folder, where it has one, can be read whole.

    For those that restore the newest one without asking. With `run.fallback`, a damaged one loses
    that place to the newest that is whole.

    Args:
        run: runs.RunFolder.

    Raises:
        UsageError: it is damaged.
    """
    newest = newest_or_none(run.path)
    if newest is None:
        return
    prefix = _first_readable(newest, run, values)
    if prefix != newest:
        tf.train.update_checkpoint_state(str(run.path), prefix)


def _first_readable(newest, run, read):
    """Reads the newest checkpoint, or, with `run.fallback`, the newest one that can be read.

    Args:
        newest: its prefix.
        run: runs.RunFolder.
        read: function from a prefix, which raises DamagedCheckpoint.

    Returns:
        the prefix of the one that was read.
    """
    others = sorted(
        (str(path.with_suffix("")) for path in pathlib.Path(run.path).glob("model.ckpt-*.index")),
        key=lambda prefix: int(prefix.rpartition("-")[2]),
    )
    older = others[: others.index(newest)] if newest in others else []
    for prefix in [newest, *reversed(older)]:
        try:
            read(prefix)
            return prefix
        except DamagedCheckpoint as error:
            if not run.fallback:
                raise UsageError(
                    f"{error}, or resume from the one before it with --fallback"
                ) from error
            LOG.warning("%s", error)
    raise UsageError(f"'{run.path}' holds no checkpoint that can be read; start anew with --fresh")


def compare(saved, wanted):
    """Returns a line for each variable in which a checkpoint and a graph differ.

    Args:
        saved: dict from name to shape, from `shapes`.
        wanted: the same of the graph's variables.

    Returns:
        a list of strings that start with "missing", "misshapen" or "surplus".
    """
    lines = []
    for name in sorted(wanted.keys() | saved.keys()):
        if name not in saved:
            lines.append(f"missing in the checkpoint: {name} {wanted[name]}")
        elif name not in wanted:
            lines.append(f"surplus in the checkpoint: {name} {saved[name]}")
        elif wanted[name] != saved[name]:
            lines.append(
                f"misshapen: {name} is {saved[name]} in the checkpoint, {wanted[name]} in the graph"
            )
    return lines


def all_finite(variables=None):
    """Returns a bool scalar tensor: whether no variable holds a NaN or an infinity.

    Args:
        variables: floating-point variables; the trainable ones where it is None.
    """
    with tf.name_scope("all_finite"):
        return tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(v)) for v in variables or tf.trainable_variables()]
        )


def check_finite(is_finite, what, step):
    """Raises TrainingError unless `is_finite`.

    Args:
        is_finite: bool, numpy's or Python's; for example from `all_finite`.
        what: what it was asked of, for example "the loss".
        step: the step at which it was.
    """
    if not is_finite:
        raise TrainingError(
            f"{what} is not finite at step {step}: training has stopped, the last checkpoint "
            "stays as it was; a lower --learning_rate with --fresh usually helps"
        )


def _exists(prefix):
    """Whether there is a checkpoint in V2 format (several files) or V1 format (one file)."""
    return pathlib.Path(f"{prefix}.index").is_file() or pathlib.Path(prefix).is_file()


def _reader(prefix):
    try:
        return tf.train.NewCheckpointReader(str(prefix))
    except _UNREADABLE as error:
        raise _damaged(prefix, error) from error


def _damaged(prefix, error):
    reason = str(getattr(error, "message", error)).strip().splitlines()[0]
    return DamagedCheckpoint(
        f"the checkpoint '{prefix}' cannot be read ({reason}); name another one"
    )
