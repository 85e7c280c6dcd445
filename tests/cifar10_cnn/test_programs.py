"""The CIFAR-10 programs from their command lines, on tiny sets."""

import argparse
import dataclasses
import json
import pathlib
import re
import shutil
import signal
import tempfile

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from PIL import Image

from cifar10_cnn import cifar10, cifar10_input, evaluate, export, predict, train
from cifar10_cnn.trained import TrainedNet
from tests import processes
from tests.cifar10_cnn import records as made
from tests.saved import assert_same, variables
from tutorial_support import event_files, plots

FEW = ["--batch_size", "16", "--output_every", "2", "--eval_every", "4", "--save_every", "4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made.write(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module", params=["cookbook", "best"])
def run(request, data, tmp_path_factory):
    """A finished run of each recipe: (its folder, the lines it printed)."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    flags = ["--recipe", request.param, "--generations", "8", *FEW]
    assert train.main([*flags, "--data_dir", str(data), "--train_dir", str(folder)]) == 0
    return folder


def test_training_prints_saves_and_draws(data, capsys):
    flags = ["--data_dir", str(data), "--train_dir", "run", "--generations", "9", *FEW]
    assert train.main(flags) == 0
    printed = capsys.readouterr().out
    assert "Training on 80 images" in printed
    assert "for 9 generations, recipe cookbook" in printed
    assert re.findall(r"^Generation (\d+): Loss = \d+\.\d{5}$", printed, re.M) == list("2468")
    assert len(re.findall(r"^ --- Test Accuracy= \d+\.\d\d%\.$", printed, re.M)) == 3  # at 4, 8, 9
    for picture in ("loss", "accuracy", "confusion", "misclassified", "filters"):
        assert Image.open(f"run/{picture}.png").size[0] > 300
    assert variables("run")["global_step"] == 9
    tags = {(tag.kind, tag.name): tag.steps for tag in event_files.read("run")}
    assert tags["scalars", "loss"] == tags["scalars", "learning_rate"] == [2, 4, 6, 8]
    assert tags["scalars", "accuracy/test"] == [4, 8, 9]
    for layer in ("conv1", "conv2", "full1", "full2"):
        assert tags["histograms", f"activations/{layer}"] == [4, 8, 9]
        assert tags["scalars", f"sparsity/{layer}"] == [4, 8, 9]
    assert tags["images", "images/image/0"] == [4, 8, 9]


@pytest.mark.slow
def test_learns_to_tell_colours(data, capsys):
    flags = ["--data_dir", str(data), "--train_dir", "run", "--generations", "100"]
    assert train.main([*flags, "--recipe", "cookbook", "--learning_rate", "0.02", *FEW]) == 0
    accuracies = re.findall(r"Accuracy= (\S+)%", capsys.readouterr().out)
    assert float(accuracies[-1]) > 60  # of four classes


@pytest.mark.slow
def test_killed_and_resumed_ends_bit_identical(data, tmp_path, program_environment, capsys):
    flags = ["--data_dir", str(data), "--recipe", "best", "--generations", "26", *FEW]
    assert train.main([*flags, "--train_dir", "whole"]) == 0
    kills = [("Generation 10:", signal.SIGTERM), ("Generation 18:", signal.SIGKILL)]
    for line, number in kills:
        process = processes.start(
            "cifar10_cnn.train",
            *flags,
            "--train_dir",
            "killed",
            env=program_environment,
            cwd=tmp_path,
        )
        code, output = processes.kill_at(process, line, number)
        assert code == (143 if number == signal.SIGTERM else -9), output
    capsys.readouterr()
    assert train.main([*flags, "--train_dir", "killed"]) == 0
    assert "Resuming at step" in capsys.readouterr().out
    names = assert_same("whole", "killed")
    assert any("ExponentialMovingAverage" in name for name in names)
    assert any("Momentum" in name for name in names)
    assert event_files.scalars("whole") == event_files.scalars("killed")


def test_validation_in_place_of_the_test_images(data, capsys, monkeypatch):
    titles, draw = [], plots.draw_predictions
    monkeypatch.setattr(
        plots, "draw_predictions", lambda *a, **k: titles.append(a[5]) or draw(*a, **k)
    )
    flags = ["--data_dir", str(data), "--train_dir", "run", "--generations", "4", *FEW]
    assert train.main([*flags, "--validation_size", "30"]) == 0
    printed = capsys.readouterr().out
    assert "Training on 50 images" in printed
    assert " --- Validation Accuracy= " in printed and "Test Accuracy" not in printed
    assert "accuracy/test" not in event_files.scalars("run")
    assert titles == ["Validation images, run at step 4"]
    found = {}
    for split in ("train", "validation", "test"):
        assert evaluate.main(["--checkpoint", "run", "--split", split]) == 0
        (line,) = re.findall(r"(\d+) of (\d+) images correct", capsys.readouterr().out)
        found[split] = [int(number) for number in line]
    assert [count for _, count in found.values()] == [50, 30, 30]
    (_, (accuracy,)) = event_files.scalars("run")["accuracy/validation"]
    assert accuracy == pytest.approx(found["validation"][0] / 30)


@pytest.mark.slow
def test_what_a_resumed_run_may_change(data, capsys):
    flags = ["--data_dir", str(data), "--train_dir", "run", *FEW]
    assert train.main([*flags, "--recipe", "cookbook", "--generations", "4"]) == 0
    assert train.main([*flags, "--recipe", "cookbook", "--generations", "6"]) == 0
    assert train.main([*flags, "--recipe", "best", "--generations", "6"]) == 2
    assert "recipe was cookbook, is best" in capsys.readouterr().err
    flags[3] = "other"
    assert train.main([*flags, "--recipe", "best", "--generations", "4"]) == 0
    assert train.main([*flags, "--generations", "6"]) == 2  # its cosine schedule depends on the end
    assert "generations was 4, is 6" in capsys.readouterr().err


def test_nan_loss_stops(data, capsys):
    flags = ["--data_dir", str(data), "--train_dir", "run", "--generations", "20", *FEW]
    assert train.main([*flags, "--learning_rate", "1e30", "--recipe", "cookbook"]) == 1
    assert re.search(r"not finite at step \d+", capsys.readouterr().err)


@pytest.mark.usefixtures("seeds_required")
def test_evaluation_agrees_with_training(run, data, capsys):
    assert evaluate.main(["--checkpoint", str(run)]) == 0
    printed, errors = capsys.readouterr()
    has_averages = "best" in str(run)
    assert ("Restoring the moving averages" in errors) == has_averages
    assert ("has no moving averages; restoring the variables" in errors) != has_averages
    (accuracy,) = re.findall(r" --- Test Accuracy= (\S+)%\.", printed)
    at_8 = dict(zip(*event_files.scalars(run)["accuracy/test"], strict=True))[8]
    assert float(accuracy) == pytest.approx(100 * at_8, abs=0.01)
    assert "of 30 images correct" in printed
    assert event_files.scalars(run / "evaluation")["accuracy/test"][0][-1] == 8
    assert (run / "evaluation" / "confusion-test.png").exists()


@pytest.mark.slow
def test_evaluation_beside_a_running_training(data, tmp_path, program_environment, capsys):
    flags = ["--data_dir", str(data), "--generations", "24", *FEW]
    assert train.main([*flags, "--train_dir", "alone"]) == 0
    training = processes.start(
        "cifar10_cnn.train", *flags, "--train_dir", "run", env=program_environment, cwd=tmp_path
    )
    while not training.stdout.readline().startswith("Generation 6"):
        pass
    beside = ["--checkpoint", "run", "--eval_interval_secs", "0.05", "--data_dir", str(data)]
    assert evaluate.main(beside) == 0  # ends by itself after the last generation
    assert "Traceback" not in training.communicate(timeout=60)[1]
    assert training.returncode == 0
    steps, _ = event_files.scalars("run/evaluation")["accuracy/test"]
    assert steps[-1] == 24
    assert len(steps) > 1
    assert_same("alone", "run")  # undisturbed


def test_evaluation_of_what_is_not_there(data, tmp_path, capsys):
    assert evaluate.main(["--checkpoint", "nowhere", "--data_dir", str(data)]) == 2
    assert "no checkpoint 'nowhere'" in capsys.readouterr().err
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.get_variable("other", [3])
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, str(tmp_path / "other.ckpt"))
    assert evaluate.main(["--checkpoint", "other.ckpt", "--data_dir", str(data)]) == 2
    assert "no variable model_definition/full3/full_bias3" in capsys.readouterr().err


def test_prediction_prepares_as_evaluation_does(run, data, tmp_path, capsys):
    records = (data / "test_batch.bin").read_bytes()[: 4 * cifar10_input.RECORD_BYTES]
    values = np.frombuffer(records, np.uint8).reshape(4, -1)[:, 1:]
    images = values.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)
    for number, image in enumerate(images):
        Image.fromarray(image).save(f"{number}.png")
        prepared = TrainedNet.find(run).prepare(None, None, f"{number}.png")
        np.testing.assert_array_equal(prepared, image)
    assert predict.main(["--checkpoint", str(run), "--top", "4", "0.png"]) == 0
    printed = capsys.readouterr().out
    found = dict(re.findall(r"^ +(\S+)%  (\w+)$", printed, re.M))
    assert set(found.values()) == set(made.CLASS_NAMES)
    assert sum(map(float, found)) == pytest.approx(100, abs=0.1)
    Image.fromarray(images[0]).resize((320, 200)).save("wide.jpg")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert predict.main(["--checkpoint", str(run), "bad.png", "wide.jpg"]) == 2
    out, err = capsys.readouterr()
    assert "wide.jpg" in out
    assert "bad.png: cannot be read" in err


def views_as_pictures(image):
    """Ten pictures whose centre crop, the net's input without --views, is one of the ten views."""
    places = [(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)]
    crops = [image[top : top + 24, left : left + 24] for top, left in places]
    return [np.pad(crop[:, ::side], ((4, 4), (4, 4), (0, 0))) for side in (1, -1) for crop in crops]


