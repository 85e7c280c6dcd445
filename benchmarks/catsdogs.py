"""Cats and dogs, batch 32: training steps per second of MobileNetV2, alpha 1.0, at 160 pixels.

Phase 1 trains the head on the frozen base, phase 2 also the layers from 100 on. Every step reads,
resizes, rotates and mirrors its photos and runs the base on them. Only in `bottlenecks kept`, which
has no augmentation, photos go through the base once. All start from the same weights.
"""

import collections
import functools
import os
import pathlib
import tempfile
import types

import numpy as np

from benchmarks import peers
from benchmarks.contest import OURS, PLAIN, Contestant

UNIT = "steps/s"
BASE = "Keras fit, phase 1"
BATCH = int(os.environ.get("BENCHMARK_BATCH", "32"))
SIZE, ALPHA, FINE_TUNE_AT = 160, 1.0, 100
RATE, FINE_RATE = 1e-4, 1e-5  # of Adam for the head, of RMSProp for fine-tuning
DROPOUT, ROTATION = 0.2, 0.2
# Tests change this, so all contestants see exactly the same photos.
IS_RANDOM = True
PHOTO_SIZE, PHOTO_TYPE = (400, 300), "jpg"

CONTESTANTS = [
    Contestant(BASE, "keras_head", PLAIN, "keras"),
    Contestant("PyTorch, phase 1", "pytorch_head", PLAIN, "torch"),
    Contestant("JAX, phase 1", "jax_head", PLAIN, "jax"),
    Contestant("here: phase 1", "here_head", OURS),
    Contestant("here: phase 1, bottlenecks kept", "here_kept", OURS),
    Contestant("Keras fit, phase 2", "keras_fine", PLAIN, "keras"),
    Contestant("PyTorch, phase 2", "pytorch_fine", PLAIN, "torch"),
    Contestant("JAX, phase 2", "jax_fine", PLAIN, "jax"),
    Contestant("here: phase 2", "here_fine", OURS),
]
NOT_DRAWN = ("here: phase 1, bottlenecks kept",)  # hundreds of times as long as the other bars
STEPS = {"": 4, "here: phase 1, bottlenecks kept": 100}


def _count():
    return int(os.environ.get("BENCHMARK_EXAMPLES", 4 * BATCH))


def _photos():
    """Writes photos of two classes; returns (their folder, their paths in it, their labels)."""
    from PIL import Image

    folder = pathlib.Path(tempfile.mkdtemp(prefix="benchmark-"))
    random = np.random.default_rng(0)
    for number in range(_count()):
        path = folder / ("cats", "dogs")[number % 2] / f"{number:04}.{PHOTO_TYPE}"
        path.parent.mkdir(exist_ok=True)
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        coarse[:, :, 0] //= 1 + number % 2
        Image.fromarray(coarse).resize(PHOTO_SIZE).save(path)
    paths = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))
    labels = np.array([path.startswith("dogs") for path in paths]).astype(np.int32)
    return folder, paths, labels


Convolution = collections.namedtuple(
    "Convolution", "name norm inputs outputs size stride groups is_activated"
)


def net():
    """Returns the net as a list of blocks: (list of Convolution, whether the input is added)."""
    from catsdogs_finetune import mobilenet_v2

    blocks = mobilenet_v2.blocks(ALPHA)
    found = [([Convolution("Conv1", "bn_Conv1", 3, blocks[0].inputs, 3, 2, 1, True)], False)]
    for prefix, inputs, expansion, channels, stride in blocks:
        inner = expansion * inputs
        names = [(f"{prefix}{part}", f"{prefix}{part}_BN") for part in ("expand", "depthwise")]
        convolutions = [
            Convolution(*names[0], inputs, inner, 1, 1, 1, True),
            Convolution(*names[1], inner, inner, 3, stride, inner, True),
            Convolution(f"{prefix}project", f"{prefix}project_BN", inner, channels, 1, 1, 1, False),
        ]
        found.append((convolutions[expansion == 1 :], stride == 1 and inputs == channels))
    size = mobilenet_v2.bottleneck_size(ALPHA)
    last = Convolution("Conv_1", "Conv_1_bn", blocks[-1].channels, size, 1, 1, 1, True)
    return [*found, ([last], False)]


