"""Flowers, batch 100: training steps a second of a new head on bottlenecks of 2,048 values.

The original keeps each bottleneck as a text file and reads 100 of them in every step; here they are
rows of one file, 5,000 or 500,000 of them.
"""

import os
import pathlib
import tempfile
import types

import numpy as np

from benchmarks.contest import OURS, PLAIN, Contestant

UNIT = "steps/s"
BASE = "original way"
BATCH = int(os.environ.get("BENCHMARK_BATCH", "100"))
VALUES, CLASSES = 2048, 5
RATE = 0.01

CONTESTANTS = [
    Contestant(BASE, "original_way", PLAIN),
    Contestant("here: 5,000 bottlenecks", "here", OURS),
    Contestant("here: 500,000 bottlenecks", "large_store", OURS),
]
STEPS = {"": 300, BASE: 3}


def vectors(first, count):
    """Returns float32 [count, VALUES] that look like bottlenecks: at least 0, mostly small."""
    random = np.random.default_rng(first)
    return random.exponential(0.4, (count, VALUES)).astype(np.float32)


def _head(tf, config):
    from flowers_transfer import head

    with tf.Graph().as_default():
        placeholders = head.placeholder_inputs(VALUES)
        loss = head.loss(head.inference(placeholders[0], CLASSES), placeholders[1])
        train_op = head.training(loss, RATE)
        sess = tf.Session(config=config)
        sess.run(tf.global_variables_initializer())
    return sess, placeholders, train_op, loss


def original_way():
    """A text file for each image, numbers with commas between, read anew in every step."""
    import tensorflow.compat.v1 as tf

    folder = pathlib.Path(tempfile.mkdtemp(prefix="benchmark-"))
    count = 1000
    for number, vector in enumerate(vectors(0, count)):
        text = ",".join(str(float(np.format_float_positional(value))) for value in vector)
        (folder / f"{number}.txt").write_text(text)
    sess, placeholders, train_op, loss = _head(tf, None)
    random = np.random.default_rng(0)

    def work(steps):
        losses = []
        for _ in range(steps):
            chosen = random.integers(0, count, BATCH)
            batch = [
                [float(text) for text in (folder / f"{number}.txt").read_text().split(",")]
                for number in chosen
            ]
            feed_dict = dict(zip(placeholders, (batch, chosen % CLASSES), strict=True))
            losses.append(sess.run([train_op, loss], feed_dict)[1])
        return losses

    return work


def here(count=5000):
    """`flowers_transfer.retrain`: batches drawn by class, looked up in the store, fed."""
    import tensorflow.compat.v1 as tf

    from flowers_transfer import bottlenecks, retrain, sampling
    from tutorial_support import progress, sessions
    from tutorial_support.feature_store import FeatureStore

    folder = tempfile.mkdtemp(prefix="benchmark-")
    store = FeatureStore(folder, VALUES)
    at_once = 5000
    for start in range(0, count, at_once):
        keys = [str(start + n) for n in range(at_once)]
        store.append(keys, [(1, 1)] * at_once, vectors(start, at_once))
    images = types.SimpleNamespace(labels=np.arange(count) % CLASSES)
    found = bottlenecks.Bottlenecks(images, VALUES, [], store, np.arange(count))
    sampler = sampling.SAMPLINGS["class"](images.labels, 0)
    config = sessions.config(small_net=True)
    sess, placeholders, train_op, loss = _head(tf, config)
    first = 0

    def batch_of(step):
        return retrain.fill_feed_dict(found, *placeholders, sampler.batch(step, BATCH))

    def work(count):
        nonlocal first
        steps, first = range(first, first + count), first + count
        feeds = progress.ahead(batch_of, steps)
        return [sess.run([train_op, loss], feed_dict)[1] for feed_dict in feeds]

    return work


def large_store():
    """The same with a hundred times as many."""
    return here(500_000)