def test_views_are_averaged_in_evaluation_prediction_and_export(run, data, capsys):
    """The probabilities are the mean, in numpy, of those of ten pictures with one view each."""
    records = cifar10_input.test_records(data)
    images = records.images(range(records.num_examples))
    net = TrainedNet.find(run)
    with net.opened() as (sess, tensors):
        logits = [sess.run(tensors.logits, {tensors.images: views_as_pictures(i)}) for i in images]
    each = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    wanted = {1: each[:, 0], 2: each[:, [0, 5]].mean(axis=1), 10: each.mean(axis=1)}
    assert np.abs(wanted[10] - wanted[1]).max() > 1e-3

    flags = ["--checkpoint", str(run), "--views"]
    Image.fromarray(images[3]).save("3.png")
    for views in (1, 2, 10):
        assert evaluate.main([*flags, str(views), "--output_dir", f"evaluation{views}"]) == 0
        printed = capsys.readouterr().out
        correct = int((wanted[views].argmax(axis=1) == records.labels).sum())
        assert f"{correct} of 30 images correct" in printed
        assert (f"with {views} views" in printed) == (views > 1)
        ending = f"-{views}-views" * (views > 1)
        tags = event_files.scalars(f"evaluation{views}")
        assert tags[f"accuracy/test{ending}"][1] == [pytest.approx(correct / 30)]
        assert pathlib.Path(f"evaluation{views}/confusion-test{ending}.png").exists()

        assert predict.main([*flags, str(views), "--json", "--top", "4", "3.png"]) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        assert answer.get("views", 1) == views
        found = {label["label"]: label["score"] for label in answer["labels"]}
        found = [found[name] for name in made.CLASS_NAMES]
        np.testing.assert_allclose(found, wanted[views][3], rtol=1e-3, atol=1e-6)

        assert export.main([*flags, str(views), "--output_dir", f"export{views}"]) == 0
        model = tf2.saved_model.load(f"export{views}/saved_model")
        fed = tf2.constant(images, tf.float32)
        exported = model.signatures["serving_default"](images=fed)["probabilities"].numpy()
        np.testing.assert_allclose(exported, wanted[views], rtol=1e-3, atol=1e-6)
        origin = json.loads(pathlib.Path(f"export{views}/origin.json").read_text())
        assert origin.get("views", 1) == views
        assert (origin["test_accuracy"] is None) == (views > 1)
    capsys.readouterr()
    assert evaluate.main([*flags, "3"]) == 2
    assert "--views: invalid choice: 3" in capsys.readouterr().err


