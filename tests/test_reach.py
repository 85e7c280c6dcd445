"""Runs exported nets in other software: ONNX Runtime and TensorFlow's saved_model_cli."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from mnist_mechanics import export, mnist
from tests.conftest import REPOSITORY
from tutorial_support import checkpoints, files


@pytest.mark.slow
def test_onnx_runtime_runs_the_shipped_frozen_graph(tmp_path, program_environment):
    for package in ("tf2onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install tf2onnx onnxruntime")
    import onnxruntime

    frozen = files.sample_folder("cifar10_cnn") / "frozen_graph.pb"
    # The command in cifar10_cnn/README.md.
    command = [sys.executable, "-m", "tf2onnx.convert", "--graphdef", str(frozen)]
    command += ["--inputs", "images:0", "--outputs", "probabilities:0"]
    command += ["--ignore_default", "images", "--output", str(tmp_path / "model.onnx")]
    subprocess.run(command, check=True, env=program_environment, timeout=500)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (found,) = session.run(["probabilities:0"], {"images:0": images})
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(tf.GraphDef.FromString(frozen.read_bytes()), name="")
        expected = sess.run("probabilities:0", {"images:0": images})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_opencv_reads_what_its_page_cuts_out_of_the_shipped_frozen_graph(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="pip install opencv-python-headless")
    page = (REPOSITORY / "docs" / "how_to" / "4_tflite_and_onnx.md").read_text()
    names = {}
    exec(page.partition("<!-- opencv -->\n```python\n")[2].partition("```")[0], names)
    frozen, begin = (
        files.sample_folder("cifar10_cnn") / "frozen_graph.pb",
        "model_definition/truediv:0",
    )
    output = str(tmp_path / "opencv.pb")
    names["cut"](frozen, begin, [None, 24, 24, 3], "probabilities", output)
    images = np.random.default_rng(0).normal(0, 1, (3, 24, 24, 3)).astype(np.float32)
    net = cv2.dnn.readNetFromTensorflow(output)
    net.setInput(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(tf.GraphDef.FromString(frozen.read_bytes()), name="")
        expected = sess.run("probabilities:0", {begin: images})
    np.testing.assert_allclose(net.forward("probabilities"), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs_an_export(tmp_path, program_environment):
    images = np.random.default_rng(0).uniform(0, 1, (5, 784)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(0)
        probabilities = tf.nn.softmax(mnist.inference(tf.constant(images), 128, 32))
        tf.train.get_or_create_global_step()
        sess.run(tf.global_variables_initializer())
        checkpoints.Saver().save(sess, str(tmp_path / "model.ckpt"), global_step=0)
        expected = sess.run(probabilities)
    target = ["--checkpoint", str(tmp_path / "model.ckpt-0"), "--output_dir", str(tmp_path / "out")]
    assert export.main(target) == 0
    np.save(tmp_path / "images.npy", images)

    def cli(*arguments):
        program = pathlib.Path(sys.executable).with_name("saved_model_cli")
        where = ["--dir", str(tmp_path / "out" / "saved_model"), "--tag_set", "serve"]
        where += ["--signature_def", "serving_default"]
        command = [str(program), arguments[0], *where, *arguments[1:]]
        done = subprocess.run(
            command,
            check=True,
            env=program_environment,
            timeout=500,
            capture_output=True,
            text=True,
        )
        return done.stdout

    assert "shape: (-1, 784)" in cli("show")
    cli("run", "--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", str(tmp_path / "got"))
    found = np.load(tmp_path / "got" / "probabilities.npy")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
