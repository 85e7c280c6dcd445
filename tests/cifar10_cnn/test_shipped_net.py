"""The shipped frozen net: its two inputs, and its accuracy."""

import io
import json

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from cifar10_cnn import cifar10_input
from tutorial_support import files

FOLDER = files.sample_folder("cifar10_cnn")
ORIGIN = json.loads((FOLDER / "origin.json").read_text())


def run(*feeds_and_fetches):
    graph_def = tf.GraphDef.FromString((FOLDER / "frozen_graph.pb").read_bytes())
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(graph_def, name="")
        return [sess.run(fetches, feed) for feed, fetches in feeds_and_fetches]


def jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=100, subsampling=0)
    return stream.getvalue()


def test_both_entrances_lead_to_the_same_answer():
    pixels = np.full((32, 32, 3), (90, 140, 200), np.uint8)
    pixels[8:24, 8:24] = (200, 60, 40)
    contents = jpeg(pixels)
    decoded = np.asarray(Image.open(io.BytesIO(contents)), np.float32)
    fetches = ["bottleneck:0", "probabilities:0"]
    alone, batch = run(
        ({"DecodeJpeg/contents:0": contents}, fetches),
        ({"images:0": np.stack([decoded, decoded[::-1]])}, fetches),
    )
    assert [value.shape for value in batch] == [(2, 192), (2, 10)]
    for one, several in zip(alone, batch, strict=True):
        np.testing.assert_allclose(one[0], several[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(batch[1].sum(axis=1), 1, rtol=1e-5)


def test_origin_tells_the_run():
    assert ORIGIN["global_step"] == ORIGIN["flags"]["generations"] == 20_000
    assert ORIGIN["flags"]["recipe"] == "best" and ORIGIN["flags"]["batch_size"] == 128
    assert ORIGIN["class_names"][3] == "cat" and len(ORIGIN["class_names"]) == 10
    assert (FOLDER / "frozen_graph.pb").stat().st_size < 5_000_000


def test_real_test_images_are_classified_as_origin_says(real_data):
    (segment,) = cifar10_input.test_records(cifar10_input.find_folder(real_data)[0]).segments
    values = np.fromfile(segment.path, np.uint8).reshape(-1, cifar10_input.RECORD_BYTES)
    images = values[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float32)
    answers = run(
        *[({"images:0": images[i : i + 500]}, "probabilities:0") for i in range(0, 10_000, 500)]
    )
    accuracy = (np.concatenate(answers).argmax(axis=1) == values[:, 0]).mean()
    assert abs(accuracy - ORIGIN["test_accuracy"]) < 5e-4  # rounding differs between CPUs
    assert accuracy >= 0.86