def test_export_gives_the_same_probabilities_everywhere(run, data, capsys):
    assert export.main(["--checkpoint", str(run), "--export_dir", "out"]) == 0
    again = ["--checkpoint", str(run), "--export_dir", "out", "--tflite"]  # replaces the export
    assert export.main(again) == 0
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    model = tf2.saved_model.load("out/saved_model")
    answer = model.signatures["serving_default"](images=tf2.constant(pictures, tf.float32))
    jpeg = tf2.io.encode_jpeg(pictures[0], quality=95).numpy()
    decoded = tf2.io.decode_jpeg(jpeg).numpy()

    graph_def = tf.GraphDef()
    graph_def.ParseFromString(pathlib.Path("out/frozen_graph.pb").read_bytes())
    assert not [node.op for node in graph_def.node if "Variable" in node.op]
    # docs/how_to/4_tflite_and_onnx.md cuts the graph at the standardized pictures.
    assert "model_definition/truediv" in {node.name for node in graph_def.node}
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(graph_def, name="")
        of_batch, bottlenecks = sess.run(
            ["probabilities:0", "bottleneck:0"], {"images:0": pictures.astype(np.float32)}
        )
        of_jpeg = sess.run("probabilities:0", {"DecodeJpeg/contents:0": jpeg})
        of_decoded = sess.run("probabilities:0", {"images:0": decoded[None].astype(np.float32)})
    np.testing.assert_allclose(answer["probabilities"].numpy(), of_batch, atol=1e-6)
    np.testing.assert_array_equal(answer["classes"].numpy(), of_batch.argmax(axis=1))
    np.testing.assert_allclose(of_jpeg, of_decoded, atol=1e-6)
    lite = tf2.lite.Interpreter("out/model.tflite").get_signature_runner("serving_default")
    of_lite = lite(images=pictures.astype(np.float32))
    np.testing.assert_allclose(of_lite["probabilities"], of_batch, rtol=1e-3, atol=1e-5)
    assert bottlenecks.shape == (3, 192)
    assert bottlenecks.std() > 0

    origin = json.loads(pathlib.Path("out/origin.json").read_text())
    assert origin["global_step"] == 8
    assert origin["class_names"] == list(made.CLASS_NAMES)
    at_8 = dict(zip(*event_files.scalars(run)["accuracy/test"], strict=True))[8]
    assert origin["test_accuracy"] == pytest.approx(at_8, abs=1e-6)
    assert origin["flags"]["batch_size"] == 16