def first_weights():
    """Returns {variable's name: value}; names in the head begin with `prediction`."""
    random = np.random.default_rng(1)
    values = {}
    for convolutions, _ in net():
        for c in convolutions:
            shape = (c.size, c.size, c.inputs // c.groups, c.outputs)
            kernel = random.normal(0, (2 / (c.size**2 * shape[2])) ** 0.5, shape)
            if c.groups > 1:
                values[f"{c.name}/depthwise_kernel"] = kernel.transpose(0, 1, 3, 2)
            else:
                values[f"{c.name}/kernel"] = kernel
            values[f"{c.norm}/gamma"] = random.uniform(0.9, 1.1, c.outputs)
            values[f"{c.norm}/beta"] = random.uniform(-0.1, 0.1, c.outputs)
            values[f"{c.norm}/moving_mean"] = random.uniform(-0.1, 0.1, c.outputs)
            values[f"{c.norm}/moving_variance"] = random.uniform(0.9, 1.1, c.outputs)
    values["prediction/kernel"] = random.normal(0, 0.02, (values["Conv_1/kernel"].shape[-1], 1))
    values["prediction/bias"] = np.zeros(1)
    return {name: value.astype(np.float32) for name, value in values.items()}


def _trained(is_fine):
    """Returns the names of the layers whose variables a phase changes."""
    upper = _layer_names(ALPHA)[FINE_TUNE_AT:] if is_fine else []
    return {*upper, "prediction"}


@functools.cache
def _layer_names(alpha):
    import tensorflow.compat.v1 as tf

    from catsdogs_finetune import mobilenet_v2

    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 32, 32, 3])
        return list(mobilenet_v2.features(images, alpha)[1])


def _keras(is_fine):
    """The Keras tutorial: a dataset of files, augmentation layers, a base."""
    import keras
    from keras import layers

    folder, _, _ = _photos()
    photos = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH, label_mode="binary", verbose=False
    )
    data = photos.repeat().prefetch(2)
    base = keras.applications.MobileNetV2((SIZE, SIZE, 3), ALPHA, False, weights=None)
    base.trainable = is_fine
    if is_fine:
        for layer in base.layers[:FINE_TUNE_AT]:
            layer.trainable = False

    class Inference(layers.Layer):
        """The base in inference mode: `fit` overrides a `training=False` given outside."""

        def __init__(self):
            super().__init__()
            self.base = base

        def call(self, x):
            return self.base(x, training=False)

    inputs = x = keras.Input((SIZE, SIZE, 3))
    if IS_RANDOM:
        x = layers.RandomRotation(ROTATION)(layers.RandomFlip("horizontal")(x))
    x = Inference()(keras.applications.mobilenet_v2.preprocess_input(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(DROPOUT if IS_RANDOM else 0)(x)
    head = layers.Dense(1, name="prediction")
    model = keras.Model(inputs, head(x))
    values = first_weights()
    for layer in [*base.layers, head]:
        for variable in layer.weights:
            name = "depthwise_kernel" if "depthwise/" in variable.path else "kernel"
            name = name if variable.name.endswith("kernel") else variable.name
            variable.assign(values[f"{layer.name}/{name}"])
    optimizer = keras.optimizers.RMSprop(FINE_RATE) if is_fine else keras.optimizers.Adam(RATE)
    model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))

    def work(count):
        return model.fit(data, steps_per_epoch=count, verbose=0).history["loss"]

    return work


def keras_head():
    """Phase 1 of the Keras tutorial."""
    return _keras(is_fine=False)


def keras_fine():
    """Phase 2 of the Keras tutorial."""
    return _keras(is_fine=True)


