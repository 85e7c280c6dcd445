"""Keeps the checkpoint that validated best apart from the newest ones."""

import json
import pathlib

from tutorial_support import files

_RECORD = "best.json"


def keep_if_best(saver, sess, folder, mean_loss, accuracy, step):
    """Saves a checkpoint in `folder` if none there validated as well.

    Args:
        saver: tf.train.Saver(max_to_keep=1) of its own, of the net's variables and the step.
        sess: the session.
        folder: pathlib.Path, where best.json tells what is known of the checkpoint.
        mean_loss: float, on the validation images.
        accuracy: float, on the same; between equal ones, the loss decides.
        step: int, the global step.
    """
    record = pathlib.Path(folder) / _RECORD
    if record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
        if (known["accuracy"], -known["loss"]) >= (accuracy, -mean_loss):
            return
    saver.save(sess, str(folder / "model.ckpt"), global_step=step, write_meta_graph=False)
    found = {"step": step, "accuracy": accuracy, "loss": mean_loss}
    files.write_text(record, json.dumps(found) + "\n")
