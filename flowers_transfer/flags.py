"""The flags of the training program, and what follows from them before the graph."""

import dataclasses
import pathlib

from flowers_transfer import base_graph, bottlenecks, flower_photos
from flowers_transfer.distortions import Distortions
from flowers_transfer.sampling import SAMPLINGS
from tutorial_support import datasets, feature_store, image_lists, progress, runs
from tutorial_support.programs import LOG, ArgumentParser, UsageError, number

TRAIN_DIR = "logs/flowers"
BASES = ("inception_2015", "cifar10")

MAY_CHANGE = (
    "image_dir",
    "how_many_training_steps",
    "eval_step_interval",
    "validation_batch_size",
    "print_misclassified_test_images",
    "train_dir",
    "bottleneck_dir",
    "base_graph",
)
_DESCRIBING_BASE = (
    "jpeg_tensor",
    "image_tensor",
    "bottleneck_tensor",
    "image_size",
    "image_mean",
    "image_scale",
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
    count, percent = number(int, 1), number(int, 0, 100)
    add_data_flags(parser)
    add("--how_many_training_steps", type=count, default=4000, help="steps in all")
    add("--learning_rate", type=number(float, 0), default=0.01, help="of gradient descent")
    add("--train_batch_size", type=count, default=100, help="images in a training batch")
    add("--validation_batch_size", type=number(int, -1), default=100, help="-1 for all of them")
    add("--eval_step_interval", type=count, default=100, help="steps between validations")
    add("--sampling", choices=list(SAMPLINGS), default="class", help="what has equal weight")
    add("--weight_decay", type=number(float, 0), default=0.0, help="L2 penalty on the weights")
    add("--momentum", type=number(float, 0, 1), default=0.0, help="of gradient descent")
    add(
        "--seed", type=number(int, 0, 2**31 - 1), default=0, help="of weights, batches, distortions"
    )
    add("--flip_left_right", action="store_true", help="mirror half of the training images")
    add("--random_crop", type=percent, default=0, help="percent of margin to crop from")
    add("--random_scale", type=percent, default=0, help="percent to enlarge by at most")
    add("--random_brightness", type=percent, default=0, help="percent to brighten or darken")
    add("--print_misclassified_test_images", action="store_true", help="list them at the end")
    runs.add_flags(parser, "--train_dir", TRAIN_DIR)
    add_base_flags(parser)
    add_more(parser)
    flags = parser.parse_args(argv)
    if flags.testing_percentage + flags.validation_percentage >= 100:
        raise UsageError(
            "--testing_percentage and --validation_percentage leave no training images; lower one"
        )
    return flags


def add_data_flags(parser):
    """Adds the flags that say where images come from, how they are split, where bottlenecks go."""
    add = parser.add_argument
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--image_dir",
        help="a folder with a folder of images for each class; else the flower photos",
    )
    group.add_argument("--sample", action="store_true", help="use the shipped drawings of flowers")
    add("--testing_percentage", type=number(int, 0, 90), default=10, help="of the images")
    add("--validation_percentage", type=number(int, 0, 90), default=10, help="of the images")
    add("--split_seed", type=number(int, 0), default=0, help="another number, other splits")
    add("--bottleneck_dir", help="where bottlenecks are kept; by default in the cache")


def add_base_flags(parser):
    """Adds the flags that name and describe the base."""
    add = parser.add_argument
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--base",
        choices=BASES,
        help="inception_2015, downloaded once, is taken where it can be had, else cifar10, shipped",
    )
    group.add_argument("--base_graph", help="a frozen graph of your own, or from make_base")
    add("--jpeg_tensor", help="its JPEG input; 'none' where it begins with decoded pictures")
    add("--image_tensor", help="its input for a batch of prepared pictures")
    add("--bottleneck_tensor", help="its output that is the bottleneck")
    add("--image_size", type=number(int, 1), help="pixels, for a graph without JPEG input")
    add("--image_mean", type=number(float), help="what to subtract, for such a graph")
    add("--image_scale", type=number(float), help="what to multiply by then, for such a graph")


