"""MNIST, batch 100: training steps per second of the fully connected net.

All contestants train the same net from the same initial weights with plain gradient descent. Each
draws a shuffled batch of 100 from images in memory in its own way.
"""

import functools
import os

import numpy as np

from benchmarks import limits, ours, peers
from benchmarks.contest import OURS, PLAIN, Contestant

UNIT = "steps/s"
BASE = "original way"
BATCH = int(os.environ.get("BENCHMARK_BATCH", "100"))
SIZES = (784, 128, 32, 10)
RATE = 0.01
BLOCK = 100  # steps per run of a loop in the graph

CONTESTANTS = [
    Contestant(BASE, "original_way", PLAIN),
    Contestant("Keras fit", "keras_fit", PLAIN, "keras"),
    Contestant("PyTorch", "pytorch", PLAIN, "torch"),
    Contestant("JAX, jit", "jax_jit", PLAIN, "jax"),
    Contestant("JAX, scan", "jax_scan", PLAIN, "jax"),
    Contestant("here: feed", "here_feed", OURS),
    Contestant("here: dataset", "here_dataset", OURS),
    Contestant("here: fully_connected_looped", "here_looped", OURS),
    Contestant("limit: matrix products", "limit", PLAIN),
]
STEPS = {"": 400}


def examples():
    """Returns simple patterns, uint8 [n, 784], and their labels, uint8 [n]; n as in MNIST."""
    count = int(os.environ.get("BENCHMARK_EXAMPLES", "55000"))
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, count, dtype=np.uint8)
    pixels = random.integers(0, 80, (count, 784), dtype=np.uint8)
    pixels[np.arange(count)[:, None], 40 * labels[:, None] + np.arange(40)] += 120
    return pixels, labels


def first_weights():
    """Returns (float32 [inputs, units], float32 [units]) for each layer, in a list."""
    random = np.random.default_rng(1)
    return [
        (
            (random.standard_normal((inner, units)) / inner**0.5).astype(np.float32),
            np.zeros(units, np.float32),
        )
        for inner, units in zip(SIZES, SIZES[1:], strict=False)
    ]


def _set_weights(sess, variables):
    values = [value for layer in first_weights() for value in layer]
    for variable, value in zip(variables, values, strict=True):
        sess.run(variable.initializer, {variable.initializer.inputs[1]: value})


def original_way():
    """Float images, shuffled each epoch by copying; placeholders, one feed dictionary per step."""
    import tensorflow.compat.v1 as tf

    from mnist_mechanics import mnist

    pixels, labels = examples()
    images = np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    graph = tf.Graph()
    with graph.as_default():
        images_placeholder = tf.placeholder(tf.float32, (BATCH, 784))
        labels_placeholder = tf.placeholder(tf.int32, (BATCH,))
        logits = mnist.inference(images_placeholder, *SIZES[1:3])
        loss = mnist.loss(logits, labels_placeholder)
        train_op = mnist.training(loss, RATE)
        sess = tf.Session()
        sess.run(tf.global_variables_initializer())
        _set_weights(sess, tf.trainable_variables())
    epoch = [images, labels, 0]

    def next_batch():
        start = epoch[2]
        if start + BATCH > len(labels):
            order = np.random.permutation(len(labels))
            epoch[0], epoch[1], start = epoch[0][order], epoch[1][order], 0
        epoch[2] = start + BATCH
        return epoch[0][start : start + BATCH], epoch[1][start : start + BATCH]

    def work(count):
        losses = []
        for _ in range(count):
            images, labels = next_batch()
            feed_dict = {images_placeholder: images, labels_placeholder: labels}
            losses.append(sess.run([train_op, loss], feed_dict)[1])
        return losses

    return work


def keras_fit():
    """A compiled Sequential model, fitted on arrays."""
    import keras

    pixels, labels = examples()
    images = np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    layers = [keras.layers.Dense(units, "relu") for units in SIZES[1:3]]
    model = keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(SIZES[3])])
    model.set_weights([value for layer in first_weights() for value in layer])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss, steps_per_execution=BLOCK)
    return peers.keras_fitted(model, images, labels, BATCH)


