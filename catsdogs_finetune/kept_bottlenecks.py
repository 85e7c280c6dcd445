"""Keeps bottlenecks in a store while the base is frozen.

In phase 1 the base does not change, so it always gives the same bottleneck for the same picture.
The validation images therefore go through the base once. Without augmentation, so do the training
images.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, photo_input
from tutorial_support import feature_store, files, image_lists
from tutorial_support.programs import UsageError

_AT_ONCE = 1000


class KeptBottlenecks:
    """The bottlenecks of some images of a list, read from the store on demand."""

    def __init__(
        self,
        images: image_lists.ImageList,
        chosen: np.ndarray,
        flags: argparse.Namespace,
        facts: Mapping[str, Any],
        compute: Callable[[np.ndarray], Iterable[np.ndarray]],
        inputs: Sequence[tf.Tensor] = (),
        share: slice = slice(None),
        wait_secs: float = math.inf,
    ) -> None:
        """Opens the store and computes what it lacks.

        Args:
            images: the image list.
            chosen: int array, the indices of the images that need bottlenecks.
            flags: must include those of `pretrained.add_flags`, after `pretrained.load`.
            facts: must include `weights_digest`; a store is for one base and one image size.
            compute: a generator function; from an int array of indices it yields the bottlenecks in
                batches, float32 [n, size], in the same order.
            inputs: the tensors to feed with bottlenecks and labels.
            share: the part of the images that this task computes; it waits for the other parts.
            wait_secs: as in `FeatureStore`.

        Raises:
            UsageError: a picture or the store cannot be read.
            TrainingError: other tasks have not computed their share in time.
        """
        self._labels, self._inputs = images.labels, inputs
        # A stamp (size and time of change) tells whether a photo has changed since it was stored.
        stamps, bad = feature_store.stamps(images.only(chosen))
        if bad:
            raise UsageError("\nerror: ".join(bad.values()))
        keys = {i: images.paths[i] for i in chosen.tolist()}
        # Other weights or another image size give other bottlenecks, so each has a store.
        base = f"{facts['weights_digest']}-{flags.image_size}"
        folder = feature_store.store_folder(flags.bottleneck_dir, images.folder, base, share)
        size = mobilenet_v2.bottleneck_size(flags.alpha)
        self._store = feature_store.FeatureStore(folder, size, share, wait_secs)
        missing = [
            i for i in list(keys)[share] if self._store.find(keys[i], stamps[keys[i]]) is None
        ]
        # Store batch by batch: a run that is killed here resumes with the photos that are left.
        first = 0
        with files.progress_bar(len(missing), "bottlenecks", unit="image") as bar:
            for vectors in compute(np.array(missing)) if missing else ():
                batch = [keys[i] for i in missing[first : first + len(vectors)]]
                self._store.append(batch, [stamps[key] for key in batch], vectors)
                first += len(vectors)
                bar.update(len(vectors))
        self._store.finish_filling()
        self._store.await_others(stamps, lambda key: None)
        self._rows = np.full(len(images.paths), -1)
        self._rows[chosen] = [self._store.find(keys[i], stamps[keys[i]]) for i in chosen]

    def feed(self, chosen: np.ndarray) -> dict[tf.Tensor, Any]:
        """Returns the feed dictionary for the images with the indices `chosen`."""
        # Feeding a tensor replaces its value, so the session skips the ops behind it: the base.
        values = self._store.read(self._rows[chosen]), self._labels[chosen]
        return dict(zip(self._inputs, values, strict=True))

    def training_feed(
        self, sess: tf.Session, photos: photo_input.PhotoInput, with_photos: bool
    ) -> dict[tf.Tensor, Any]:
        """Returns the feed dictionary of the next training step, with or without its photos."""
        # The order of the photos is part of the graph; only their indices are computed here.
        chosen = sess.run(photos.next_indices)
        return self.feed(chosen) | (photos.evaluation_feed(sess, chosen) if with_photos else {})

    def one_pass(self, sess: tf.Session, fetches: Any, chosen: np.ndarray) -> Iterator[Any]:
        """Yields the values of `fetches` for batches of the images with the indices `chosen`."""
        # Large batches: the head alone needs little memory per image.
        for part in np.array_split(chosen, -(-len(chosen) // _AT_ONCE)):
            yield sess.run(fetches, self.feed(part))
