"""Flowers, batch 100: training steps per second of a new head on bottlenecks of 2,048 values.

The original keeps each bottleneck in a text file and reads 100 of them in every step. Here, 5,000
or 500,000 of them are rows of one file. Others hold 5,000 in memory. All train the same head from
zeros with plain gradient descent.
"""

import functools
import itertools
import os
import pathlib
import tempfile

import numpy as np

from benchmarks import ours, peers
from benchmarks.contest import OURS, PLAIN, Contestant

UNIT = "steps/s"
BASE = "original way"
BATCH = int(os.environ.get("BENCHMARK_BATCH", "100"))
SAMPLING = "class"  # tests use "image", so a batch of the set's size holds every image once
VALUES, CLASSES = 2048, 5
RATE = 0.01
BLOCK = 100  # steps per call of JAX's loop

CONTESTANTS = [
    Contestant(BASE, "original_way", PLAIN),
    Contestant("Keras fit", "keras_fit", PLAIN, "keras"),
    Contestant("PyTorch", "pytorch", PLAIN, "torch"),
    Contestant("JAX, jit", "jax_jit", PLAIN, "jax"),
    Contestant("JAX, scan", "jax_scan", PLAIN, "jax"),
    Contestant("here: 5,000 bottlenecks", "here", OURS),
    Contestant("here: 500,000 bottlenecks", "large_store", OURS),
]
STEPS = {"": 300, BASE: 3}


def examples():
    """Returns the number of bottlenecks, except in the large store."""
    return int(os.environ.get("BENCHMARK_EXAMPLES", "5000"))


def vectors(first, count):
    """Returns float32 [count, VALUES] that look like bottlenecks: at least 0, mostly small."""
    random = np.random.default_rng(first)
    return random.exponential(0.4, (count, VALUES)).astype(np.float32)


def _labels(count):
    return np.arange(count) % CLASSES


def _found(count, store=None):
    """Returns the bottlenecks of `count` training images, and their sampler."""
    from flowers_transfer import bottlenecks
    from tutorial_support import TRAIN, image_lists

    names = tuple(map(str, range(CLASSES)))
    splits = np.zeros(count, int)
    images = image_lists.ImageList(pathlib.Path(), names, (), _labels(count), splits)
    rows = np.arange(1, count + 1)  # SQLite counts them from 1
    found = bottlenecks.Bottlenecks(images, VALUES, [], store, rows)
    return found, bottlenecks.Sampler(found, TRAIN, SAMPLING, 0)


def _batches(count):
    """Yields the indices of each step's images, drawn as `flowers_transfer.retrain` does."""
    _, sampler = _found(count)
    for step in itertools.count():
        yield sampler.batch(step, BATCH)


def _head(tf, config):
    from flowers_transfer import head

    with tf.Graph().as_default():
        placeholders = head.placeholder_inputs(VALUES)
        loss = head.loss(head.inference(placeholders[0], CLASSES), placeholders[1])
        train_op = head.training(loss, RATE)
        sess = tf.Session(config=config)
        sess.run(tf.global_variables_initializer())
        for variable in tf.trainable_variables():
            sess.run(
                variable.initializer, {variable.initializer.inputs[1]: np.zeros(variable.shape)}
            )
    return sess, placeholders, train_op, loss


def original_way():
    """One text file per image, with numbers separated by commas, read in every step."""
    import tensorflow.compat.v1 as tf

    folder = pathlib.Path(tempfile.mkdtemp(prefix="benchmark-"))
    count = min(examples(), 1000)
    for number, vector in enumerate(vectors(0, count)):
        text = ",".join(str(float(np.format_float_positional(value))) for value in vector)
        (folder / f"{number}.txt").write_text(text)
    sess, placeholders, train_op, loss = _head(tf, None)
    batches = _batches(count)

    def work(steps):
        losses = []
        for _ in range(steps):
            chosen = next(batches)
            batch = [
                [float(text) for text in (folder / f"{number}.txt").read_text().split(",")]
                for number in chosen
            ]
            feed_dict = dict(zip(placeholders, (batch, chosen % CLASSES), strict=True))
            losses.append(sess.run([train_op, loss], feed_dict)[1])
        return losses

    return work