def find_base(flags, sample=False):
    """Returns (base_graph.Base, path of its graph) that the flags name.

    Args:
        flags: with those of `add_base_flags`.
        sample: whether the images are the shipped sample; it is made for the shipped base.
    """
    if flags.base_graph:
        path = pathlib.Path(flags.base_graph)
        return _overridden(base_graph.described(path), flags), path
    name = flags.base or ("cifar10" if sample else "inception_2015")
    if name == "inception_2015":
        try:
            return base_graph.INCEPTION_2015, base_graph.inception_2015()
        except datasets.DownloadError as error:
            if flags.base:
                raise UsageError(
                    f"--base inception_2015: {error}; go online, or name a frozen graph with "
                    "--base_graph"
                ) from error
            LOG.warning(
                "taking the shipped CIFAR-10 net as the base, which sees 32x32 pixels and knows "
                "little, because %s",
                error,
            )
    return base_graph.CIFAR10, base_graph.cifar10()


def _overridden(base, flags):
    jpeg = None if flags.jpeg_tensor == "none" else flags.jpeg_tensor or base.jpeg_input
    given = {
        "image_input": flags.image_tensor,
        "bottleneck": flags.bottleneck_tensor,
        "size": flags.image_size,
        "mean": flags.image_mean,
        "scale": flags.image_scale,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(base, jpeg_input=jpeg, **given)


def open_run(flags):
    """Finds images and base, opens the run folder and computes the bottlenecks that are missing.

    Returns:
        (bottlenecks.Bottlenecks, function without arguments that returns a bottlenecks.Extractor of
        the base, Distortions, runs.RunFolder).

    Raises:
        UsageError: images, base or folder cannot be used.
    """
    source = find_source(flags)
    run = runs.RunFolder(flags.train_dir, kept_flags(flags, source), MAY_CHANGE)
    return source.bottlenecks(), source.extractor, distortions_of(flags), run


@dataclasses.dataclass(frozen=True)
class Source:
    """Where bottlenecks come from.

    Attributes:
        images: image_lists.ImageList.
        is_sample: whether they are the shipped ones.
        base: base_graph.Base.
        path: pathlib.Path of its graph.
        graph_def: GraphDef, the graph.
        digest: string, which differs between bases.
        root: folder for stores, or None for the cache.
    """

    images: image_lists.ImageList
    is_sample: bool
    base: base_graph.Base
    path: pathlib.Path
    graph_def: object
    digest: str
    root: str | None

    def extractor(self):
        """Returns a bottlenecks.Extractor."""
        return bottlenecks.Extractor(self.graph_def, self.base)

    def bottlenecks(self, share=feature_store.ALL):
        """Returns the bottlenecks.Bottlenecks; computes those that are missing, and says so.

        Args:
            share: feature_store.Share, as of `bottlenecks.of_images`.
        """
        for split, name in enumerate(image_lists.SPLITS):
            count = (self.images.splits == split).sum()
            progress.say(f"{count} {name} images in '{self.images.folder}'.")
        folder = feature_store.store_folder(self.root, self.images.folder, self.digest)
        found = bottlenecks.of_images(self.graph_def, self.base, self.images, folder, share)
        is_shipped = self.path == base_graph.cifar10()
        name = "the shipped CIFAR-10 net" if is_shipped else f"'{self.path}'"
        progress.say(f"The base is {name}: {found.size} values a bottleneck.")
        return found


def find_source(flags):
    """Finds images and base.

    Args:
        flags: with those of `add_data_flags` and `add_base_flags`.

    Raises:
        UsageError: they cannot be used.
    """
    folder, sample = flower_photos.find_folder(flags.image_dir, flags.sample)
    images = image_lists.create(
        folder, flags.testing_percentage, flags.validation_percentage, flags.split_seed
    )
    base, path = find_base(flags, sample)
    graph_def = base_graph.load(path, base)
    digest = base_graph.digest(path, base)
    return Source(images, sample, base, path, graph_def, digest, flags.bottleneck_dir)


def distortions_of(flags):
    """Returns the Distortions that the flags ask for."""
    return Distortions(
        flags.flip_left_right, flags.random_crop, flags.random_scale, flags.random_brightness
    )


def kept_flags(flags, source):
    """Returns the dict of flags that a run folder keeps."""
    kept = vars(flags) | {
        "image_dir": str(source.images.folder.resolve()),
        "sample": source.is_sample,
        "images": source.images.fingerprint(),
        "class_names": list(source.images.class_names),
        "base_graph": str(source.path.resolve()),
        "base": dataclasses.asdict(source.base),
        "base_digest": source.digest,
    }
    for name in _DESCRIBING_BASE:  # the description as a whole is kept in "base"
        del kept[name]
    return kept


def add_checkpoint_flag(parser):
    """Adds the flag that says which trained head to take."""
    parser.add_argument(
        "--checkpoint",
        default=TRAIN_DIR,
        help="a run folder, for its newest checkpoint, or one checkpoint",
    )
