"""Keeps the checkpoint with the best validation accuracy, in the folder `best` of a run."""

import json

import tensorflow.compat.v1 as tf

from tutorial_support import checkpoints, files, runs

FOLDER = "best"


class BestCheckpoint:
    """The best checkpoint of a run so far, its figures in `best.json`, and the run's flags."""

    def __init__(self, run: runs.Run, saver: checkpoints.Saver) -> None:
        """Creates the folder and copies the run's flags into it; the run must have begun.

        Args:
            run: the training.
            saver: the training's saver, so that training can resume from the best checkpoint too.
        """
        self._folder, self._saver = run.path / FOLDER, saver
        self._folder.mkdir(exist_ok=True)
        runs.write_flags(self._folder, runs.read_flags(run.path))

    def keep(self, sess: tf.Session, loss: float, accuracy: float, step: int) -> None:
        """Saves the variables if this is the best validation so far.

        Args:
            sess: the session that holds the variables.
            loss, accuracy: on the validation images. The lower loss wins at equal accuracy.
            step: the global step.

        Raises:
            UsageError: `best.json` is damaged.
        """
        record = self._folder / "best.json"
        if record.exists():
            with files.reading(record, "move it away"):
                best = json.loads(record.read_text(encoding="utf-8"))
                # Tuples compare by their first difference: accuracy first, then the lower loss.
                if (best["accuracy"], -best["loss"]) >= (accuracy, -loss):
                    return
        # Save first, then record: a run that is killed in between repeats the end of the epoch. No
        # graph (.meta) is saved, because it is the same as in the run's folder.
        prefix = str(self._folder / "model.ckpt")
        self._saver.save(sess, prefix, global_step=step, write_meta_graph=False)
        best = {"step": step, "accuracy": accuracy, "loss": loss}
        files.write_text(record, json.dumps(best) + "\n")
