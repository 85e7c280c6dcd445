"""From pictures to bottlenecks: computed once in batches, kept in a store, fed in training.

The base is the expensive part, and it is frozen: for one picture it always gives the same vector.
So each picture goes through it once. Training a head then takes seconds. Functions that play the
part of one in the original have its name.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import dataclasses
import functools
import io
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
_FED_AT_ONCE = 1000  # bottlenecks in an evaluation
_MOST_POINTS = 2000  # bottlenecks in a projection
_THUMBNAIL = 160  # pixels
_OTHER = "name another one with --base_graph"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where images come from, how they are split, where bottlenecks go."""
    group = parser.add_argument_group("data")
    add, percent = group.add_argument, number(int, 0, 90)
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--image_dir",
        help="Folder with a folder of images for each class; by default the flower photos, "
        "downloaded once.",
    )
    one.add_argument("--sample", action="store_true", help="Use the shipped drawings of flowers.")
    add("--testing_percentage", type=percent, default=10, help="Test images, in percent.")
    add("--validation_percentage", type=percent, default=10, help="Validation images, in percent.")
    add("--split_seed", type=number(int, 0), default=0, help="Another number, other splits.")
    add("--bottleneck_dir", help="Where bottlenecks are kept; by default in the cache.")


def create_image_lists(
    flags: argparse.Namespace, kept: Mapping[str, Any]
) -> tuple[image_lists.ImageList, dict[str, Any]]:
    """Lists the images that the flags name, or else those of the run whose flags were kept.

    Args:
        flags: with those of `add_flags`.
        kept: flags and facts of a run; empty for a new one.

    Returns:
        the images, and the facts about them that a run keeps.

    Raises:
        UsageError: there are none, or too few.
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
    """Returns the file of one of the images."""
    return images.folder / images.paths[index]


def run_bottleneck_on_image(
    sess: tf.Session,
    image_data: bytes | np.ndarray,
    image_data_tensor: tf.Tensor,
    bottleneck_tensor: tf.Tensor,
) -> np.ndarray:
    """Returns the bottlenecks, float32 [n, k], of one picture or of a batch of prepared ones.

    Args:
        image_data: what is fed to `image_data_tensor`: an AttachedBase's `contents` takes the
            bytes of a JPEG, `decoded` a picture, `images` a batch of prepared ones.
    """
    # A session lets us feed any tensor, and computes only what the fetched one still needs.
    return sess.run(bottleneck_tensor, {image_data_tensor: image_data})


def prepare_picture(
    sess: tf.Session,
    tensors: base_graph.AttachedBase,
    path: str | os.PathLike,
    distort: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Reads one picture as the base takes it, float32 [size, size, 3].

    Args:
        distort: function from uint8 [height, width, 3] to the same.

    Raises:
        UsageError: the file holds no whole picture.
    """
    picture = pictures.jpeg_or_pixels(path)
    # A JPEG goes through the graph's own decoder, any other picture in at the decoder's output.
    feed = tensors.contents if isinstance(picture, bytes) else tensors.decoded
    try:
        if distort is not None:
            # Out at the decoder, changed in numpy, and in again at the same place.
            picture = distort(sess.run(tensors.decoded, {feed: picture}))
            feed = tensors.decoded
        return sess.run(tensors.prepared, {feed: picture})[0]
    except tf.errors.InvalidArgumentError as error:
        raise UsageError(
            f"{path}: cannot be decoded ({reason(error)}); save the picture again"
        ) from error


