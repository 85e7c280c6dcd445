"""The flags of the training program, and what follows from them before the graph."""

import zlib

import numpy as np

from cifar10_cnn import cifar10_input
from cifar10_cnn.recipes import RECIPES
from tutorial_support import progress, runs
from tutorial_support.programs import ArgumentParser, number

TRAIN_DIR = "logs/cifar10"
GENERATIONS = 20000
SAMPLE_GENERATIONS = 1000  # what the small sample is worth, in about two minutes on 2 cores

_MAY_CHANGE = (
    "data_dir",
    "train_dir",
    "output_every",
    "eval_every",
    "save_every",
    "num_towers",  # the same to rounding
)


def parse(description, argv, add_more=lambda parser: None):
    """Returns the namespace of flags, the original's settings and this package's.

    Args:
        description: the program's docstring.
        argv: list of strings, or None for the command line.
        add_more: function that adds a program's own flags to the parser.
    """
    parser = ArgumentParser(description)
    add = parser.add_argument
    count = number(int, 1)
    add("--recipe", choices=list(RECIPES), default="best", help="the cookbook's, or the best found")
    add("--generations", type=count, help=f"steps in all; {GENERATIONS}, or fewer for the sample")
    add("--batch_size", type=count, default=128, help="images in a training batch")
    add("--output_every", type=count, default=50, help="generations between printed losses")
    add("--eval_every", type=count, default=500, help="generations between evaluations")
    add("--save_every", type=count, default=1000, help="generations between checkpoints")
    add("--learning_rate", type=number(float, 0), help="at its highest; by default the recipe's")
    add("--lr_decay", type=number(float, 0, 1), default=0.9, help="the cookbook's rate times this")
    add("--num_gens_to_wait", type=count, default=250, help="generations between such decays")
    runs.add_flags(parser, "--train_dir", TRAIN_DIR)
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="of weights, order, distortions")
    add(
        "--validation_size",
        type=number(int, 0),
        default=0,
        help="train without the last so many training images and evaluate on them, not on the "
        "test images; for choosing settings",
    )
    add_data_flags(parser)
    add_more(parser)
    return parser.parse_args(argv)


def add_data_flags(parser):
    """Adds the flags that say where the data comes from, of which at most one can be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--data_dir",
        help="folder of CIFAR-10's binary files or archive; without it, it is downloaded once",
    )
    group.add_argument("--sample", action="store_true", help="use the shipped drawn shapes")


def open_run(flags):
    """Finds the data and opens the run folder; settles `flags.generations`.

    Returns:
        (cifar10_input.Records to train on, Records to evaluate on, runs.RunFolder).

    Raises:
        UsageError: the data or the folder cannot be used.
    """
    training, testing, kept, may_change = read_data(flags)
    return training, testing, runs.RunFolder(flags.train_dir, kept, may_change)


def read_data(flags):
    """Finds the data; settles `flags.generations`.

    Returns:
        (cifar10_input.Records to train on, Records to evaluate on, dict of the flags that a run
        folder keeps, tuple of those that may change).

    Raises:
        UsageError: the data cannot be used.
    """
    folder = cifar10_input.find_folder(flags.data_dir, flags.sample)
    training, testing = cifar10_input.training_records(folder), cifar10_input.test_records(folder)
    if flags.validation_size:
        training, testing = training.hold_out(flags.validation_size)
    sample = folder == cifar10_input.sample_folder()
    if flags.generations is None:
        flags.generations = SAMPLE_GENERATIONS if sample else GENERATIONS
    kept = vars(flags) | {
        "sample": sample,
        "data_dir": str(folder.resolve()),
        "data": _fingerprint(training),
        "class_names": list(training.class_names),
    }
    may_change = _MAY_CHANGE
    if RECIPES[flags.recipe].schedule == "staircase":
        may_change += ("generations",)  # the other schedule depends on its end
    progress.say(
        f"Training on {training.num_examples} images of {folder} for {flags.generations} "
        f"generations, recipe {flags.recipe}."
    )
    return training, testing, kept, may_change


def _fingerprint(records):
    """Returns a string that differs between data sets, from the labels and some of the pixels."""
    digest = 0
    for segment in records.segments:
        values = np.memmap(segment.path, np.uint8, "r")
        digest = zlib.crc32(
            np.ascontiguousarray(values[:: cifar10_input.RECORD_BYTES // 3]), digest
        )
    return f"{records.num_examples} training images with CRC {digest:08x}"


def add_checkpoint_flag(parser):
    """Adds the flag that says which trained net to take."""
    parser.add_argument(
        "--checkpoint",
        default=TRAIN_DIR,
        help="a run folder, for its newest checkpoint, or one checkpoint",
    )