def test_json_is_alone_on_standard_output(run, capsys):
    Image.new("RGB", (40, 40), "red").save("red.png")
    assert predict.main(["--checkpoint", str(run), "--json", "red.png"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["image"] == "red.png" and len(answer["labels"]) == 3


def test_shipped_sample_trains_and_says_what_it_is(capsys):
    assert train.main(["--sample", "--train_dir", "run", "--generations", "2", *FEW]) == 0
    assert "Training on 1000 images of the shipped sample for 2" in capsys.readouterr().out
    assert evaluate.main(["--checkpoint", "run"]) == 0  # finds the sample by itself
    printed = capsys.readouterr().out
    assert "of 200 images correct" in printed and "on the shipped sample" in printed
    assert pathlib.Path("run/evaluation").exists()


def test_an_earlier_default_run_resumes_with_its_recipe(data, capsys):
    flags = ["--data_dir", str(data), "--train_dir", "run", "--generations", "4", *FEW]
    assert train.main([*flags, "--recipe", "best"]) == 0
    assert train.main(flags) == 0
    # Its schedule has ended, so it cannot train further.
    assert "is already at step 4; start anew with --fresh." in capsys.readouterr().out


def test_other_labels_are_other_data(data, tmp_path, capsys):
    flags = ["--train_dir", "run", *FEW, "--data_dir", str(data)]
    assert train.main([*flags, "--generations", "2"]) == 0
    other = tmp_path / "other"
    shutil.copytree(data, other)
    batch = other / "data_batch_1.bin"
    values = bytearray(batch.read_bytes())
    values[7 * cifar10_input.RECORD_BYTES] ^= 1  # of one record
    batch.write_bytes(values)
    assert train.main([*flags[:-1], str(other), "--generations", "4"]) == 2
    assert "the records was" in capsys.readouterr().err
    # A run of an earlier version lacks this checksum, but resumes on its own data.
    kept = json.loads(pathlib.Path("run/flags.json").read_text())
    for name in ("records", "program", "last_step", "labels"):
        del kept[name]
    pathlib.Path("run/flags.json").write_text(json.dumps(kept))
    assert train.main([*flags[:-2], "--generations", "4"]) == 0
    assert "Resuming at step 2" in capsys.readouterr().out


def test_the_cookbooks_checkpoint_resumes_and_evaluates(data, capsys):
    with tf.Graph().as_default(), tf.Session() as sess:
        with tf.variable_scope("model_definition"):
            cifar10.inference(tf.zeros([1, 24, 24, 3]), 4)
        generation_num = tf.Variable(0, trainable=False)  # TensorFlow names it Variable
        assert generation_num.op.name == "Variable" and generation_num.dtype.base_dtype == tf.int32
        sess.run(tf.global_variables_initializer())
        sess.run(generation_num.assign(6))
        pathlib.Path("run").mkdir()
        tf.train.Saver().save(sess, "run/model.ckpt", global_step=6)
        kernel = sess.run(tf.trainable_variables()[0])
    on = ["--data_dir", str(data)]
    assert evaluate.main(["--checkpoint", "run", *on]) == 0
    assert re.search(r"Generation 6: \d+ of 30 images correct", capsys.readouterr().out)
    flags = [*on, "--train_dir", "run", "--generations", "7", "--learning_rate", "0", *FEW]
    assert train.main(flags) == 0
    assert "Resuming at step 6 from 'run/model.ckpt-6'" in capsys.readouterr().out
    saved = variables("run")
    assert saved["global_step"] == 7 and saved["global_step"].dtype == np.int64
    assert saved["model_definition/conv1/conv_kernel1"].tobytes() == kernel.tobytes()


def test_the_training_graph_has_few_boxes(run):
    meta_graph = tf.MetaGraphDef()
    meta_graph.ParseFromString((run / "model.ckpt-8.meta").read_bytes())
    boxes = {node.name.split("/")[0] for node in meta_graph.graph_def.node}
    assert len(boxes) <= 25, sorted(boxes)
    assert {"training_input", "test_input", "model_definition", "test_net", "training"} <= boxes
    placeholders = [n.name for n in meta_graph.graph_def.node if n.op == "Placeholder"]
    assert "training_input/first_step" in placeholders


def test_named_data_unpacks_no_sample_and_the_sample_needs_no_cache(data, monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPH_TUTORIALS_DATA", "/dev/null/cache")  # not writable
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    flags = argparse.Namespace(data_dir=str(data), sample=False, labels=None)
    assert cifar10_input.find(flags, {}) == (data, False)
    assert not (tmp_path / "temporary").exists()
    for named in (["--sample"], []):  # also if the download fails
        remote = cifar10_input.ARCHIVE
        local = dataclasses.replace(remote, urls=("http://127.0.0.1:9/a",))
        monkeypatch.setattr(cifar10_input, "ARCHIVE", local)
        flags = [*named, "--train_dir", f"run{len(named)}", "--generations", "1", *FEW]
        assert train.main(flags) == 0
    assert list((tmp_path / "temporary").glob(".cifar10-sample*"))