class Extractor:
    """A base in a graph and a session of its own, and threads that read pictures for it.

    Use it as a context manager.

    Attributes:
        tensors: of the base.
        batch_size: pictures to give it at once.
        bottleneck_size: numbers in a bottleneck.
    """

    def __init__(self, base: base_graph.FrozenGraph) -> None:
        # The base has a graph and a session of its own: the head's graph stays small, and training
        # it never touches what the base holds.
        graph = tf.Graph()
        with graph.as_default():
            self.tensors = base_graph.attach(base)
        self._name = str(base)
        # The base's tensors are many times as large as its pictures. Given few of these at once, it
        # needs less memory, and no more time: then they stay in the processor's caches.
        self.batch_size = base.batch_size or graph_checks.MOST_PICTURES
        self.bottleneck_size = self.tensors.bottlenecks.shape.as_list()[1]
        self._session = tf.Session(graph=graph, config=runs.session_config())
        # A session may run in many threads at once, and decoding lets go of Python's lock.
        # Each may hold a picture of several megapixels: no more threads on a machine of many cores.
        threads = min(16, (os.cpu_count() or 1) + 4)
        self._threads = concurrent.futures.ThreadPoolExecutor(threads)
        self._ahead = max(2 * self.batch_size, threads)

    def __enter__(self) -> "Extractor":
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._session.close()

    def prepare(self, path: pathlib.Path, distort: Any = None) -> np.ndarray | UsageError:
        """Returns a prepared picture, float32 [size, size, 3], or what is wrong with its file."""
        try:
            return prepare_picture(self._session, self.tensors, path, distort)
        except UsageError as error:
            return error

    def why_bad(self, path: pathlib.Path) -> str | None:
        """Returns a sentence on why a picture cannot be read, or None."""
        prepared = self.prepare(path)
        return str(prepared) if isinstance(prepared, UsageError) else None

    def prepare_all(self, jobs: Iterable[tuple]) -> Iterator[np.ndarray | UsageError]:
        """Prepares pictures in parallel, a little ahead of the caller, and keeps their order.

        Args:
            jobs: argument tuples of `prepare`.
        """
        # Two batches ahead: while the base computes one, the threads prepare the next. Memory holds
        # no more pictures than that, however many there are.
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
            UsageError: the base cannot compute them, or they are not finite.
        """
        tensors = self.tensors
        try:
            vectors = run_bottleneck_on_image(
                self._session, np.stack(prepared), tensors.images, tensors.bottlenecks
            )
        except tf.errors.OpError as error:
            raise UsageError(f"the base {self._name} fails ({reason(error)}); {_OTHER}") from error
        if not np.isfinite(vectors).all():
            raise UsageError(f"the base {self._name} gives numbers that are not finite; {_OTHER}")
        return vectors


@dataclasses.dataclass
class Bottlenecks:
    """The bottlenecks of an image list, read from their store as they are asked for.

    Attributes:
        images: the good pictures, in the order of the bottlenecks.
        size: numbers in a bottleneck.
        bad: one message per unreadable picture.
        store: open.
        rows: int [images], each one's row in the store.
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
    """Returns the middle squares of the images `chosen`, float [side, side, 3] in [0, 1]."""
    paths = [get_image_path(images, i) for i in chosen]
    small = (pictures.read(path, largest=2 * _THUMBNAIL) for path in paths)
    return [np.asarray(pictures.middle_square(image, _THUMBNAIL)) / 255 for image in small]


def get_or_create_bottleneck(
    base: base_graph.FrozenGraph,
    images: image_lists.ImageList,
    bottleneck_dir: str | None,
    share: feature_store.Share = feature_store.ALL,
) -> Bottlenecks:
    """Returns the bottlenecks of all images, after computing those that the store lacks.

    Args:
        bottleneck_dir: folder for stores; None for the cache.
        share: which of them this task computes; it waits for the others'.

    Raises:
        UsageError: the store's folder cannot be used, or all training images of a class are bad.
        TrainingError: other tasks have not computed their share in time.
    """
    for split, name in enumerate(("training", "validation", "testing")):
        runs.print_line(f"{np.sum(images.splits == split)} {name} images in '{images.folder}'.")
    folder = feature_store.store_folder(bottleneck_dir, images.folder, base.digest)
    stamps, bad = feature_store.stamps(images)
    with Extractor(base) as extractor:
        size = extractor.bottleneck_size
        store = feature_store.FeatureStore(folder, size, share)
        # What a killed run had computed is there; only the rest goes through the base.
        mine = [path for path in share.of(images.paths) if path in stamps]
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
    """Computes bottlenecks and appends them, batch by batch; returns {path: what is wrong}."""
    bad, batch = {}, {}
    prepared_pictures = extractor.prepare_all((folder / path,) for path in missing)
    with files.progress_bar(len(missing), "bottlenecks", unit="image") as bar:
        for place, (path, prepared) in enumerate(zip(missing, prepared_pictures, strict=True), 1):
            bar.update()
            if isinstance(prepared, UsageError):
                bad[path] = str(prepared)
            else:
                batch[path] = prepared
            # A batch takes the base less than its pictures one by one, and is kept when it is done.
            if batch and (len(batch) == extractor.batch_size or place == len(missing)):
                vectors = extractor.bottlenecks(list(batch.values()))
                store.append(list(batch), [missing[path] for path in batch], vectors)
                batch.clear()
    return bad


