"""From pictures to bottlenecks: computed once in batches, kept in a store, read back by training.

The base is the expensive part, and it is frozen: for one picture it always gives the same vector.
So each picture goes through it once. Training a head then takes seconds.
"""

import collections
import concurrent.futures
import functools
import os

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph
from tutorial_support import feature_store, pictures, progress, sessions
from tutorial_support.programs import UsageError

BATCH = 16  # pictures that go through the base at once
_THREADS = os.cpu_count() or 1


class Extractor:
    """A base in a graph and a session of its own, and threads that read pictures for it.

    Use it as a context manager.

    Attributes:
        tensors: base_graph.AttachedBase.
        bottleneck_size: int.
    """

    def __init__(self, graph_def, base):
        """Imports the base; arguments as of `base_graph.attach`."""
        graph = tf.Graph()
        with graph.as_default():
            self.tensors = base_graph.attach(graph_def, base)
        self.bottleneck_size = self.tensors.bottlenecks.shape[1]
        self._session = tf.Session(graph=graph, config=sessions.config())
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._threads.shutdown(cancel_futures=True)
        self._session.close()

    def prepare(self, path, distort=None):
        """Reads one picture as the base takes it.

        A JPEG goes through the graph's own decoder, any other picture in at the decoder's output:
        a session lets us feed any tensor, and computes only what the fetched one still needs.

        Args:
            path: a PNG or JPEG file.
            distort: function from uint8 [height, width, 3] to the same, or None.

        Returns:
            float32 [size, size, 3].

        Raises:
            UsageError: the file is no whole PNG or JPEG.
        """
        tensors = self.tensors
        picture = pictures.jpeg_or_pixels(path)
        feed = tensors.contents if isinstance(picture, bytes) else tensors.decoded
        try:
            if distort is not None:
                picture = distort(self._session.run(tensors.decoded, {feed: picture}))
                feed = tensors.decoded
            return self._session.run(tensors.prepared, {feed: picture})[0]
        except tf.errors.InvalidArgumentError as error:
            raise UsageError(
                f"{path}: not a whole JPEG file ({error.message.splitlines()[0]}); save the "
                "picture again"
            ) from error

    def why_bad(self, path):
        """Returns a sentence on why a picture cannot be read, or None."""
        try:
            self.prepare(path)
        except UsageError as error:
            return str(error)

    def prepare_all(self, jobs):
        """Prepares pictures in parallel, a little ahead of the caller, and keeps their order.

        Args:
            jobs: iterable of argument tuples of `prepare`.

        Yields:
            float32 [size, size, 3], or the UsageError of a bad picture.
        """
        waiting = collections.deque()
        jobs = iter(jobs)
        while True:
            while len(waiting) < 2 * BATCH and (job := next(jobs, None)) is not None:
                waiting.append(self._threads.submit(self.prepare, *job))
            if not waiting:
                return
            try:
                yield waiting.popleft().result()
            except UsageError as error:
                yield error

    def bottlenecks(self, images):
        """Returns the bottlenecks, float32 [n, k], of prepared pictures [n, size, size, 3]."""
        return self._session.run(self.tensors.bottlenecks, {self.tensors.images: images})

    def of_distorted(self, paths, distortions, seeds):
        """Returns the bottlenecks, float32 [n, k], of pictures distorted on their way in.

        Args:
            paths: n files.
            distortions: distortions.Distortions.
            seeds: n sequences of ints, a picture's own.

        Raises:
            UsageError: a picture cannot be read.
        """
        jobs = [
            (path, functools.partial(distortions.apply, seed=seed))
            for path, seed in zip(paths, seeds, strict=True)
        ]
        vectors, batch = [], []
        for place, prepared in enumerate(self.prepare_all(jobs), start=1):
            if isinstance(prepared, UsageError):
                raise prepared
            batch.append(prepared)
            if len(batch) == BATCH or place == len(jobs):
                vectors.append(self.bottlenecks(np.stack(batch)))
                batch.clear()
        return np.concatenate(vectors)


class Bottlenecks:
    """The bottlenecks of an image list, read from their store as they are asked for.

    Attributes:
        images: image_lists.ImageList of the good pictures, in the order of the bottlenecks.
        size: int, numbers in a bottleneck.
        bad: list of a sentence a picture that could not be read.
    """

    def __init__(self, images, size, bad, store, rows):
        """Arguments: the attributes; an open FeatureStore; int [images], each one's row in it."""
        self.images, self.size, self.bad = images, size, bad
        self._store, self._rows = store, rows

    def read(self, chosen):
        """Returns the bottlenecks, float32 [n, size], of the images with the indices `chosen`."""
        return self._store.read(self._rows[chosen])


def of_images(graph_def, base, images, folder, share=feature_store.ALL):
    """Returns the bottlenecks of all images, after computing those that the store lacks.

    Args:
        graph_def, base: as of `base_graph.attach`.
        images: image_lists.ImageList.
        folder: the store's, from `feature_store.store_folder`.
        share: feature_store.Share, which of them this task computes; it waits for the others'.

    Raises:
        UsageError: the store's folder cannot be used, or all training images of a class are bad.
        TrainingError: other tasks have not computed their share in time.
    """
    stamps, bad = feature_store.stamps(images)
    with Extractor(graph_def, base) as extractor:
        size = extractor.bottleneck_size
        store = feature_store.FeatureStore(folder, size, share)
        mine = [path for path in share.of(images.paths) if path in stamps]
        missing = [path for path in mine if store.find(path, stamps[path]) is None]
        bad |= _fill(store, extractor, images.folder, missing, stamps)
        store.finish_filling()
        others = {path: stamp for path, stamp in stamps.items() if path not in bad}
        bad |= store.await_others(others, lambda path: extractor.why_bad(images.folder / path))
    good = [i for i, path in enumerate(images.paths) if path not in bad]
    rows = [store.find(images.paths[i], stamps[images.paths[i]]) for i in good]
    images = images.without(bad)
    images.check_training(bad)
    return Bottlenecks(images, size, list(bad.values()), store, np.array(rows, np.int64))


def _fill(store, extractor, folder, paths, stamps):
    """Computes bottlenecks and appends them, batch by batch; returns {path: what is wrong}."""
    bad, batch = {}, []

    def keep():
        if batch:
            keys, pixels = zip(*batch, strict=True)
            vectors = extractor.bottlenecks(np.stack(pixels))
            store.append(keys, [stamps[key] for key in keys], vectors)
            batch.clear()

    with progress.bar(len(paths), "bottlenecks", unit="image") as bar:
        pictures = extractor.prepare_all((folder / path,) for path in paths)
        for path, prepared in zip(paths, pictures, strict=True):
            bar.update()
            if isinstance(prepared, UsageError):
                bad[path] = str(prepared)
                continue
            batch.append((path, prepared))
            if len(batch) == BATCH:
                keep()
        keep()
    return bad