def pytorch():
    """A module, an optimizer, a loop."""
    import torch

    pixels, labels = map(torch.from_numpy, examples())
    labels = labels.long()
    layers = []
    for inner, units in zip(SIZES, SIZES[1:], strict=False):
        layers += [torch.nn.Linear(inner, units), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for layer, (weights, biases) in zip(layers[::2], first_weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(weights.T.copy()))
            layer.bias.copy_(torch.from_numpy(biases))
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    epoch = [torch.randperm(len(labels)), 0]

    def work(count):
        losses = []
        for _ in range(count):
            if epoch[1] + BATCH > len(labels):
                epoch[:] = torch.randperm(len(labels)), 0
            chosen = epoch[0][epoch[1] : epoch[1] + BATCH]
            epoch[1] += BATCH
            images = pixels[chosen].float() * (1 / 255)
            loss = torch.nn.functional.cross_entropy(model(images), labels[chosen])
            losses.append(peers.torch_step(optimizer, loss))
        return losses

    return work


def _jax_step():
    import jax
    import jax.numpy as jnp

    def loss_of(weights, images, labels):
        *hidden, (last, biases) = weights
        for matrix, vector in hidden:
            images = jax.nn.relu(images @ matrix + vector)
        log = jax.nn.log_softmax(images @ last + biases)
        return -jnp.mean(jnp.take_along_axis(log, labels[:, None].astype(int), 1))

    def step(weights, batch):
        images, labels = batch
        images = images.astype(jnp.float32) * (1 / 255)
        loss, gradient = jax.value_and_grad(loss_of)(weights, images, labels)
        return jax.tree.map(lambda w, g: w - RATE * g, weights, gradient), loss

    return step


def jax_jit():
    """A compiled step that takes a batch of numpy arrays."""
    import jax

    pixels, labels = examples()
    step = jax.jit(_jax_step(), donate_argnums=0)
    weights = jax.tree.map(jax.numpy.asarray, first_weights())
    random = np.random.default_rng(0)
    epoch = [random.permutation(len(labels)), 0]

    def work(count):
        nonlocal weights
        losses = []
        for _ in range(count):
            if epoch[1] + BATCH > len(labels):
                epoch[:] = random.permutation(len(labels)), 0
            chosen = epoch[0][epoch[1] : epoch[1] + BATCH]
            epoch[1] += BATCH
            weights, loss = step(weights, (pixels[chosen], labels[chosen]))
            losses.append(loss)
        return [float(loss) for loss in losses]

    return work


def jax_scan():
    """A compiled loop over steps that takes its batches from arrays on the device."""
    import jax

    arrays = [jax.numpy.asarray(array) for array in examples()]
    step = _jax_step()
    weights = jax.tree.map(jax.numpy.asarray, first_weights())
    random = np.random.default_rng(0)
    order = np.empty(0, int)
    several = peers.jax_scanned(step)

    def work(count):
        nonlocal weights, order
        losses = []
        for first in range(0, count, BLOCK):
            some = min(BLOCK, count - first)
            while len(order) < some * BATCH:
                order = np.append(order, random.permutation(len(arrays[1])))
            indices, order = order[: some * BATCH].reshape(some, BATCH), order[some * BATCH :]
            weights, values = several(weights, arrays, indices)
            losses += values.tolist()
        return losses

    return work


def _here(add_training):
    """Returns (a session with the initial weights, the result of `add_training`)."""
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        fetches = add_training(tf)
        sess = tf.Session(config=ours.small_net_config())
        sess.run(tf.global_variables_initializer())
        _set_weights(sess, tf.trainable_variables())
    return sess, fetches


def _data_set():
    from mnist_mechanics import input_data

    pixels, labels = examples()
    return input_data.DataSet(pixels.reshape(-1, 28, 28, 1), labels, seed=0)


def here_feed():
    """`mnist_mechanics.fully_connected_feed`."""
    data_set = _data_set()

    def add_training(tf):
        from mnist_mechanics import fully_connected_feed, mnist

        placeholders = fully_connected_feed.placeholder_inputs()
        loss = mnist.loss(mnist.inference(placeholders[0], *SIZES[1:3]), placeholders[1])
        return placeholders, mnist.training(loss, RATE), loss

    sess, (placeholders, train_op, loss) = _here(add_training)

    def take_step():
        from mnist_mechanics import fully_connected_feed

        feed_dict = fully_connected_feed.fill_feed_dict(data_set, *placeholders, BATCH)
        return sess.run((train_op, loss), feed_dict)[1]

    return functools.partial(ours.trained, take_step)


def _dataset_graph(is_looped):
    """The input, net and ops of `mnist_mechanics.fully_connected_dataset`, or `_looped`."""
    data_set = _data_set()

    def add_training(tf):
        from mnist_mechanics import fully_connected_looped, input_pipeline, mnist

        def training(pixels, labels, first_step):
            examples = pixels, labels, BATCH, 0, first_step
            if is_looped:
                return input_pipeline.training_blocks(*examples, BLOCK)
            return input_pipeline.training_dataset(*examples)

        inputs = input_pipeline.Input(training, BATCH)

        def add_step(images, labels):
            loss = mnist.loss(mnist.inference(images, *SIZES[1:3]), labels)
            return mnist.training(loss, RATE), loss

        def add_scaled_step(pixels, labels):
            return add_step(input_pipeline.scaled(pixels), labels)

        train_op, loss = add_step(inputs.images, inputs.labels)
        in_block = tf.placeholder(tf.int32, (2,))
        looped = None
        if is_looped:
            blocks = inputs.training.get_next()
            looped = fully_connected_looped.looped(
                add_scaled_step, blocks, in_block[0], in_block[1]
            )
        return inputs, train_op, loss, in_block, looped

    sess, fetches = _here(add_training)
    return data_set, sess, *fetches


def here_dataset():
    """`mnist_mechanics.fully_connected_dataset`, step by step."""
    data_set, sess, inputs, train_op, loss, _, _ = _dataset_graph(is_looped=False)
    feed_dict = inputs.start_training(sess, data_set, 0)
    return functools.partial(ours.trained, lambda: sess.run((train_op, loss), feed_dict)[1])


def here_looped():
    """`mnist_mechanics.fully_connected_looped --steps_per_run 100`."""
    data_set, sess, inputs, _, _, in_block, looped = _dataset_graph(is_looped=True)
    inputs.start_training(sess, data_set, 0)

    def take_steps(count):
        return sess.run(looped, {in_block: (0, count)})[:count].tolist()

    return functools.partial(ours.trained_in_blocks, take_steps, BLOCK)


def limit():
    """Only the net's matrix products."""
    return limits.products(limits.dense(BATCH, SIZES))