def _read(path):
    """Returns a photo as Pillow reads and resizes it: uint8 [SIZE, SIZE, 3]."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _pillow_batches():
    """Yields (uint8 [BATCH, SIZE, SIZE, 3], int32 [BATCH]) endlessly; threads read ahead."""
    import concurrent.futures

    folder, paths, labels = _photos()
    random = np.random.default_rng(0)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        waiting = collections.deque()
        while True:
            for chosen in random.permutation(len(paths)).reshape(-1, BATCH):
                jobs = [threads.submit(_read, folder / paths[i]) for i in chosen]
                waiting.append((jobs, labels[chosen]))
                if len(waiting) > 2:
                    jobs, some = waiting.popleft()
                    yield np.stack([job.result() for job in jobs]), some


def _turns(random, count):
    """Returns affine maps, float32 [count, 2, 3]: random rotations, half of them mirrored."""
    turn = random.uniform(-ROTATION, ROTATION, count) * 2 * np.pi
    side = np.where(random.random(count) < 0.5, -1, 1)
    rows = [side * np.cos(turn), -np.sin(turn), 0 * turn, side * np.sin(turn), np.cos(turn)]
    return np.stack([*rows, 0 * turn], axis=1).reshape(-1, 2, 3).astype(np.float32)


def _pytorch(is_fine):
    """Modules, an optimizer, a loop; rotates a whole batch at once."""
    import torch
    from torch import nn

    values = {name: torch.from_numpy(value) for name, value in first_weights().items()}

    class Block(nn.Module):
        """An inverted residual."""

        def __init__(self, convolutions, has_shortcut):
            super().__init__()
            layers = []
            for c in convolutions:
                if c.stride == 2:  # as Keras pads
                    layers.append(nn.ZeroPad2d((0, 1, 0, 1)))
                padding = 0 if c.stride == 2 else c.size // 2
                convolution = nn.Conv2d(
                    c.inputs, c.outputs, c.size, c.stride, padding, groups=c.groups, bias=False
                )
                norm = nn.BatchNorm2d(c.outputs, eps=1e-3)
                with torch.no_grad():
                    if c.groups > 1:
                        kernel = values[f"{c.name}/depthwise_kernel"].permute(2, 3, 0, 1)
                    else:
                        kernel = values[f"{c.name}/kernel"].permute(3, 2, 0, 1)
                    convolution.weight.copy_(kernel)
                    norm.weight.copy_(values[f"{c.norm}/gamma"])
                    norm.bias.copy_(values[f"{c.norm}/beta"])
                    norm.running_mean.copy_(values[f"{c.norm}/moving_mean"])
                    norm.running_var.copy_(values[f"{c.norm}/moving_variance"])
                for name, module in ((c.name, convolution), (c.norm, norm)):
                    module.requires_grad_(name in _trained(is_fine))
                layers += [convolution, norm]
                if c.is_activated:
                    layers.append(nn.ReLU6())
            self.layers, self.has_shortcut = nn.Sequential(*layers), has_shortcut

        def forward(self, x):
            found = self.layers(x)
            return found + x if self.has_shortcut else found

    base = nn.Sequential(*(Block(*block) for block in net())).eval()  # moving averages stay
    base = base.to(memory_format=torch.channels_last)
    dropout, head = (
        nn.Dropout(DROPOUT if IS_RANDOM else 0),
        nn.Linear(base[-1].layers[0].out_channels, 1),
    )
    with torch.no_grad():
        head.weight.copy_(values["prediction/kernel"].T)
        head.bias.copy_(values["prediction/bias"])
    parameters = [p for p in [*base.parameters(), *head.parameters()] if p.requires_grad]
    if is_fine:
        optimizer = torch.optim.RMSprop(parameters, FINE_RATE, alpha=0.9, eps=1e-7)
    else:
        optimizer = torch.optim.Adam(parameters, RATE, eps=1e-7)
    random, batches = np.random.default_rng(0), _pillow_batches()

    def work(count):
        losses = []
        for _ in range(count):
            photos, labels = next(batches)
            images = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 127.5 - 1
            if IS_RANDOM:
                maps = torch.from_numpy(_turns(random, BATCH))
                grid = nn.functional.affine_grid(maps, images.shape, align_corners=False)
                images = nn.functional.grid_sample(
                    images, grid, padding_mode="reflection", align_corners=False
                )
            with torch.set_grad_enabled(is_fine):
                features = base(images).mean((2, 3))
            logits = head(dropout(features))[:, 0]
            targets = torch.from_numpy(labels).float()
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
            losses.append(peers.torch_step(optimizer, loss))
        return losses

    return work


def pytorch_head():
    """Phase 1 in PyTorch."""
    return _pytorch(is_fine=False)


def pytorch_fine():
    """Phase 2 in PyTorch."""
    return _pytorch(is_fine=True)


def _jax(is_fine):
    """A compiled step that also rotates the photos."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    def convolved(weights, c, x):
        kernel = weights[f"{c.name}/{'depthwise_' * (c.groups > 1)}kernel"]
        if c.groups > 1:
            kernel = kernel.transpose(0, 1, 3, 2)
        scale = weights[f"{c.norm}/gamma"] * lax.rsqrt(weights[f"{c.norm}/moving_variance"] + 1e-3)
        x = lax.conv_general_dilated(
            x,
            kernel * scale,
            (c.stride, c.stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=c.groups,
        )
        x = x + weights[f"{c.norm}/beta"] - weights[f"{c.norm}/moving_mean"] * scale
        return jnp.clip(x, 0, 6) if c.is_activated else x

    def turned(image, turn):
        place = (jnp.arange(SIZE) + 0.5) * 2 / SIZE - 1
        y, x = jnp.meshgrid(place, place, indexing="ij")
        x, y = turn @ jnp.stack([x.ravel(), y.ravel(), jnp.ones(SIZE * SIZE)])
        # Reflected at the borders: a zigzag of period 4.
        x, y = (1 - jnp.abs((at + 1) % 4 - 2) for at in (x, y))
        at = [((p + 1) * SIZE - 1) / 2 for p in (y, x)]
        planes = [
            jax.scipy.ndimage.map_coordinates(image[:, :, k], at, 1, "nearest") for k in range(3)
        ]
        return jnp.stack(planes, 1).reshape(SIZE, SIZE, 3)

    def loss_of(trained, frozen, photos, labels, turns, kept):
        weights, x = frozen | trained, photos.astype(jnp.float32) / 127.5 - 1
        if IS_RANDOM:
            x = jax.vmap(turned)(x, turns)
        for convolutions, has_shortcut in net():
            before = x
            for convolution in convolutions:
                x = convolved(weights, convolution, x)
            x = x + before if has_shortcut else x
        features = x.mean((1, 2)) * kept
        logits = (features @ weights["prediction/kernel"] + weights["prediction/bias"])[:, 0]
        return jnp.mean(jax.nn.softplus(logits) - labels * logits)

    def changed(number, value, gradient, first, second):
        if is_fine:  # Keras' RMSProp
            second = 0.9 * second + 0.1 * gradient**2
            return value - FINE_RATE * gradient * lax.rsqrt(second + 1e-7), first, second
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        rate = RATE * jnp.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        return value - rate * first / (jnp.sqrt(second) + 1e-7), first, second

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, number, frozen, *batch):
        trained = {name: value for name, (value, _, _) in state.items()}
        loss, gradients = jax.value_and_grad(loss_of)(trained, frozen, *batch)
        return {
            name: changed(number, state[name][0], gradients[name], *state[name][1:])
            for name in state
        }, loss

    values = first_weights()
    moving = {name for name in values if "moving_" in name}
    names = {n for n in values if n.partition("/")[0] in _trained(is_fine)} - moving
    zeros = {name: np.zeros_like(values[name]) for name in names}
    state = {name: (values[name], zeros[name], zeros[name]) for name in names}
    frozen = {name: jnp.asarray(value) for name, value in values.items() if name not in names}
    random, batches, taken = np.random.default_rng(0), _pillow_batches(), 0
    channels = len(values["prediction/kernel"])

    def work(count):
        nonlocal state, taken
        losses = []
        for _ in range(count):
            photos, labels = next(batches)
            kept = np.ones((), np.float32)
            if IS_RANDOM:
                drawn = random.random((BATCH, channels), np.float32)
                kept = (drawn >= DROPOUT) / np.float32(1 - DROPOUT)
            taken += 1
            turns = _turns(random, BATCH)
            state, loss = step(state, np.float32(taken), frozen, photos, labels, turns, kept)
            losses.append(loss)
        return [float(loss) for loss in losses]

    return work


