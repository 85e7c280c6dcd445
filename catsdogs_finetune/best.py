"""Keeps the checkpoint that validated best, in a folder of its own in the run's folder."""

import json

import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints, files, runs

FOLDER = "best"


class BestCheckpoint:
    """The best checkpoint of a run so far, with `best.json` about it, and the run's flags."""

    def __init__(self, run: runs.Run, saver: checkpoints.Saver) -> None:
        """Makes the folder, and copies the flags of the run, which has begun, into it.

        Args:
            saver: of the variables that are worth keeping: the net's, not the optimizers'.
        """
        self._folder, self._saver = run.path / FOLDER, saver
        self._folder.mkdir(exist_ok=True)
        runs.write_flags(self._folder, runs.read_flags(run.path))

    def keep(self, sess: tf.Session, loss: float, accuracy: float, step: int) -> None:
        """Saves the variables if none before validated as well.

        Args:
            sess: holds them.
            loss, accuracy: on the validation images. Between equal accuracies, the loss decides.
            step: the global step.
        """
        record = self._folder / "best.json"
        if record.exists():
            with files.reading(record, "move it away"):
                best = json.loads(record.read_text(encoding="utf-8"))
                if (best["accuracy"], -best["loss"]) >= (accuracy, -loss):
                    return
        prefix = str(self._folder / "model.ckpt")
        self._saver.save(sess, prefix, global_step=step, write_meta_graph=False)
        best = {"step": step, "accuracy": accuracy, "loss": loss}
        files.write_text(record, json.dumps(best) + "\n")
