"""The flags of the training program, and what follows from them before the graph."""

import dataclasses
import functools
import pathlib

import numpy as np

from catsdogs_finetune import mobilenet_v2, photo_input, pretrained
from tutorial_support import feature_store, files, image_lists, progress, runs
from tutorial_support.programs import ArgumentParser, UsageError, number

TRAIN_DIR = "logs/catsdogs"
# The original's settings, and what the small sample is worth, in about a minute on 2 cores.
IMAGE_SIZE, SAMPLE_IMAGE_SIZE = 160, 96  # pixels
EPOCHS, SAMPLE_EPOCHS = 10, 40  # of each phase
BEST = "best"  # the folder, in the run's, of the checkpoint that validated best

_MAY_CHANGE = ("data_dir", "weights", "fine_tune_epochs", "train_dir", "bottleneck_dir")


def parse(description, argv):
    """Returns the namespace of flags, the original's settings and this package's.

    Args:
        description: the program's docstring.
        argv: list of strings, or None for the command line.
    """
    parser = ArgumentParser(description)
    add = parser.add_argument
    count, rate = number(int, 1), number(float, 0)
    add_data_flags(parser)
    add_base_flags(parser)
    add("--batch_size", type=count, default=32, help="images in a training batch")
    epochs = f"; {EPOCHS}, for the sample {SAMPLE_EPOCHS}"
    add("--initial_epochs", type=number(int, 0), help="with the base frozen" + epochs)
    add("--fine_tune_epochs", type=number(int, 0), help="of fine-tuning after them" + epochs)
    add("--fine_tune_at", type=number(int, 0), default=100, help="the first layer to fine-tune")
    add("--learning_rate", type=rate, default=1e-4, help="while the base is frozen, Adam's")
    add("--fine_tune_rate", type=rate, default=1e-5, help="in fine-tuning, RMSprop's")
    add("--dropout", type=number(float, 0, 0.99), default=0.2, help="share of a bottleneck dropped")
    add("--rotation", type=number(float, 0, 0.5), default=0.2, help="of a turn, to either side")
    add(
        "--no_augmentation",
        action="store_true",
        help="neither turn nor mirror training images: the frozen base then sees each only once",
    )
    runs.add_flags(parser, "--train_dir", TRAIN_DIR)
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="of head, order, augmentation")
    return parser.parse_args(argv)


def add_data_flags(parser):
    """Adds the flags that say where the images come from, of which at most one can be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--data_dir",
        help="a folder with the folders train and validation, of which each has a folder a class; "
        "or with a folder a class; without it, the published photos are downloaded once",
    )
    group.add_argument("--sample", action="store_true", help="use the shipped drawings")


def add_base_flags(parser):
    """Adds the flags that say which net is the base, and where its bottlenecks go."""
    add = parser.add_argument
    add(
        "--weights",
        help="an h5 file; or imagenet, downloaded once, which is taken where it can be had; or "
        "cifar10, shipped",
    )
    add(
        "--alpha",
        type=float,
        choices=mobilenet_v2.ALPHAS,
        help="the net's width; by default that of the weights, 1.0 for imagenet",
    )
    add(
        "--image_size",
        type=number(int, 32),
        help=f"pixels, height and width; {IMAGE_SIZE}, for the sample {SAMPLE_IMAGE_SIZE}",
    )
    add("--bottleneck_dir", help="where bottlenecks are kept; by default in the cache")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where bottlenecks come from.

    Attributes:
        images: image_lists.ImageList of the good pictures.
        is_sample: whether they are the shipped ones.
        weights: pathlib.Path of the base's.
        digest: string, which differs between weights.
        store_folder: pathlib.Path for the bottlenecks.
    """

    images: image_lists.ImageList
    is_sample: bool
    weights: pathlib.Path
    digest: str
    store_folder: pathlib.Path


def find_source(flags):
    """Finds images and weights; settles `flags.image_size` and `flags.alpha`; says what it found.

    Args:
        flags: with those of `add_data_flags` and `add_base_flags`.

    Returns:
        Source.

    Raises:
        UsageError: images or weights cannot be used.
    """
    folder, sample = photo_input.find_folder(flags.data_dir, flags.sample)
    images = photo_input.find_images(folder)
    if flags.image_size is None:
        flags.image_size = SAMPLE_IMAGE_SIZE if sample else IMAGE_SIZE
    name = flags.weights or (pretrained.CIFAR10 if sample else None)
    weights = pretrained.find(name, flags.alpha, flags.image_size)
    if flags.alpha is None:
        flags.alpha = pretrained.alpha_of(weights)
    digest = pretrained.digest(weights)
    images, bad = photo_input.readable(images)
    images.check_training(bad)
    for split in image_lists.SPLITS:
        if not len(images.of_split(split)):
            raise UsageError(
                f"no {split} image of '{folder}' can be read: {next(iter(bad.values()))}"
            )
    counts = [f"{np.sum(images.splits == i)} {s}" for i, s in enumerate(image_lists.SPLITS)]
    progress.say(f"{', '.join(counts)} images in '{folder}'.")
    what = "a net that has seen CIFAR-10" if weights == pretrained.shipped() else f"'{weights}'"
    progress.say(f"The base: MobileNetV2, alpha {flags.alpha}, with the weights of {what}.")
    store = feature_store.store_folder(flags.bottleneck_dir, folder, f"{digest}-{flags.image_size}")
    return Source(images, sample, weights, digest, store)


def open_run(flags):
    """Finds images and weights and opens the run folder; settles flags that were left open.

    Returns:
        (Source, function from float32 [batch, size, size, 3] and a seed to distorted pictures,
        runs.RunFolder).

    Raises:
        UsageError: images, weights or folder cannot be used.
    """
    source = find_source(flags)
    epochs = SAMPLE_EPOCHS if source.is_sample else EPOCHS
    if flags.initial_epochs is None:
        flags.initial_epochs = epochs
    if flags.fine_tune_epochs is None:
        flags.fine_tune_epochs = epochs
    kept = vars(flags) | {
        "data_dir": str(source.images.folder.resolve()),
        "sample": source.is_sample,
        "images": source.images.fingerprint(),
        "class_names": list(source.images.class_names),
        "weights": str(source.weights),
        "weights_digest": source.digest,
    }
    run = runs.RunFolder(flags.train_dir, kept, _MAY_CHANGE)
    run.file(BEST).mkdir(exist_ok=True)
    settled = run.file(runs.FLAGS_FILE).read_text(encoding="utf-8")
    files.write_text(run.file(BEST) / runs.FLAGS_FILE, settled)
    distort = functools.partial(photo_input.rotate_and_flip, flags.rotation)
    if flags.no_augmentation:
        distort = photo_input.no_distortion
    return source, distort, run


def add_checkpoint_flag(parser):
    """Adds the flag that says which trained net to take."""
    parser.add_argument(
        "--checkpoint",
        default=TRAIN_DIR,
        help=f"a run folder, for its newest checkpoint; its folder {BEST}, for the one that "
        "validated best; or one checkpoint",
    )
