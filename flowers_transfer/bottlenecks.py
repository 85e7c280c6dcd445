"""From pictures to bottlenecks: computed once in batches, kept in a store, fed to the head.

The base is expensive to run, but it is frozen, so it always gives the same vector for the same
picture. Each picture therefore goes through it only once, and training a head takes seconds.
Functions have the name of their counterpart in the original.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import dataclasses
import functools
import io
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, graph_checks
from tutorial_support import (
    TEST,
    archives,
    feature_store,
    files,
    image_lists,
    pictures,
    plots,
    runs,
)
from tutorial_support.programs import UsageError, number, one_line, reason

ARCHIVE = files.RemoteFile(
    "flower_photos.tgz",
    228_813_984,
    # As in TensorFlow Datasets, url_checksums/tf_flowers.txt.
    "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    ("https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",),
)
_FED_AT_ONCE = 1000  # bottlenecks per run of an evaluation
_MOST_POINTS = 2000  # bottlenecks per projection
_THUMBNAIL = 160  # pixels
_OTHER = "name another one with --base_graph"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for images, their split, and the folder of the bottlenecks."""
    group = parser.add_argument_group("data")
    add, percent = group.add_argument, number(int, 0, 90)
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--image_dir",
        help="A folder with one folder of images per class; by default the flower photos, "
        "which are downloaded once.",
    )
    one.add_argument("--sample", action="store_true", help="Use the shipped drawings of flowers.")
    testing = "Percentage of images for testing."
    add("--testing_percentage", type=percent, default=10, help=testing)
    validation = "Percentage of images for validation."
    add("--validation_percentage", type=percent, default=10, help=validation)
    split = "Seed of the split; another number assigns the images differently."
    add("--split_seed", type=number(int, 0), default=0, help=split)
    add("--bottleneck_dir", help="The folder for bottlenecks; by default one in the cache.")


def create_image_lists(
    flags: argparse.Namespace, kept: Mapping[str, Any]
) -> tuple[image_lists.ImageList, dict[str, Any]]:
    """Lists the images that the flags name, or else those of the run that is resumed.

    Args:
        flags: must include those of `add_flags`.
        kept: flags and facts saved with the run; empty for a new one.

    Returns:
        the images, and the facts about them to save with the run.

    Raises:
        UsageError: there are no images or too few of them, or the percentages reach 100.
    """
    if flags.testing_percentage + flags.validation_percentage >= 100:
        raise UsageError(
            "--testing_percentage and --validation_percentage leave no training images; lower one"
        )
    if not (flags.image_dir or flags.sample):
        flags.sample = bool(kept.get("sample"))
        flags.image_dir = None if flags.sample else kept.get("image_dir")
    folder, is_sample = archives.find_images(
        flags.image_dir,
        flags.sample,
        ARCHIVE,
        "flower_photos",
        "drawn_flowers",
        "drawings of flowers, not photos",
    )
    images = image_lists.create(
        folder, flags.testing_percentage, flags.validation_percentage, flags.split_seed
    )
    return images, {
        "image_dir": str(folder.resolve()) if flags.image_dir else None,
        "sample": is_sample,
        "images": images.fingerprint(),
        "class_names": list(images.class_names),
    }


def get_image_path(images: image_lists.ImageList, index: int) -> pathlib.Path:
    """Returns the path of the image with this index."""
    return images.folder / images.paths[index]


def run_bottleneck_on_image(
    sess: tf.Session,
    image_data: bytes | np.ndarray,
    image_data_tensor: tf.Tensor,
    bottleneck_tensor: tf.Tensor,
) -> np.ndarray:
    """Returns the bottlenecks, float32 [n, k], of one picture or of a batch of prepared ones.

    Args:
        image_data: the value to feed to `image_data_tensor`. In an AttachedBase, `contents` takes
            the bytes of a JPEG, `decoded` a picture, `images` a batch of prepared pictures.
    """
    # Any tensor can be fed, not only placeholders. The session then runs only the ops between the
    # fed tensor and the fetched one.
    return sess.run(bottleneck_tensor, {image_data_tensor: image_data})


