"""Restores a checkpoint in a graph of its own and evaluates it on one split of the data.

    python -m mnist_mechanics.evaluate
    python -m mnist_mechanics.evaluate --checkpoint logs/mnist_feed/model.ckpt-1000 --split train

Reads checkpoints of both formats, V1 and V2, of any version of TensorFlow, those of the original
tutorial included. Without a flag that names data, it takes the data that the run was trained on.
"""

import pathlib
import sys

from mnist_mechanics import flags as training_flags
from mnist_mechanics import fully_connected_feed, input_data, mnist, reports, restored
from tutorial_support import classification, plots, runs
from tutorial_support.programs import ArgumentParser, program


def evaluate(net, data_set, split):
    """Prints a net's precision on a data set and its confusion matrix.

    Args:
        net: restored.RestoredNet, whose graph is the default one.
        data_set: input_data.DataSet.
        split: what it is, one of reports.SPLITS.

    Returns:
        int [NUM_CLASSES, NUM_CLASSES], the confusion matrix.
    """
    eval_correct = mnist.evaluation(net.logits, net.labels)
    reports.say_split(split)
    fully_connected_feed.do_eval(net.sess, eval_correct, net.images, net.labels, data_set)
    logits = fully_connected_feed.predict_logits(net.sess, net.logits, net.images, data_set)
    matrix = classification.confusion_matrix(
        data_set.labels, logits.argmax(axis=1), mnist.NUM_CLASSES
    )
    classification.say_confusion(matrix, reports.CLASS_NAMES)
    return matrix


def read_split(flags, run_folder):
    """Returns the input_data.DataSet that the flags name, or else that the run was trained on."""
    if flags.input_data_dir or flags.sample or flags.fake_data:
        data_dir, sample, fake = flags.input_data_dir, flags.sample, flags.fake_data
    else:
        kept = runs.read_flags(run_folder)
        sample, fake = kept.get("sample", False), kept.get("fake_data", False)
        data_dir = None if sample else kept.get("input_data_dir")
    folder = None if fake else input_data.find_folder(data_dir, sample)
    return getattr(input_data.read_data_sets(folder, fake), flags.split)


@program
def main(argv=None):
    """Parses the flags and evaluates."""
    parser = ArgumentParser(__doc__)
    training_flags.add_checkpoint_flag(parser)
    parser.add_argument("--split", choices=list(reports.SPLITS), default="test", help="what to use")
    parser.add_argument(
        "--output_dir", help="folder for the confusion matrix; by default the checkpoint's"
    )
    training_flags.add_data_flags(parser)
    flags = parser.parse_args(argv)

    with restored.net(flags.checkpoint) as net:
        run_folder = pathlib.Path(net.checkpoint).parent
        data_set = read_split(flags, run_folder)
        print(f"Evaluating '{net.checkpoint}', step {net.step}.")
        matrix = evaluate(net, data_set, flags.split)
    folder = pathlib.Path(flags.output_dir or run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"confusion-{flags.split}.png"
    title = f"{reports.SPLITS[flags.split]} set, step {net.step}"
    plots.confusion_matrix(picture, matrix, reports.CLASS_NAMES, title)
    print(f"Picture: {picture}")


if __name__ == "__main__":
    sys.exit(main())