def jax_head():
    """Phase 1 in JAX."""
    return _jax(is_fine=False)


def jax_fine():
    """Phase 2 in JAX."""
    return _jax(is_fine=True)


def _here(is_fine, is_kept=False):
    import tensorflow.compat.v1 as tf

    from catsdogs_finetune import mobilenet_v2, photo_input, pretrained
    from tutorial_support import image_lists, runs

    folder, paths, labels = _photos()
    splits = np.zeros(len(paths), int)
    images = image_lists.ImageList(folder, ("cats", "dogs"), paths, labels, splits)
    everything = np.arange(len(paths))
    distort = functools.partial(photo_input.rotate_and_flip, ROTATION)
    if not IS_RANDOM:
        distort = photo_input.no_distortion
    with tf.Graph().as_default():
        settings = types.SimpleNamespace(image_size=SIZE, batch_size=BATCH, seed=0)
        photos = photo_input.PhotoInput(images, everything, settings, distort)
        features, layers = mobilenet_v2.features(photos.images, ALPHA)
        seen = mobilenet_v2.bottlenecks(features)
        bottlenecks = tf.placeholder_with_default(seen, seen.shape)
        rate = tf.placeholder(tf.float32, ())
        logits = mobilenet_v2.inference(bottlenecks, 2, mobilenet_v2.dropout(rate, 0))
        variables = mobilenet_v2.names_in_checkpoints(layers)
        loss = mobilenet_v2.loss(logits, photos.labels)
        optimizer, first_layer = mobilenet_v2.adam(RATE), len(layers)
        if is_fine:
            optimizer, first_layer = mobilenet_v2.RMSPropOptimizer(FINE_RATE), FINE_TUNE_AT
        to_train = mobilenet_v2.variables_from(first_layer, layers)
        train_op = mobilenet_v2.training(loss, optimizer, to_train)
        _, of_epoch, _ = mobilenet_v2.totals(logits, photos.labels, loss)
        fetches = [train_op, loss, of_epoch]
        sess = tf.Session(config=runs.session_config())
        values = first_weights()
        values = pretrained.initial_values({n: variables[n] for n in values}, values)
        sess.run(tf.global_variables_initializer(), values)
        photos.begin(sess, 0, 0)
    if is_kept:
        random = np.random.default_rng(0)
        size = mobilenet_v2.bottleneck_size(ALPHA)
        vectors = random.random((len(paths), size), dtype=np.float32)

    def work(count):
        losses = []
        for _ in range(count):
            feed_dict = photos.training_feed
            if is_kept:
                chosen = sess.run(photos.next_indices)
                feed_dict = {bottlenecks: vectors[chosen], photos.labels: labels[chosen]}
            feed_dict = {**feed_dict, rate: DROPOUT if IS_RANDOM else 0.0}
            losses.append(sess.run(fetches, feed_dict)[1])
        return losses

    return work


def here_head():
    """Phase 1 of `catsdogs_finetune.train`."""
    return _here(is_fine=False)


def here_kept():
    """The same with `--no_augmentation`."""
    return _here(is_fine=False, is_kept=True)


def here_fine():
    """Phase 2."""
    return _here(is_fine=True)
