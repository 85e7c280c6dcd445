"""The flower photos with MobileNetV2's real weights, and Inception-v3 at its real size."""

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, bottlenecks, make_base, retrain
from tutorial_support import image_lists

WEIGHTS = {
    "0.35": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
    "1.0": "mobilenet_v2_1.0_224_no_top_dequantized_from_int8_ptq.h5",
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def base_of(alpha, real_data, bases):
    path = bases / f"{alpha}.pb"
    if not path.exists():
        weights = str(real_data / "mobilenet_v2" / WEIGHTS[alpha])
        assert make_base.main(["--alpha", alpha, "--weights", weights, str(path)]) == 0
    return path


@pytest.mark.parametrize(("alpha", "least"), [("0.35", 78), ("1.0", 83)])
def test_photos_are_told_apart(alpha, least, real_data, bases, capsys):
    path = base_of(alpha, real_data, bases)
    accuracies = []
    for seed in range(5):
        flags = ["--image_dir", str(real_data / "flower_photos"), "--base_graph", str(path)]
        flags += ["--split_seed", str(seed), "--testing_percentage", "20"]
        flags += ["--how_many_training_steps", "500", "--learning_rate", "0.1"]
        assert retrain.main([*flags, "--train_dir", f"run{seed}"]) == 0
        final = re.search(r"Final test accuracy = (\S+)%", capsys.readouterr().out)
        accuracies.append(float(final[1]))
    assert np.mean(accuracies) > least, accuracies


def one_by_one(graph_def, paths):
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tf.import_graph_def(graph_def, name="")
        return np.concatenate(
            [
                sess.run("pool_3/_reshape:0", {"DecodeJpeg/contents:0": path.read_bytes()})
                for path in paths
            ]
        )


def test_batched_photos_equal_one_at_a_time(real_data, bases, tmp_path):
    path = base_of("1.0", real_data, bases)
    base = base_graph.described(path)
    frozen = base_graph.load(path, base)
    images = image_lists.create(real_data / "flower_photos")
    chosen = np.arange(0, len(images.paths), 8)
    found = bottlenecks.get_or_create_bottleneck(frozen, images.only(chosen), tmp_path / "store")
    expected = one_by_one(frozen.graph_def, images.files(chosen))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.read(range(len(chosen))), expected, atol=1e-4 * scale)


def test_inception_v3_runs_the_whole_way_at_its_real_size(real_data, capsys):
    assert make_base.main(["--net", "InceptionV3", "--weights", "random", "inception.pb"]) == 0
    assert "2048 values a bottleneck, 299x299 pixels" in capsys.readouterr().out
    flags = ["--image_dir", str(real_data / "flower_photos"), "--base_graph", "inception.pb"]
    assert retrain.main([*flags, "--how_many_training_steps", "20", "--train_dir", "run"]) == 0
    assert "Final test accuracy" in capsys.readouterr().out
