"""Makes data/mobilenet_v2: weights of a narrow MobileNetV2, trained on CIFAR-10 with Keras.

    python data/scripts/make_mobilenet_v2_weights.py /path/to/cifar-10-batches-bin data/mobilenet_v2

They replace the ImageNet weights if these are not available: a net trained on 50,000 small photos
of ten classes. The pictures are enlarged from 32 to 64 pixels, and in the last epochs to 96. The
training takes about half an hour on 2 cores.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

SEED = 20180113
ALPHA = 0.35
STAGES = ((64, 12, 3e-3), (96, 3, 5e-4))  # pixels, epochs, highest learning rate
BATCH = 128
RECORD_BYTES = 3073
MOMENTUM = 0.99  # of the moving mean and variance; Keras' 0.999 is too slow for so few steps


def records(paths):
    """Returns (uint8 [n, 32, 32, 3], uint8 [n]) of CIFAR-10's binary files."""
    values = np.concatenate([np.fromfile(path, np.uint8) for path in paths])
    values = values.reshape(-1, RECORD_BYTES)
    return values[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), values[:, 0]


def batches(images, labels, size, distort):
    """Returns a tf.data.Dataset of batches of enlarged pictures in [-1, 1].

    With `distort`, pictures are shuffled, shifted by up to 4 of their 32 pixels, and mirrored at
    random.
    """
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    if distort:
        data = data.shuffle(len(labels), seed=SEED)

    def prepare(pictures, kinds):
        if distort:
            pictures = tf.pad(pictures, [[0, 0], [4, 4], [4, 4], [0, 0]], "REFLECT")
            pictures = tf.image.random_crop(pictures, [tf.shape(pictures)[0], 32, 32, 3])
            pictures = tf.image.random_flip_left_right(pictures)
        return tf.image.resize(tf.cast(pictures, tf.float32) / 127.5 - 1, [size, size]), kinds

    return data.batch(BATCH).map(prepare, num_parallel_calls=2).prefetch(2)


def main():
    """Trains in stages, evaluates on the test images and writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    flags = parser.parse_args()
    keras.utils.set_random_seed(SEED)
    training = records(sorted(flags.cifar.glob("data_batch_*.bin")))
    testing = records([flags.cifar / "test_batch.bin"])

    base = keras.applications.MobileNetV2(
        (None, None, 3), alpha=ALPHA, include_top=False, weights=None
    )
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    whole = keras.Model(base.input, keras.layers.Dense(10)(pooled))
    for size, epochs, rate in STAGES:
        steps = epochs * -(-len(training[1]) // BATCH)
        schedule = keras.optimizers.schedules.CosineDecay(
            rate / 10, steps - 200, warmup_target=rate, warmup_steps=200
        )
        whole.compile(
            keras.optimizers.AdamW(schedule, weight_decay=0.02),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        whole.fit(
            batches(*training, size, True),
            epochs=epochs,
            validation_data=batches(*testing, size, False),
            verbose=2,
        )
    flags.folder.mkdir(parents=True, exist_ok=True)
    base.save_weights(flags.folder / f"cifar10_{ALPHA}.weights.h5")
    _, accuracy = whole.evaluate(batches(*testing, STAGES[-1][0], False), verbose=2)
    origin = {
        "alpha": ALPHA,
        "trained_on": "CIFAR-10, 50,000 training images",
        "stages": [dict(zip(("pixels", "epochs", "rate"), stage, strict=True)) for stage in STAGES],
        "test_accuracy": round(accuracy, 4),
        "keras": keras.__version__,
        "seed": SEED,
    }
    (flags.folder / "origin.json").write_text(json.dumps(origin, indent=2) + "\n")


if __name__ == "__main__":
    main()
