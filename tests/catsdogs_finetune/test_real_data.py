"""Photos of cats and dogs with MobileNetV2's real weights."""

import re

import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, photo_input, pretrained, train
from tests import pipelines


def weights_of(alpha, real_data):
    (path,) = (real_data / "mobilenet_v2").glob(f"*_{alpha}_224_*.h5")
    return path


@pytest.mark.parametrize("alpha", [0.35, 1.0])
def test_features_of_photos_equal_keras(alpha, real_data):
    images = photo_input.find_images(real_data / "cats_and_dogs_filtered")
    chosen = np.arange(0, len(images.paths), 50)
    ((photos, _),) = pipelines.elements(
        lambda: photo_input.evaluation_batches(images, chosen, 160, len(chosen))
    )
    net = keras.applications.MobileNetV2((160, 160, 3), alpha, include_top=False, weights=None)
    net.load_weights(weights_of(alpha, real_data))
    expected = net(photos, training=False).numpy()
    with tf.Graph().as_default(), tf.Session() as sess:
        features, layers = mobilenet_v2.features(tf.constant(photos), alpha)
        variables = mobilenet_v2.weights(layers)
        values = pretrained.read(weights_of(alpha, real_data), variables)
        sess.run(tf.global_variables_initializer(), pretrained.initial_values(variables, values))
        found = sess.run(features)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


@pytest.mark.parametrize(
    ("alpha", "after_head", "after_both"), [(1.0, 0.83, 0.95), (0.35, 0.75, 0.9)]
)
def test_both_phases_reach_the_published_kind_of_accuracy(
    alpha, after_head, after_both, real_data, capsys
):
    flags = ["--data_dir", str(real_data / "cats_and_dogs_filtered"), "--train_dir", "run"]
    assert train.main([*flags, "--weights", str(weights_of(alpha, real_data))]) == 0
    printed = capsys.readouterr().out
    assert "300 training, 122 validation, 28 testing images" in printed
    found = re.findall(r"validation loss \S+, accuracy (\S+)$", printed, re.M)
    before, *epochs = map(float, found)
    assert len(epochs) == 20 and before < 0.65
    assert epochs[9] > after_head and epochs[19] > after_both, epochs


@pytest.mark.parametrize(("size", "least"), [(160, 142), (224, 147)])
def test_a_head_trained_until_it_converges_needs_no_fine_tuning(size, least, real_data, capsys):
    """The command of README.md; `least` of 150 held-out photos are 94.7% and 98.0%."""
    data = ["--data_dir", str(real_data / "cats_and_dogs_filtered"), "--train_dir", "run"]
    flags = ["--weights", str(weights_of(1.0, real_data)), "--image_size", str(size)]
    flags += ["--no_augmentation", "--batch_size", "8", "--initial_epochs", "50"]
    flags += ["--fine_tune_epochs", "0", "--learning_rate", "0.001", "--dropout", "0.5"]
    assert train.main([*data, *flags]) == 0
    printed = capsys.readouterr().out
    shares = re.findall(r"validation loss \S+, accuracy (\S+)$", printed, re.M)
    tested = re.search(r"Accuracy on the testing images: (\S+) \(28 images\)", printed)
    assert round(122 * float(shares[-1])) + round(28 * float(tested[1])) >= least
