"""All tf.data pipelines run without the autotuner, which makes a session wait on one core."""

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import photo_input
from cifar10_cnn import cifar10_input
from mnist_mechanics import input_pipeline
from tests import painted
from tests.cifar10_cnn import records


def test_no_pipeline_is_autotuned(tmp_path):
    folder = records.write(tmp_path / "set")
    training, test = cifar10_input.training_records(folder), cifar10_input.test_records(folder)
    painted.write_pictures(tmp_path / "photos", 3)
    photos = photo_input.find_images(tmp_path / "photos")
    with tf.Graph().as_default():
        step = tf.constant(0, tf.int64)
        pixels, labels = tf.zeros([4, 784], tf.uint8), tf.zeros([4], tf.uint8)
        pipelines = [
            cifar10_input.training_batches(training, 8, 0, step, lambda images, seed: images),
            cifar10_input.evaluation_batches(test),
            input_pipeline.training_dataset(pixels, labels, 2, 0, step),
            input_pipeline.training_blocks(pixels, labels, 2, 0, step, 1),
            input_pipeline.evaluation_dataset(pixels, labels, 2),
            photo_input.evaluation_batches(photos, np.arange(2), 32, 2),
            photo_input.training_batches(
                photos, np.arange(2), 32, 2, 0, step, photo_input.no_distortion
            ),
        ]
        for pipeline in pipelines:
            assert pipeline.options().autotune.enabled is False
