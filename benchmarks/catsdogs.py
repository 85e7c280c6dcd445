"""Cats and dogs, batch 32: training steps a second of MobileNetV2, alpha 1.0, at 160 pixels.

Both phases: the head alone on the frozen base, then with it the layers from 100 on. Photos are
read, resized, turned and mirrored, and shown to the net anew in every step; but in `bottlenecks
kept`, where nothing is distorted, they go through the base once.
"""

import os
import pathlib
import tempfile
import types

import numpy as np

from benchmarks.contest import OURS, PLAIN, Contestant

UNIT = "steps/s"
BASE = "Keras fit, phase 1"
BATCH = int(os.environ.get("BENCHMARK_BATCH", "32"))
SIZE, ALPHA, FINE_TUNE_AT = 160, 1.0, 100
PHOTOS = 4 * BATCH

CONTESTANTS = [
    Contestant(BASE, "keras_head", PLAIN, "keras"),
    Contestant("here: phase 1", "here_head", OURS),
    Contestant("here: phase 1, bottlenecks kept", "here_kept", OURS),
    Contestant("Keras fit, phase 2", "keras_fine", PLAIN, "keras"),
    Contestant("here: phase 2", "here_fine", OURS),
]
STEPS = {"": PHOTOS // BATCH, "here: phase 1, bottlenecks kept": 100}


def _photos():
    """Writes photos of two classes; returns their folder."""
    from PIL import Image

    folder = pathlib.Path(tempfile.mkdtemp(prefix="benchmark-"))
    random = np.random.default_rng(0)
    for number in range(PHOTOS):
        path = folder / ("cats", "dogs")[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((400, 300)).save(path)
    return folder


def _keras(is_fine):
    """The tutorial as Keras teaches it: files as a dataset, layers that distort, a base."""
    import keras
    from keras import layers

    data = keras.utils.image_dataset_from_directory(
        _photos(), image_size=(SIZE, SIZE), batch_size=BATCH, label_mode="binary", verbose=False
    ).prefetch(2)
    base = keras.applications.MobileNetV2((SIZE, SIZE, 3), ALPHA, False, weights=None)
    base.trainable = is_fine
    if is_fine:
        for layer in base.layers[:FINE_TUNE_AT]:
            layer.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.RandomRotation(0.2)(layers.RandomFlip("horizontal")(inputs))
    x = base(keras.applications.mobilenet_v2.preprocess_input(x), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(1)(x))
    optimizer = keras.optimizers.RMSprop(1e-5) if is_fine else keras.optimizers.Adam(1e-4)
    model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))

    def work(count):
        epochs = count // (PHOTOS // BATCH)
        return model.fit(data, epochs=epochs, verbose=0).history["loss"]

    return work


def keras_head():
    """Phase 1 of the Keras tutorial."""
    return _keras(is_fine=False)


def keras_fine():
    """Phase 2 of the Keras tutorial."""
    return _keras(is_fine=True)


def _here(op, is_kept=False):
    import functools

    import tensorflow.compat.v1 as tf

    from catsdogs_finetune import mobilenet_v2, photo_input, train
    from tutorial_support import image_lists, sessions

    folder = _photos()
    paths = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.jpg"))
    labels = np.array([path.startswith("dogs") for path in paths]).astype(np.int32)
    splits = np.zeros(len(paths), int)
    images = image_lists.ImageList(folder, ("cats", "dogs"), paths, labels, splits)
    flags = types.SimpleNamespace(
        alpha=ALPHA,
        seed=0,
        fine_tune_at=FINE_TUNE_AT,
        learning_rate=1e-4,
        fine_tune_rate=1e-5,
    )
    everything = np.arange(len(paths))
    distort = functools.partial(photo_input.rotate_and_flip, 0.2)
    with tf.Graph().as_default():
        photos = photo_input.PhotoInput(images, everything, SIZE, BATCH, 0, distort)
        net = train.build_graph(flags, 2, photos)
        sess = tf.Session(config=sessions.config())
        sess.run(tf.global_variables_initializer())
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
                feed_dict = {net.bottlenecks: vectors[chosen], photos.labels: labels[chosen]}
            feed_dict = {**feed_dict, net.dropout_rate: 0.2}
            fetches = [getattr(net, op), net.loss, net.add_to_epoch]
            losses.append(sess.run(fetches, feed_dict)[1])
        return losses

    return work


def here_head():
    """Phase 1 of `catsdogs_finetune.train`."""
    return _here("head_op")


def here_kept():
    """The same with `--no_augmentation`."""
    return _here("head_op", is_kept=True)


def here_fine():
    """Phase 2."""
    return _here("fine_tune_op")