class Sampler:
    """Draws training batches; which images make one up depends on the seed and the step alone."""

    def __init__(self, found: Bottlenecks, split: str, sampling: str, seed: int) -> None:
        """Draws from one split.

        Args:
            sampling: "class" draws each image anew, first its class, then the image, as the
                original does: every class has the same weight, however many images it has. "image"
                goes through all images in a random order, then again in another one.
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
        # A generator for each step, not one for all: step 5,000 needs none of those before it.
        generator = np.random.default_rng([self.seed, step])
        classes = generator.integers(len(self._counts), size=how_many)
        places = (generator.random(how_many) * self._counts[classes]).astype(int)
        starts = np.cumsum(self._counts) - self._counts
        return self._sorted[starts[classes] + places]

    def _by_image(self, step: int, how_many: int) -> np.ndarray:
        return np.array([self._at(step * how_many + place) for place in range(how_many)])

    def _at(self, position: int) -> int:
        # Each epoch has an order of its own, which a resumed run finds again from its number.
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
        part: which of the batch are wanted, where several tasks divide it.
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
    """Returns the same of distorted images: what is never the same twice has nothing to keep."""
    chosen = sampler.batch(step, how_many)[part]
    seeds = [(sampler.seed, step, place) for place in range(how_many)[part]]
    paths = [get_image_path(found.images, i) for i in chosen]
    return distorted_bottlenecks(extractor, paths, distortions, seeds), found.images.labels[chosen]


@contextlib.contextmanager
def drawing(
    base: base_graph.FrozenGraph, flags: argparse.Namespace
) -> Iterator[Callable[..., tuple[np.ndarray, np.ndarray]]]:
    """Yields the function that training draws its batches with, one of the two above.

    It takes the arguments of `get_random_cached_bottlenecks`. With distortions it has a session of
    its own for the base, which this closes.
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
    """Yields the bottlenecks of all images of a split, in their order, float32 [n, size]."""
    chosen = found.images.of_split(split)
    for some in np.array_split(chosen, max(1, -(-len(chosen) // _FED_AT_ONCE))):
        yield found.read(some)


@dataclasses.dataclass(frozen=True)
class Distortions:
    """Random changes to a training picture before the base sees it.

    They make the head less dependent on where and how bright a thing is. They cost: a distorted
    picture has no kept bottleneck, and goes through the base anew in every step.

    Attributes:
        flip_left_right: whether half of the pictures are mirrored.
        random_crop: percent by which a margin around the crop may enlarge the picture.
        random_scale: percent by which the picture may be enlarged besides.
        random_brightness: percent by which its pixels may be multiplied up or down.
    """

    flip_left_right: bool = False
    random_crop: int = 0
    random_scale: int = 0
    random_brightness: int = 0

    @staticmethod
    def add_flags(parser: argparse.ArgumentParser) -> None:
        """Adds a flag for each attribute."""
        add, percent = parser.add_argument_group("distortions").add_argument, number(int, 0, 100)
        add("--flip_left_right", action="store_true", help="Mirror half of the training images.")
        add("--random_crop", type=percent, default=0, help="Percent of margin to crop from.")
        add("--random_scale", type=percent, default=0, help="Percent to enlarge by at most.")
        add("--random_brightness", type=percent, default=0, help="Percent to brighten or darken.")

    @classmethod
    def of(cls, flags: argparse.Namespace) -> "Distortions":
        """Returns what the flags ask for."""
        return cls(*(getattr(flags, field.name) for field in dataclasses.fields(cls)))

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))

    def apply(self, picture: np.ndarray, seed: Sequence[int]) -> np.ndarray:
        """Returns the distorted picture; the same seed gives the same result.

        Args:
            picture: uint8 [height, width, 3].

        Returns:
            uint8 [height', width', 3]: a window of the picture, of its proportions.
        """
        generator = np.random.default_rng(seed)
        # Enlarging the picture and cropping it is the same as cutting a smaller window out of it.
        scale = (1 + self.random_crop / 100) * generator.uniform(1, 1 + self.random_scale / 100)
        height, width = (max(1, round(side / scale)) for side in picture.shape[:2])
        top = generator.integers(picture.shape[0] - height + 1)
        left = generator.integers(picture.shape[1] - width + 1)
        window = picture[top : top + height, left : left + width]
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
    """Returns the bottlenecks, float32 [n, k], of pictures distorted on their way in.

    Args:
        paths: n files.
        seeds: one for each picture.

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
    """Draws the bottlenecks in a plane, and writes them out for TensorBoard's projector.

    Of more than _MOST_POINTS, evenly spread ones are taken.

    Returns:
        the name of the picture.
    """
    count = len(found.images.paths)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(int))
    vectors, images = found.read(chosen), found.images.only(chosen)
    points, share = principal_plane(vectors)
    title = f"{folder.name}: {len(chosen)} bottlenecks in the plane of their widest spread"
    title += f" ({share:.0%} of it)"
    name = "bottlenecks.png"
    plots.scatter(folder / name, points, images.labels, images.class_names, title)
    # One row at a time: all the numbers as strings at once take a quarter of a gigabyte.
    _write_table(folder / "bottlenecks.tsv", ([f"{x:.6g}" for x in row] for row in vectors))
    classes = [one_line(images.class_names[label]) for label in images.labels]
    paths = map(one_line, images.paths)
    rows = [("class", "image"), *zip(classes, paths, strict=True)]
    _write_table(folder / "bottlenecks_labels.tsv", rows)
    files.write_text(folder / "projector_config.pbtxt", _PROJECTOR_CONFIG)
    return name


_PROJECTOR_CONFIG = """embeddings {
  tensor_name: "bottlenecks"
  tensor_path: "bottlenecks.tsv"
  metadata_path: "bottlenecks_labels.tsv"
}
"""


def principal_plane(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the vectors' coordinates along their two principal axes.

    Args:
        vectors: float [n, k], n at least 2.

    Returns:
        (float [n, 2], the share of the variance that lies in this plane).
    """
    # The directions of the widest spread are the singular vectors of the centred data.
    centred = vectors - vectors.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    points = (left * spread)[:, :2]
    return points, float(np.sum(spread[:2] ** 2) / max(np.sum(spread**2), 1e-30))


def _write_table(path: pathlib.Path, rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    files.write_text(path, text.getvalue())
