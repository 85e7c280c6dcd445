"""CIFAR-10, batch 128: training images per second of the cookbook's net, including the input.

All contestants train the same net with LRN, from the same initial weights, with plain gradient
descent. Training images are randomly cropped, mirrored and changed in brightness and contrast, then
standardized.
"""

import os
import pathlib
import tempfile

import numpy as np

from benchmarks import limits, peers
from benchmarks.contest import OURS, PLAIN, Contestant

UNIT = "images/s"
BASE = "original way"
BATCH = int(os.environ.get("BENCHMARK_BATCH", "128"))
# Tests turn this off, so all contestants see the same central crops.
IS_RANDOM = os.environ.get("BENCHMARK_RANDOM", "1") == "1"
CROP = 24
RATE = 0.01
LRN = {"depth_radius": 5, "bias": 2.0, "alpha": 1e-3, "beta": 0.75}
SHAPES = [
    ((5, 5, 3, 64), (64,)),
    ((5, 5, 64, 64), (64,)),
    ((2304, 384), (384,)),
    ((384, 192), (192,)),
    ((192, 10), (10,)),
]

CONTESTANTS = [
    Contestant(BASE, "original_way", PLAIN),
    Contestant("original way, oneDNN off", "original_way", {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    Contestant("Keras fit", "keras_fit", PLAIN, "keras"),
    Contestant("PyTorch", "pytorch", PLAIN, "torch"),
    Contestant("JAX, jit", "jax_jit", PLAIN, "jax"),
    Contestant("here", "here", OURS),
    Contestant("here, with tf.nn.lrn", "here_with_op", OURS),
    Contestant("here, without LRN", "here_without_lrn", OURS),
    Contestant("here, LRN alone", "here_lrn", OURS),
    Contestant("here, input alone", "here_input", OURS),
    Contestant("limit: matrix products", "limit", PLAIN),
]
NOT_DRAWN = ("here, LRN alone", "here, input alone")  # ten times as long as the other bars
STEPS = {"": 10, "here, LRN alone": 100, "here, input alone": 200}  # of which 4 are ready


def examples():
    """Returns (uint8 [n, 32, 32, 3], int32 [n])."""
    count = int(os.environ.get("BENCHMARK_EXAMPLES", "5000"))
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, count, dtype=np.int32)
    images = random.integers(0, 160, (count, 32, 32, 3), dtype=np.uint8)
    images[:, :, :, 0] += (9 * labels[:, None, None]).astype(np.uint8)
    return images, labels


def first_weights():
    """Returns a flat list of float32 arrays, in the order of the layers."""
    random = np.random.default_rng(1)
    values = []
    for kernel, biases in SHAPES:
        stddev = 0.05
        values.append((stddev * random.standard_normal(kernel)).astype(np.float32))
        values.append(np.zeros(biases, np.float32))
    return values


def _set_weights(tf, sess):
    for variable, value in zip(tf.trainable_variables(), first_weights(), strict=True):
        sess.run(variable.initializer, {variable.initializer.inputs[1]: value})


def _records():
    """Writes the examples as record files; returns the cifar10_input.Records."""
    from cifar10_cnn import cifar10_input

    images, labels = examples()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="benchmark-"))
    planes = images.transpose(0, 3, 1, 2).reshape(len(labels), -1)
    rows = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
    (folder / "data_batch_1.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("".join(f"class{n}\n" for n in range(10)))
    return cifar10_input.training_records(folder)


def _net(images, add_lrn):
    """The cookbook's net, with another LRN."""
    from unittest import mock

    from cifar10_cnn import cifar10

    with mock.patch.object(cifar10, "lrn", add_lrn):
        return cifar10.inference(images).logits


def original_way():
    """One image after the other, distorted by one thread; tf.nn.lrn; the default session."""
    import tensorflow.compat.v1 as tf

    from cifar10_cnn import cifar10

    arrays = examples()

    def distort(image, label):
        image = tf.cast(image, tf.float32)
        if IS_RANDOM:
            image = tf.image.random_crop(image, (CROP, CROP, 3))
            image = tf.image.random_flip_left_right(image)
            image = tf.image.random_brightness(image, 63)
            image = tf.image.random_contrast(image, 0.2, 1.8)
        else:
            image = image[4 : 4 + CROP, 4 : 4 + CROP]
        return tf.image.per_image_standardization(image), label

    with tf.Graph().as_default():
        placeholders = [tf.placeholder(array.dtype, array.shape) for array in arrays]
        examples_there = tf.data.Dataset.from_tensor_slices(tuple(placeholders))
        batches = examples_there.shuffle(5000).repeat().map(distort)
        batches = batches.batch(BATCH, drop_remainder=True).prefetch(1)
        iterator = tf.data.make_initializable_iterator(batches)
        images, labels = iterator.get_next()
        logits = _net(images, tf.nn.lrn)
        loss = cifar10.loss(logits, labels)
        train_op = cifar10.training(loss, RATE)
        sess = tf.Session()
        sess.run(tf.global_variables_initializer())
        sess.run(iterator.initializer, dict(zip(placeholders, arrays, strict=True)))
        _set_weights(tf, sess)
    return lambda count: [sess.run([train_op, loss])[1] for _ in range(count)]


def _here(add_lrn=None):
    import tensorflow.compat.v1 as tf

    from cifar10_cnn import cifar10, cifar10_input, distortions
    from cifar10_cnn.recipes import RECIPES
    from tutorial_support import runs

    distort = RECIPES["cookbook"].distort

    def middle(images, seed):
        return distortions.central_images(images)

    with tf.Graph().as_default():
        first_step = tf.constant(0, tf.int64)
        batches = cifar10_input.training_batches(
            _records(), BATCH, 0, first_step, distort if IS_RANDOM else middle
        )
        iterator = tf.data.make_initializable_iterator(batches)
        images, labels = iterator.get_next()
        logits = _net(images, add_lrn or cifar10.lrn)
        loss = cifar10.loss(logits, labels)
        train_op = cifar10.training(loss, RATE)
        sess = tf.Session(config=runs.session_config())
        sess.run([tf.global_variables_initializer(), iterator.initializer])
        _set_weights(tf, sess)
    return sess, train_op, loss, images


def here():
    """`cifar10_cnn.train --recipe cookbook`."""
    sess, train_op, loss, _ = _here()
    return lambda count: [sess.run([train_op, loss])[1] for _ in range(count)]


def here_with_op():
    """The same with TensorFlow's LRN op."""
    import tensorflow.compat.v1 as tf

    sess, train_op, loss, _ = _here(tf.nn.lrn)
    return lambda count: [sess.run([train_op, loss])[1] for _ in range(count)]


def here_without_lrn():
    """The same without LRN: another net, which shows the cost of LRN."""
    sess, train_op, loss, _ = _here(lambda images, **_: images)
    return lambda count: [sess.run([train_op, loss])[1] for _ in range(count)]


def here_lrn():
    """Both normalizations, forward and backward, on tensors of the net's shapes."""
    import tensorflow.compat.v1 as tf

    from cifar10_cnn.cifar10 import lrn
    from tutorial_support import runs

    random = np.random.default_rng(0)
    with tf.Graph().as_default():
        fetches = []
        for place, size in (("norm1", CROP // 2), ("norm2", CROP // 4)):
            shape = (BATCH, size, size, 64)
            value = random.random(shape, np.float32)
            images = tf.get_variable(place, initializer=value, use_resource=True).read_value()
            normalized = lrn(images, **LRN, name=f"{place}_lrn")
            (gradient,) = tf.gradients(normalized, images, images)
            # Fetch only one value, so copying the result takes no time.
            fetches += [normalized[0, 0], gradient[0, 0]]
        sess = tf.Session(config=runs.session_config())
        sess.run(tf.global_variables_initializer())
    return lambda count: [sess.run(fetches) for _ in range(count)]


def here_input():
    """The input pipeline without the net."""
    sess, _, _, images = _here()
    return lambda count: [sess.run(images.op) for _ in range(count)]


def keras_fit():
    """A model of layers, fitted on this package's own input pipeline."""
    import keras
    import tensorflow as tf

    from cifar10_cnn import cifar10_input, distortions
    from cifar10_cnn.recipes import RECIPES

    def middle(images, seed):
        return distortions.central_images(images)

    distort = RECIPES["cookbook"].distort if IS_RANDOM else middle
    first_step = tf.constant(0, tf.int64)
    batches = cifar10_input.training_batches(_records(), BATCH, 0, first_step, distort)

    class Lrn(keras.layers.Layer):
        """TensorFlow's op as a layer."""

        def call(self, inputs):
            return tf.nn.local_response_normalization(inputs, **LRN)

    layers = [keras.Input((CROP, CROP, 3))]
    for _ in range(2):
        layers += [
            keras.layers.Conv2D(64, 5, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(3, 2, "same"),
            Lrn(),
        ]
    layers += [keras.layers.Flatten()]
    layers += [keras.layers.Dense(units, "relu") for units in (384, 192)]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    model.set_weights(first_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss)
    endless = iter(batches)

    def work(count):
        several = ((next(endless)) for _ in range(count))
        shapes = batches.element_spec
        data = tf.data.Dataset.from_generator(lambda: several, output_signature=shapes)
        return model.fit(data, steps_per_epoch=count, verbose=0).history["loss"]

    return work


def _drawn(random, count):
    """Returns random (tops, lefts, mirrored, brightness, contrast) for a batch."""
    return (
        random.integers(0, 9, count),
        random.integers(0, 9, count),
        random.random(count) < 0.5,
        random.uniform(-63, 63, count).astype(np.float32),
        random.uniform(0.2, 1.8, count).astype(np.float32),
    )


def pytorch():
    """A module, an optimizer, a loop; distorts a whole batch at once."""
    import torch
    from torch import nn

    images, labels = examples()
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(labels).long()
    size = 2 * LRN["depth_radius"] + 1

    class Flatten(nn.Module):
        """Flattens in TensorFlow's order: channels last."""

        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    layers = []
    for inner in (3, 64):
        layers += [nn.Conv2d(inner, 64, 5, padding=2), nn.ReLU()]
        layers += [nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 2)]  # like SAME for even sizes
        layers += [nn.LocalResponseNorm(size, LRN["alpha"] * size, LRN["beta"], LRN["bias"])]
    layers += [Flatten()]
    for inner, units in ((2304, 384), (384, 192)):
        layers += [nn.Linear(inner, units), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(192, 10))
    with torch.no_grad():
        values = [torch.from_numpy(value) for value in first_weights()]
        turned = [
            v.permute(3, 2, 0, 1) if v.ndim == 4 else v.T if v.ndim == 2 else v for v in values
        ]
        for parameter, value in zip(model.parameters(), turned, strict=True):
            parameter.copy_(value)
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    random = np.random.default_rng(0)
    within = torch.arange(CROP)

    def batch():
        chosen = torch.from_numpy(random.permutation(len(labels))[:BATCH])
        if not IS_RANDOM:
            cropped = pixels[chosen, :, 4 : 4 + CROP, 4 : 4 + CROP].float()
        else:
            tops, lefts, mirrored, brightness, contrast = map(
                torch.from_numpy, _drawn(random, BATCH)
            )
            rows = (tops[:, None] + within)[:, None, :, None]
            columns = (lefts[:, None] + within)[:, None, None, :]
            planes = torch.arange(3)[None, :, None, None]
            cropped = pixels[chosen[:, None, None, None], planes, rows, columns].float()
            cropped = torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)
            cropped = cropped + brightness[:, None, None, None]
            means = cropped.mean((2, 3), keepdim=True)
            cropped = (cropped - means) * contrast[:, None, None, None] + means
        means = cropped.mean((1, 2, 3), keepdim=True)
        stddev = cropped.std((1, 2, 3), correction=0, keepdim=True)
        return (cropped - means) / stddev.clamp(min=cropped[0].numel() ** -0.5), labels[chosen]

    def work(count):
        losses = []
        for _ in range(count):
            images, targets = batch()
            loss = nn.functional.cross_entropy(model(images), targets)
            losses.append(peers.torch_step(optimizer, loss))
        return losses

    return work


def jax_jit():
    """A compiled step, including distortions; LRN as a window sum."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    images, labels = examples()
    weights = [jnp.asarray(value) for value in first_weights()]
    random = np.random.default_rng(0)

    def lrn(x):
        window, strides = (1, 1, 1, 2 * LRN["depth_radius"] + 1), (1, 1, 1, 1)
        total = lax.reduce_window(x * x, 0.0, lax.add, window, strides, "SAME")
        return x * (LRN["bias"] + LRN["alpha"] * total) ** -LRN["beta"]

    def distorted(image, top, left, mirrored, brightness, contrast):
        image = lax.dynamic_slice(image, (top, left, 0), (CROP, CROP, 3)).astype(jnp.float32)
        image = jnp.where(mirrored, image[:, ::-1], image) + brightness
        means = image.mean((0, 1))
        return (image - means) * contrast + means

    def loss_of(weights, x, targets):
        for place in (0, 2):
            x = lax.conv_general_dilated(
                x, weights[place], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x + weights[place + 1])
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
            x = lrn(x)
        x = x.reshape(len(x), -1)
        for place in (4, 6):
            x = jax.nn.relu(x @ weights[place] + weights[place + 1])
        log = jax.nn.log_softmax(x @ weights[8] + weights[9])
        return -jnp.mean(jnp.take_along_axis(log, targets[:, None], 1))

    @jax.jit
    def step(weights, pixels, targets, drawn):
        if IS_RANDOM:
            x = jax.vmap(distorted)(pixels, *drawn)
        else:
            x = pixels[:, 4 : 4 + CROP, 4 : 4 + CROP].astype(jnp.float32)
        stddev = jnp.maximum(x.std((1, 2, 3), keepdims=True), x[0].size ** -0.5)
        x = (x - x.mean((1, 2, 3), keepdims=True)) / stddev
        loss, gradient = jax.value_and_grad(loss_of)(weights, x, targets)
        return [w - RATE * g for w, g in zip(weights, gradient, strict=True)], loss

    def work(count):
        nonlocal weights
        losses = []
        for _ in range(count):
            chosen = random.permutation(len(labels))[:BATCH]
            drawn = _drawn(random, BATCH)
            weights, loss = step(weights, images[chosen], labels[chosen], drawn)
            losses.append(loss)
        return [float(loss) for loss in losses]

    return work


def limit():
    """Only the net's matrix products; a convolution becomes the product of its patches."""
    shapes = []
    for place, (inner, size) in enumerate(((75, CROP), (1600, CROP // 2))):
        rows = BATCH * size * size
        shapes += [(rows, inner, 64), (inner, rows, 64)]
        if place:
            shapes.append((rows, 64, inner))
    dense = limits.dense(BATCH, (2304, 384, 192, 10))
    return limits.products([*shapes, *dense, (BATCH, 384, 2304)])