def prepare_picture(
    sess: tf.Session,
    tensors: base_graph.AttachedBase,
    path: str | os.PathLike,
    distort: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Reads one picture and prepares it for the base: float32 [size, size, 3].

    Args:
        distort: a function from uint8 [height, width, 3] to uint8 [height', width', 3].

    Raises:
        UsageError: the file is not a complete picture.
    """
    picture = pictures.jpeg_or_pixels(path)
    # The graph decodes a JPEG itself. Pixels of any other format are fed at the decoder's output.
    feed = tensors.contents if isinstance(picture, bytes) else tensors.decoded
    try:
        if distort is not None:
            # Fetch the decoder's output, distort it in numpy, and feed it back at the same tensor.
            picture = distort(sess.run(tensors.decoded, {feed: picture}))
            feed = tensors.decoded
        # The graph resizes and scales the picture and adds a dimension: [1, size, size, 3].
        return sess.run(tensors.prepared, {feed: picture})[0]
    except tf.errors.InvalidArgumentError as error:  # from the decoder, for a damaged JPEG
        raise UsageError(
            f"{path}: cannot be decoded ({reason(error)}); save the picture again"
        ) from error


class Extractor:
    """A base in its own graph and session, with threads that read pictures for it.

    Use it as a context manager.

    Attributes:
        tensors: the tensors of the base.
        batch_size: the number of pictures per run of the base.
        bottleneck_size: the number of values in a bottleneck.
    """

    def __init__(self, base: base_graph.FrozenGraph) -> None:
        # The base has its own graph and session: the head's graph stays small, and training cannot
        # change the base.
        graph = tf.Graph()
        # Builders add ops to the default graph. In this block that is `graph`.
        with graph.as_default():
            self.tensors = base_graph.attach(base)
        self._name = str(base)
        # The base's tensors are many times as large as its pictures. Small batches need less memory
        # and no more time, because they stay in the processor's caches.
        self.batch_size = base.batch_size or graph_checks.MOST_PICTURES
        self.bottleneck_size = self.tensors.bottlenecks.shape.as_list()[1]
        # Without graph=..., the session would run the caller's default graph.
        self._session = tf.Session(graph=graph, config=runs.session_config())
        # Several threads may call sess.run at once, and it releases Python's lock while ops run.
        # Each thread may hold a picture of several megapixels, so their number is limited.
        threads = min(16, (os.cpu_count() or 1) + 4)
        self._threads = concurrent.futures.ThreadPoolExecutor(threads)
        self._ahead = max(2 * self.batch_size, threads)

    def __enter__(self) -> "Extractor":
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._session.close()

    def prepare(self, path: pathlib.Path, distort: Any = None) -> np.ndarray | UsageError:
        """Returns a prepared picture, float32 [size, size, 3], or the error in its file."""
        try:
            return prepare_picture(self._session, self.tensors, path, distort)
        except UsageError as error:
            return error

    def why_bad(self, path: pathlib.Path) -> str | None:
        """Returns why a picture cannot be read, in one sentence, or None if it can."""
        prepared = self.prepare(path)
        return str(prepared) if isinstance(prepared, UsageError) else None

    def prepare_all(self, jobs: Iterable[tuple]) -> Iterator[np.ndarray | UsageError]:
        """Prepares pictures in parallel, ahead of the caller, and yields them in order.

        Args:
            jobs: tuples of arguments for `prepare`.
        """
        # The threads prepare further pictures while the base computes a batch. Besides that batch,
        # at most `_ahead` pictures are in memory: two batches, or one picture per thread.
        waiting: collections.deque = collections.deque()
        for job in jobs:
            waiting.append(self._threads.submit(self.prepare, *job))
            if len(waiting) == self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def bottlenecks(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the bottlenecks, float32 [n, k], of prepared pictures.

        Raises:
            UsageError: the base fails, or gives values that are not finite.
        """
        tensors = self.tensors
        try:
            # np.stack makes one array [n, size, size, 3], so one run computes the whole batch.
            vectors = run_bottleneck_on_image(
                self._session, np.stack(prepared), tensors.images, tensors.bottlenecks
            )
        except tf.errors.OpError as error:  # the base class of all errors in a running op
            raise UsageError(f"the base {self._name} fails ({reason(error)}); {_OTHER}") from error
        if not np.isfinite(vectors).all():
            raise UsageError(f"the base {self._name} gives values that are not finite; {_OTHER}")
        return vectors


@dataclasses.dataclass
class Bottlenecks:
    """The bottlenecks of an image list, read from the store on demand.

    Attributes:
        images: the readable pictures, in the order of the bottlenecks.
        size: the number of values in a bottleneck.
        bad: one message per unreadable picture.
        store: the open store.
        rows: int64 [images], the row of each image in the store.
    """

    images: image_lists.ImageList
    size: int
    bad: list[str]
    store: feature_store.FeatureStore
    rows: np.ndarray

    def read(self, chosen: np.ndarray) -> np.ndarray:
        """Returns the bottlenecks, float32 [n, size], of the images with the indices `chosen`."""
        return self.store.read(self.rows[chosen])


def thumbnails(images: image_lists.ImageList, chosen: np.ndarray) -> list[np.ndarray]:
    """Returns the central square of each image in `chosen`, float64 [side, side, 3] in [0, 1]."""
    paths = [get_image_path(images, i) for i in chosen]
    small = (pictures.read(path, largest=2 * _THUMBNAIL) for path in paths)
    return [np.asarray(pictures.middle_square(image, _THUMBNAIL)) / 255 for image in small]


def get_or_create_bottleneck(
    base: base_graph.FrozenGraph,
    images: image_lists.ImageList,
    bottleneck_dir: str | None,
    share: slice = slice(None),
    wait_secs: float = math.inf,
) -> Bottlenecks:
    """Computes the bottlenecks that the store lacks; returns those of all images.

    Args:
        bottleneck_dir: the folder for stores; None for the cache.
        share: the part of the images that this task computes; it waits for the other tasks' parts.
        wait_secs: as in `FeatureStore`.

    Raises:
        UsageError: the store's folder cannot be used, the base fails, or no training image of a
            class can be read.
        TrainingError: other tasks have not computed their share in time.
    """
    for split, name in enumerate(("training", "validation", "testing")):
        runs.print_line(f"{np.sum(images.splits == split)} {name} images in '{images.folder}'.")
    folder = feature_store.store_folder(bottleneck_dir, images.folder, base.digest, share)
    stamps, bad = feature_store.stamps(images)
    with Extractor(base) as extractor:
        size = extractor.bottleneck_size
        store = feature_store.FeatureStore(folder, size, share, wait_secs)
        # The store keeps what a killed run has computed. Only the rest goes through the base.
        mine = [path for path in images.paths[share] if path in stamps]
        missing = {path: stamps[path] for path in mine if store.find(path, stamps[path]) is None}
        bad |= _fill(store, extractor, images.folder, missing)
        store.finish_filling()
        others = {path: stamp for path, stamp in stamps.items() if path not in bad}
        bad |= store.await_others(others, lambda path: extractor.why_bad(images.folder / path))
    runs.print_line(f"The base is {base}: {size} values a bottleneck.")
    images.check_training(bad)
    images = images.without(bad)
    rows = [store.find(path, stamps[path]) for path in images.paths]
    return Bottlenecks(images, size, list(bad.values()), store, np.array(rows, np.int64))


def _fill(
    store: feature_store.FeatureStore,
    extractor: Extractor,
    folder: pathlib.Path,
    missing: dict[str, feature_store.Stamp],
) -> dict[str, str]:
    """Computes bottlenecks and appends them to the store in batches; returns {path: error}."""
    bad, batch = {}, {}
    prepared_pictures = extractor.prepare_all((folder / path,) for path in missing)
    with files.progress_bar(len(missing), "bottlenecks", unit="image") as bar:
        for place, (path, prepared) in enumerate(zip(missing, prepared_pictures, strict=True), 1):
            bar.update()
            if isinstance(prepared, UsageError):
                bad[path] = str(prepared)
            else:
                batch[path] = prepared
            # Running the base on a batch is faster than on single pictures. Each batch is stored
            # as soon as it is computed.
            if batch and (len(batch) == extractor.batch_size or place == len(missing)):
                vectors = extractor.bottlenecks(list(batch.values()))
                store.append(list(batch), [missing[path] for path in batch], vectors)
                batch.clear()
    return bad


class Sampler:
    """Draws training batches. The images in a batch depend only on the seed and the step."""

    def __init__(self, found: Bottlenecks, split: str, sampling: str, seed: int) -> None:
        """Draws from one split.

        Args:
            sampling: "class" draws a class for each image, then an image of it, as the original
                does. Every class has the same weight, regardless of its size. "image" goes through
                all images in random order, in another order each epoch.
        """
        self.members = found.images.of_split(split)
        self._draw = self._by_class if sampling == "class" else self._by_image
        self.seed, self._epoch = seed, -1
        labels = found.images.labels[self.members]
        self._sorted = np.argsort(labels, kind="stable")
        self._counts = np.unique(labels, return_counts=True)[1]

    def batch(self, step: int, how_many: int) -> np.ndarray:
        """Returns the indices, int [how_many], of the images in the batch of a step."""
        return self.members[self._draw(step, how_many)]

    def _by_class(self, step: int, how_many: int) -> np.ndarray:
        # One generator per step: a run that resumes at step 5,000 need not replay the steps before.
        generator = np.random.default_rng([self.seed, step])
        # `_sorted` lists the images class by class; `starts` says where each class begins.
        classes = generator.integers(len(self._counts), size=how_many)
        places = (generator.random(how_many) * self._counts[classes]).astype(int)
        starts = np.cumsum(self._counts) - self._counts
        return self._sorted[starts[classes] + places]

    def _by_image(self, step: int, how_many: int) -> np.ndarray:
        return np.array([self._at(step * how_many + place) for place in range(how_many)])

    def _at(self, position: int) -> int:
        # The epoch's number seeds its order, so a resumed run computes the same order.
        epoch, place = divmod(position, len(self.members))
        if epoch != self._epoch:
            generator = np.random.default_rng([self.seed, epoch])
            self._epoch, self._order = epoch, generator.permutation(len(self.members))
        return self._order[place]


def get_random_cached_bottlenecks(
    found: Bottlenecks, sampler: Sampler, how_many: int, step: int, part: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Returns bottlenecks, float32 [n, size], and labels, int [n], of the batch of a step.

    Args:
        how_many: images in the batch; -1 takes every image of the split once.
        part: the slice of the batch to return, if several tasks divide it.
    """
    chosen = sampler.members if how_many < 0 else sampler.batch(step, how_many)
    return found.read(chosen[part]), found.images.labels[chosen[part]]


def get_random_distorted_bottlenecks(
    found: Bottlenecks,
    sampler: Sampler,
    how_many: int,
    step: int,
    part: slice = slice(None),
    *,
    extractor: Extractor,
    distortions: "Distortions",
) -> tuple[np.ndarray, np.ndarray]:
    """Like `get_random_cached_bottlenecks`, but distorts the images and runs the base on them."""
    chosen = sampler.batch(step, how_many)[part]
    # The seed of a picture is its place in the whole batch: tasks that divide a batch distort it
    # in the same way as a single process.
    seeds = [(sampler.seed, step, place) for place in range(how_many)[part]]
    paths = [get_image_path(found.images, i) for i in chosen]
    return distorted_bottlenecks(extractor, paths, distortions, seeds), found.images.labels[chosen]


@contextlib.contextmanager
def batch_source(
    base: base_graph.FrozenGraph, flags: argparse.Namespace
) -> Iterator[Callable[..., tuple[np.ndarray, np.ndarray]]]:
    """Yields the function that draws training batches, one of the two above.

    It takes the arguments of `get_random_cached_bottlenecks`. With distortions, the base runs in
    its own session, which is closed at the end.
    """
    distortions = Distortions.of(flags)
    if not distortions:
        yield get_random_cached_bottlenecks
        return
    with Extractor(base) as extractor:
        yield functools.partial(
            get_random_distorted_bottlenecks, extractor=extractor, distortions=distortions
        )


def get_test_bottlenecks(found: Bottlenecks, split: str = TEST) -> Iterator[np.ndarray]:
    """Yields the bottlenecks of all images of a split in order, float32 [n, size] each."""
    chosen = found.images.of_split(split)
    # Several small feeds instead of one large one: memory use does not depend on the split's size.
    for some in np.array_split(chosen, max(1, -(-len(chosen) // _FED_AT_ONCE))):
        yield found.read(some)


@dataclasses.dataclass(frozen=True)
class Distortions:
    """Random changes to a training picture before the base sees it.

    They make the head depend less on an object's position and brightness. They are slow: a
    distorted picture has no stored bottleneck, so it goes through the base in every step.

    Attributes:
        flip_left_right: whether to mirror half of the pictures.
        random_crop: size of the margin around the crop, in percent.
        random_scale: enlarge the picture by up to this percentage.
        random_brightness: make pixels brighter or darker by up to this percentage.
    """

    flip_left_right: bool = False
    random_crop: int = 0
    random_scale: int = 0
    random_brightness: int = 0

    @staticmethod
    def add_flags(parser: argparse.ArgumentParser) -> None:
        """Adds one flag per attribute."""
        add, percent = parser.add_argument_group("distortions").add_argument, number(int, 0, 100)
        add("--flip_left_right", action="store_true", help="Mirror half of the training images.")
        margin = "Enlarge by this percentage, then crop at a random position."
        add("--random_crop", type=percent, default=0, help=margin)
        scale = "Enlarge at random by up to this percentage."
        add("--random_scale", type=percent, default=0, help=scale)
        brightness = "Brighten or darken at random by up to this percentage."
        add("--random_brightness", type=percent, default=0, help=brightness)

    @classmethod
    def of(cls, flags: argparse.Namespace) -> "Distortions":
        """Returns the distortions that the flags ask for."""
        return cls(*(getattr(flags, field.name) for field in dataclasses.fields(cls)))

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))

    def apply(self, picture: np.ndarray, seed: Sequence[int]) -> np.ndarray:
        """Returns the distorted picture; the same seed gives the same result.

        Args:
            picture: uint8 [height, width, 3].

        Returns:
            uint8 [height', width', 3]: a crop with the same proportions.
        """
        generator = np.random.default_rng(seed)
        # The base resizes what it gets, so a smaller crop is the same as a larger picture.
        scale = (1 + self.random_crop / 100) * generator.uniform(1, 1 + self.random_scale / 100)
        height, width = (max(1, round(side / scale)) for side in picture.shape[:2])
        top = generator.integers(picture.shape[0] - height + 1)
        left = generator.integers(picture.shape[1] - width + 1)
        window = picture[top : top + height, left : left + width]
        # Always draw, even if the flag is off: the draws after it then do not depend on the flag.
        if generator.random() < 0.5 and self.flip_left_right:
            window = window[:, ::-1]
        change = self.random_brightness / 100
        factor = generator.uniform(1 - change, 1 + change)
        return np.clip(np.rint(window * factor), 0, 255).astype(np.uint8)


def distorted_bottlenecks(
    extractor: Extractor,
    paths: Sequence[pathlib.Path],
    distortions: Distortions,
    seeds: Sequence[Sequence[int]],
) -> np.ndarray:
    """Distorts pictures and returns their bottlenecks, float32 [n, k].

    Args:
        paths: n picture files.
        seeds: one seed per picture.

    Raises:
        UsageError: a picture cannot be read.
    """
    distort = [functools.partial(distortions.apply, seed=seed) for seed in seeds]
    vectors, batch = [], []
    prepared_pictures = extractor.prepare_all(zip(paths, distort, strict=True))
    for place, prepared in enumerate(prepared_pictures, 1):
        if isinstance(prepared, UsageError):
            raise prepared
        batch.append(prepared)
        if len(batch) == extractor.batch_size or place == len(paths):
            vectors.append(extractor.bottlenecks(batch))
            batch.clear()
    return np.concatenate(vectors)


def draw_bottlenecks(folder: pathlib.Path, found: Bottlenecks) -> str:
    """Plots the bottlenecks in a plane, and writes files for TensorBoard's projector.

    It takes at most _MOST_POINTS bottlenecks, evenly spread over the list.

    Returns:
        the file name of the plot.
    """
    count = len(found.images.paths)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(int))
    vectors, images = found.read(chosen), found.images.only(chosen)
    points, share = principal_plane(vectors)
    title = f"{folder.name}: {len(chosen)} bottlenecks in the plane of their widest spread"
    title += f" ({share:.0%} of it)"
    name = "bottlenecks.png"
    plots.scatter(folder / name, points, images.labels, images.class_names, title)
    # Convert one row at a time: all values as strings would take a quarter of a gigabyte.
    _write_table(folder / "bottlenecks.tsv", ([f"{x:.6g}" for x in row] for row in vectors))
    classes = [one_line(images.class_names[label]) for label in images.labels]
    paths = map(one_line, images.paths)
    rows = [("class", "image"), *zip(classes, paths, strict=True)]
    _write_table(folder / "bottlenecks_labels.tsv", rows)
    files.write_text(folder / "projector_config.pbtxt", _PROJECTOR_CONFIG)
    return name


# TensorBoard looks for projector_config.pbtxt in the log folder. The paths in it are relative.
_PROJECTOR_CONFIG = """embeddings {
  tensor_name: "bottlenecks"
  tensor_path: "bottlenecks.tsv"
  metadata_path: "bottlenecks_labels.tsv"
}
"""


def principal_plane(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Projects vectors onto their first two principal axes.

    Args:
        vectors: float [n, k], with n >= 2 and k >= 2.

    Returns:
        (the coordinates, float [n, 2]; the share of the variance in this plane, 0 to 1).
    """
    # The principal axes are the right singular vectors of the centred data.
    centred = vectors - vectors.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    points = (left * spread)[:, :2]
    return points, float(np.sum(spread[:2] ** 2) / max(np.sum(spread**2), 1e-30))


def _write_table(path: pathlib.Path, rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    files.write_text(path, text.getvalue())
