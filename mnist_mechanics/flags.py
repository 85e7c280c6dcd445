"""The flags of the two training programs, and what follows from them before the graph."""

import zlib

from mnist_mechanics import input_data
from tutorial_support import runs
from tutorial_support.programs import ArgumentParser, UsageError, number

LOG_DIR = "logs/mnist_feed"  # of the feeding program

# What a resumed run may change: none of it has a part in what the variables become, but for
# rounding.
MAY_CHANGE = ("max_steps", "input_data_dir", "log_dir", "summaries", "trace", "steps_per_run")


def parse(description, argv, log_dir, add_more=lambda parser: None):
    """Returns the namespace of flags, the original's and this package's.

    Args:
        description: the program's docstring.
        argv: list of strings, or None for the command line.
        log_dir: default of --log_dir.
        add_more: function that adds a program's own flags to the parser.
    """
    parser = ArgumentParser(description)
    add = parser.add_argument
    add("--learning_rate", type=number(float, 0), default=0.01, help="of gradient descent")
    add("--max_steps", type=number(int, 1), default=2000, help="batches to train on, in all")
    add("--hidden1", type=number(int, 1), default=128, help="units in the first hidden layer")
    add("--hidden2", type=number(int, 1), default=32, help="units in the second hidden layer")
    add("--batch_size", type=number(int, 1), default=100, help="examples in a training batch")
    runs.add_flags(parser, "--log_dir", log_dir)
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="of initial weights and order")
    add(
        "--summaries",
        choices=["scalar", "full"],
        default="scalar",
        help="full adds validation accuracy, histograms and images to the event file",
    )
    add(
        "--trace",
        type=number(int, 0),
        metavar="N",
        help="record which ops step N runs, for TensorBoard and as a Chrome trace",
    )
    add_data_flags(parser)
    add_more(parser)
    flags = parser.parse_args(argv)
    if flags.trace is not None and flags.trace >= flags.max_steps:
        raise UsageError(
            f"--trace {flags.trace} is not reached: steps run from 0 to {flags.max_steps - 1}"
        )
    return flags


def add_data_flags(parser):
    """Adds the flags that say where the data comes from, of which at most one can be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--input_data_dir",
        help="folder of the four idx files; without it they are downloaded once",
    )
    group.add_argument("--sample", action="store_true", help="use the shipped sample of MNIST")
    group.add_argument("--fake_data", action="store_true", help="use white images, all labelled 0")


def open_run(flags):
    """Reads the data and opens the run folder.

    Returns:
        (input_data.DataSets, runs.RunFolder).

    Raises:
        UsageError: the data or the folder cannot be used.
    """
    data_sets, kept = read_data(flags)
    return data_sets, runs.RunFolder(flags.log_dir, kept, MAY_CHANGE)


def read_data(flags):
    """Reads the data.

    Returns:
        (input_data.DataSets, dict of the flags that a run folder keeps).

    Raises:
        UsageError: the data cannot be used.
    """
    kept = vars(flags) | {"data": "fake"}
    folder = None
    if not flags.fake_data:
        folder = input_data.find_folder(flags.input_data_dir, flags.sample)
        kept |= {"sample": folder == input_data.SAMPLE, "input_data_dir": str(folder.resolve())}
    data_sets = input_data.read_data_sets(folder, flags.fake_data, seed=flags.seed)
    if not flags.fake_data:
        kept["data"] = _fingerprint(data_sets.train)
    return data_sets, kept


def _fingerprint(data_set):
    """Returns a string that differs between data sets, for a run must not change hands."""
    digest = zlib.crc32(data_set.labels, zlib.crc32(data_set.pixels))
    return f"{data_set.num_examples} training images with CRC {digest:08x}"


def add_checkpoint_flag(parser):
    """Adds the flag that says which trained net to take."""
    parser.add_argument(
        "--checkpoint",
        default=LOG_DIR,
        help="a run folder, for its newest checkpoint, or one checkpoint",
    )
