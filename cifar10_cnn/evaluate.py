"""Restores a checkpoint in a graph of its own and evaluates it on all test images.

    python -m cifar10_cnn.evaluate
    python -m cifar10_cnn.evaluate --checkpoint logs/cifar10/model.ckpt-10000
    python -m cifar10_cnn.evaluate --eval_interval_secs 60      (beside a running training)

Writes the accuracy to an event file of its own, in the folder `eval` beside the checkpoint.
"""

import math
import pathlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, reports, restored, train
from cifar10_cnn import flags as training_flags
from tutorial_support import checkpoints, classification, events, plots, runs, sessions
from tutorial_support.programs import ArgumentParser, UsageError, number, program


def evaluate_once(prefix, records, folder):
    """Evaluates one checkpoint; prints and writes its accuracy.

    Args:
        prefix: from `checkpoints.find`.
        records: cifar10_input.Records.
        folder: pathlib.Path, where the event file and the confusion matrix go.
    """
    names = restored.class_names(prefix)
    if len(names) != len(records.class_names):
        raise UsageError(
            f"the net in '{prefix}' has {len(names)} classes, the data has "
            f"{len(records.class_names)}; name the data that it was trained on with --data_dir"
        )
    with tf.Graph().as_default():
        iterator = tf.data.make_initializable_iterator(
            cifar10_input.evaluation_batches(
                records, reports.EVALUATION_BATCH, train.central_images
            )
        )
        images, labels = iterator.get_next()
        with tf.variable_scope(cifar10.SCOPE):
            logits = cifar10.inference(images, len(names))
        with tf.Session(config=sessions.config()) as sess:
            restored.restore(sess, prefix)
            logits, labels = train.run_through(sess, iterator, logits, labels)

    step = checkpoints.stored_step(prefix)
    matrix, accuracy = classification.evaluated(labels, logits)
    print(f"Generation {step}: {np.trace(matrix)} of {records.num_examples} images right")
    print(f" --- Test Accuracy= {100 * accuracy:.2f}%.")
    classification.say_confusion(matrix, names)
    folder.mkdir(parents=True, exist_ok=True)
    suffix = events.file_suffix(folder)
    with (
        tf.Graph().as_default(),
        tf.summary.FileWriter(str(folder), filename_suffix=suffix) as writer,
    ):
        events.write_scalar(writer, "test_accuracy", accuracy, step)
    plots.confusion_matrix(
        folder / "confusion.png", matrix, names, f"Generation {step}, {accuracy:.2%} correct"
    )


def evaluate_repeatedly(path, records, folder, interval, last_step, wait_secs=math.inf):
    """Evaluates each new checkpoint of a run folder until the last one, or until a signal.

    Args:
        path: the run folder.
        records, folder: as in `evaluate_once`.
        interval: seconds between two looks for a new checkpoint.
        last_step: the step at which the training ends, or None where it is not known.
        wait_secs: longest wait for a new checkpoint, in seconds.

    Returns:
        the exit code.
    """
    with sessions.StopSignals() as stop:
        for prefix in checkpoints.each_new(path, interval, last_step, stop, wait_secs):
            evaluate_once(prefix, records, folder)
    return stop.exit_code


@program
def main(argv=None):
    """Parses the flags and evaluates."""
    parser = ArgumentParser(__doc__)
    training_flags.add_checkpoint_flag(parser)
    parser.add_argument(
        "--eval_interval_secs",
        type=number(float, 0.01),
        help="evaluate again whenever there is a new checkpoint, looking this often; once if not "
        "given",
    )
    parser.add_argument(
        "--checkpoint_wait_secs",
        type=number(float, 0.1),
        default=math.inf,
        help="longest wait for a new checkpoint, with --eval_interval_secs",
    )
    parser.add_argument("--eval_dir", help="for the event file; by default eval beside the run")
    training_flags.add_data_flags(parser)
    flags = parser.parse_args(argv)

    path = pathlib.Path(flags.checkpoint)
    prefix = None if flags.eval_interval_secs and path.is_dir() else checkpoints.find(path)
    run_folder = path if prefix is None else pathlib.Path(prefix).parent
    kept = runs.read_flags(run_folder)
    if not (flags.data_dir or flags.sample):
        flags.sample = kept.get("sample", False)
        flags.data_dir = None if flags.sample else kept.get("data_dir")
    records = cifar10_input.test_records(cifar10_input.find_folder(flags.data_dir, flags.sample))
    folder = pathlib.Path(flags.eval_dir or run_folder / "eval")
    if prefix is not None:
        evaluate_once(prefix, records, folder)
        return 0
    return evaluate_repeatedly(
        path,
        records,
        folder,
        flags.eval_interval_secs,
        kept.get("generations"),
        flags.checkpoint_wait_secs,
    )


if __name__ == "__main__":
    sys.exit(main())