def keras_fit():
    """A dense layer, fitted on arrays."""
    import keras

    inputs, labels = vectors(0, examples()), _labels(examples())
    layer = keras.layers.Dense(CLASSES, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((VALUES,)), layer])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss)
    return peers.keras_fitted(model, inputs, labels, BATCH)


def pytorch():
    """A layer, an optimizer, a loop."""
    import torch

    inputs = torch.from_numpy(vectors(0, examples()))
    labels = torch.from_numpy(_labels(examples()))
    model = torch.nn.Linear(VALUES, CLASSES)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    batches = _batches(examples())

    def work(count):
        losses = []
        for _ in range(count):
            chosen = torch.from_numpy(next(batches))
            loss = torch.nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen])
            losses.append(peers.torch_step(optimizer, loss))
        return losses

    return work


def _jax_step():
    import jax
    import jax.numpy as jnp

    def loss_of(weights, inputs, labels):
        log = jax.nn.log_softmax(inputs @ weights[0] + weights[1])
        return -jnp.mean(jnp.take_along_axis(log, labels[:, None], 1))

    def step(weights, batch):
        loss, gradient = jax.value_and_grad(loss_of)(weights, *batch)
        return [w - RATE * g for w, g in zip(weights, gradient, strict=True)], loss

    return step, [jnp.zeros((VALUES, CLASSES)), jnp.zeros(CLASSES)]


def jax_jit():
    """A compiled step that takes a batch of numpy arrays."""
    import jax

    inputs, labels = vectors(0, examples()), _labels(examples())
    step, weights = _jax_step()
    step = jax.jit(step, donate_argnums=0)
    batches = _batches(examples())

    def work(count):
        nonlocal weights
        losses = []
        for _ in range(count):
            chosen = next(batches)
            weights, loss = step(weights, (inputs[chosen], labels[chosen]))
            losses.append(loss)
        return [float(loss) for loss in losses]

    return work


def jax_scan():
    """A compiled loop over steps that takes its batches from arrays on the device."""
    import jax

    arrays = [jax.numpy.asarray(array) for array in (vectors(0, examples()), _labels(examples()))]
    step, weights = _jax_step()
    batches = _batches(examples())
    several = peers.jax_scanned(step)

    def work(count):
        nonlocal weights
        losses = []
        for first in range(0, count, BLOCK):
            indices = np.stack([next(batches) for _ in range(min(BLOCK, count - first))])
            weights, values = several(weights, arrays, indices)
            losses += values.tolist()
        return losses

    return work


def here(count=None):
    """`flowers_transfer.retrain`: batches drawn by class, looked up in the store, fed."""
    import tensorflow.compat.v1 as tf

    from flowers_transfer import bottlenecks
    from tutorial_support.feature_store import FeatureStore

    count = count or examples()
    folder = tempfile.mkdtemp(prefix="benchmark-")
    with FeatureStore(folder, VALUES) as store:
        for start in range(0, count, 5000):
            keys = [str(number) for number in range(start, min(start + 5000, count))]
            store.append(keys, [(1, 1)] * len(keys), vectors(start, len(keys)))
    store = FeatureStore(folder, VALUES)  # as a training opens it, which verifies every row
    found, sampler = _found(count, store)
    sess, placeholders, train_op, loss = _head(tf, ours.small_net_config())
    every_step = itertools.count()

    def take_step():
        step = next(every_step)
        batch = bottlenecks.get_random_cached_bottlenecks(found, sampler, BATCH, step)
        return sess.run([train_op, loss], dict(zip(placeholders, batch, strict=True)))[1]

    return functools.partial(ours.trained, take_step)


def large_store():
    """The same with more bottlenecks than a program should hold in memory."""
    return here(500_000)
