"""The flowers programs from their command lines, on tiny folders and graphs."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector

from flowers_transfer import base_graph, bottlenecks, evaluate, export, label_image, retrain
from tests import loopback, painted, processes
from tests.flowers_transfer import tiny
from tests.saved import assert_same, variables
from tutorial_support import event_files, files, image_lists

FEW = ["--how_many_training_steps", "300", "--learning_rate", "1", "--train_batch_size", "20"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with pictures, a base, and a finished run; tests only read it."""
    folder = tmp_path_factory.mktemp("made")
    painted.write_pictures(folder / "photos", count=30)
    tiny.write_graph(folder / "base.pb")
    assert retrain.main([*where(folder), *FEW, "--train_dir", str(folder / "run")]) == 0
    return folder


def where(folder):
    return [
        *("--image_dir", str(folder / "photos"), "--base_graph", str(folder / "base.pb")),
        *("--bottleneck_dir", str(folder / "bottlenecks")),
    ]


def test_training_prints_saves_and_draws(made, capsys):
    assert retrain.main([*where(made), *FEW, "--train_dir", "run"]) == 0
    printed = capsys.readouterr().out
    accuracies = re.findall(
        r"^Step (\d+): Validation accuracy on random sampled (\d+) examples = (\d+\.\d)%$",
        printed,
        re.M,
    )
    assert [step for step, _, _ in accuracies] == ["100", "200", "300"]
    final = re.search(r"^Final test accuracy = (\d+\.\d)% \(N=(\d+)\)$", printed, re.M)
    assert float(final[1]) > 90 and int(final[2]) >= 3
    assert variables("run")["global_step"] == 300
    for picture in ("accuracy", "loss", "confusion", "misclassified", "bottlenecks"):
        assert Image.open(f"run/{picture}.png").size[0] > 300
    tags = {tag.name: tag for tag in event_files.read("run")}
    for quantity in ("accuracy", "loss"):
        for split in ("train", "validation"):
            assert tags[f"{quantity}/{split}"].steps == [100, 200, 300]
    assert tags["loss/train"].values[-1] < 0.5
    assert tags["accuracy/test"].steps == [300]
    assert tags["accuracy/test"].values[0] == pytest.approx(float(final[1]) / 100, abs=1e-3)
    assert tags["variables/final_training_ops/weights"].kind == "histograms"
    shares = [float(share) / 100 for _, _, share in accuracies]
    assert tags["accuracy/validation"].values == pytest.approx(shares, abs=1e-3)
    assert tags["loss/validation"].values != tags["accuracy/validation"].values


def test_projector_files_fit_each_other(made):
    text = (made / "run/projector_config.pbtxt").read_text()
    (embedding,) = text_format.Parse(text, projector.ProjectorConfig()).embeddings
    vectors = np.loadtxt(made / "run/bottlenecks.tsv", delimiter="\t")
    lines = (made / "run/bottlenecks_labels.tsv").read_text().splitlines()
    assert vectors.shape == (90, tiny.VALUES) and len(lines) == 91
    assert lines[0] == "class\timage" and lines[1].startswith("blue\tblue/")
    assert embedding.tensor_path == "bottlenecks.tsv"
    assert embedding.metadata_path == "bottlenecks_labels.tsv"


@pytest.mark.slow
def test_killed_and_resumed_ends_bit_identical(made, tmp_path, program_environment, capsys):
    wanted = [*where(made), "--train_batch_size", "20", "--how_many_training_steps", "9000"]
    wanted += ["--sampling", "image", "--momentum", "0.5"]
    assert retrain.main([*wanted, "--train_dir", "whole"]) == 0
    for line, number in (("Step 2500:", signal.SIGTERM), ("Step 5500:", signal.SIGKILL)):
        process = processes.start(
            "flowers_transfer.retrain",
            *wanted,
            "--train_dir",
            "killed",
            env=program_environment,
            cwd=tmp_path,
        )
        code, output = processes.kill_at(process, line, number)
        assert code == (143 if number == signal.SIGTERM else -number), output
    capsys.readouterr()
    assert retrain.main([*wanted, "--train_dir", "killed"]) == 0
    assert "Resuming at step" in capsys.readouterr().out
    assert any("Momentum" in name for name in assert_same("whole", "killed"))
    assert event_files.scalars("whole") == event_files.scalars("killed")


def test_validation_draws_another_batch_each_time(made, monkeypatch, capsys):
    drawn = {}
    real = bottlenecks.get_random_cached_bottlenecks

    def spy(found, sampler, how_many, step, *rest):
        vectors, labels = real(found, sampler, how_many, step, *rest)
        drawn.setdefault(how_many, []).append(vectors.tobytes())
        return vectors, labels

    monkeypatch.setattr(bottlenecks, "get_random_cached_bottlenecks", spy)
    few = ["--how_many_training_steps", "9", "--eval_step_interval", "3", "--train_batch_size", "8"]
    assert retrain.main([*where(made), *few, "--validation_batch_size", "5"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("on random sampled 5 examples") == 3
    assert len(drawn[8]) == len(set(drawn[8])) == 9
    assert len(drawn[5]) == len(set(drawn[5])) == 3


def test_weight_decay_makes_the_trained_weights_smaller(made):
    few = ["--how_many_training_steps", "50", "--learning_rate", "0.5"]
    norms = []
    for number, decay in enumerate(("0", "0.5")):
        run = ["--train_dir", f"run{number}", "--weight_decay", decay]
        assert retrain.main([*where(made), *few, *run]) == 0
        norms.append(np.linalg.norm(variables(f"run{number}")["final_training_ops/weights"]))
    assert norms[1] < 0.7 * norms[0]


def test_a_loss_that_is_not_finite_ends_training_and_is_not_saved(made, capsys):
    few = ["--how_many_training_steps", "100", "--learning_rate", "1e4", "--weight_decay", "10"]
    assert retrain.main([*where(made), *few, "--train_dir", "run"]) == 1
    assert re.search(r"the loss is not finite at step \d", capsys.readouterr().err)
    assert not list(pathlib.Path("run").glob("model.ckpt*"))


def test_a_run_goes_on_without_the_flags_that_name_its_data(made, capsys):
    shutil.copytree(made / "run", "run")
    more = [*FEW, "--how_many_training_steps", "310", "--train_dir", "run"]
    assert retrain.main([*more, "--bottleneck_dir", str(made / "bottlenecks")]) == 0
    printed = capsys.readouterr().out
    assert f"images in '{made / 'photos'}'" in printed and "Resuming at step 300" in printed


def test_a_run_of_version_0_1_0_goes_on_and_is_evaluated(capsys):
    """It saved the paths of the shipped sample and base, and the description of the base."""
    flags = ["--sample", "--train_dir", "run"]
    assert retrain.main([*flags, "--how_many_training_steps", "20"]) == 0
    path = pathlib.Path("run/flags.json")
    kept = json.loads(path.read_text())
    assert kept["base_graph"] == "cifar10" and kept["image_dir"] is None and kept["sample"]
    for name in ("program", "last_step", *base_graph.DESCRIBING_FLAGS):
        del kept[name]
    kept |= {"image_dir": "/moved/drawn_flowers", "base_graph": "/moved/frozen_graph.pb"}
    path.write_text(json.dumps(kept))
    for argv in ([], ["--split", "training"]):
        assert evaluate.main(["--checkpoint", "run", *argv]) == 0
    assert export.main(["--checkpoint", "run"]) == 0
    capsys.readouterr()
    assert retrain.main(["--train_dir", "run", "--how_many_training_steps", "30"]) == 0
    assert "Resuming at step 20" in capsys.readouterr().out


def test_flags_that_contradict_the_run_are_refused(made, capsys):
    shutil.copytree(made / "run", "run")
    base = [*where(made), *FEW, "--train_dir", "run"]
    assert retrain.main([*base, "--how_many_training_steps", "310"]) == 0
    assert retrain.main([*base, "--learning_rate", "0.5"]) == 2
    assert "--learning_rate was 1.0, is 0.5" in capsys.readouterr().err
    assert retrain.main([*base, "--learning_rate", "0.5", "--fresh"]) == 0


def test_training_with_distortions_evaluates_rightly(made, capsys):
    some = ["--flip_left_right", "--random_crop", "10", "--random_scale", "10"]
    some += ["--random_brightness", "10", "--how_many_training_steps", "40", "--learning_rate", "2"]
    some += ["--train_batch_size", "30"]
    assert retrain.main([*where(made), *some, "--train_dir", "run"]) == 0
    final = re.search(r"Final test accuracy = (\S+)%", capsys.readouterr().out)
    assert float(final[1]) > 90
    assert retrain.main([*where(made), *some, "--train_dir", "again"]) == 0
    assert_same("run", "again")


def test_bad_pictures_are_listed_at_the_end(made, capsys):
    shutil.copytree(made / "photos", "photos")
    pathlib.Path("photos/red/page.jpg").write_text("<html>")
    flags = ["--image_dir", "photos", "--base_graph", str(made / "base.pb"), *FEW]
    assert retrain.main([*flags, "--train_dir", "run"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("Final test accuracy") < printed.index("were left out: 1\n")
    assert "  photos/red/page.jpg: cannot be read" in printed


@pytest.mark.slow
def test_names_that_are_no_proper_text_are_no_obstacle(made, program_environment):
    shutil.copytree(made / "photos", "photos")
    picture = pathlib.Path("photos/red/001.jpg").read_bytes()
    pathlib.Path(os.fsdecode(b"photos/red/\xfe.jpg")).write_bytes(picture)
    pathlib.Path(os.fsdecode(b"photos/red/bad \xff.jpg")).write_bytes(b"no picture")
    command = [sys.executable, "-m", "flowers_transfer.retrain", "--image_dir", "photos"]
    done = subprocess.run(
        [*command, "--base_graph", made / "base.pb", *FEW],
        env=program_environment | {"PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert rb"  photos/red/bad \xff.jpg: cannot be read" in done.stdout


def test_misclassified_images_are_printed_on_request(made, capsys):
    few = ["--how_many_training_steps", "1", "--learning_rate", "0"]
    few += ["--print_misclassified_test_images", "--testing_percentage", "40"]
    assert retrain.main([*where(made), *few, "--train_dir", "run"]) == 0
    printed = capsys.readouterr().out
    mistakes = re.findall(r"^(?:blue|green|red)/\d{3}\.jpg  (\w+)$", printed, re.M)
    accuracy, count = re.search(r"Final test accuracy = (\S+)% \(N=(\d+)\)", printed).groups()
    assert len(mistakes) == round(int(count) * (1 - float(accuracy) / 100)) > 5


@pytest.mark.usefixtures("seeds_required")
def test_evaluation_agrees_with_training(made, capsys):
    assert evaluate.main(["--checkpoint", str(made / "run"), "--output_dir", "out"]) == 0
    printed = capsys.readouterr().out
    found = re.search(r"Accuracy on the test images = (\S+)% \(N=(\d+)\)", printed)
    (expected,) = event_files.scalars(made / "run")["accuracy/test"][1]
    assert float(found[1]) == pytest.approx(100 * expected, abs=0.051)
    assert Image.open("out/confusion-test.png").size[0] > 200
    assert event_files.scalars("out")["accuracy/test"][0] == [300]
    split = ["--split", "training", "--output_dir", "out"]  # the name in version 0.1.0
    assert evaluate.main(["--checkpoint", str(made / "run"), *split]) == 0
    accuracy, count = re.search(r"= (\S+)% \(N=(\d+)\)", capsys.readouterr().out).groups()
    assert float(accuracy) > 90 and int(count) > 60


def test_evaluation_goes_beside_the_checkpoint(made):
    shutil.copytree(made / "run", "run")
    assert evaluate.main(["--checkpoint", "run", "--split", "testing"]) == 0
    assert Image.open("run/evaluation/confusion-test.png").size[0] > 200


def test_evaluation_splits_as_the_training_did(made, monkeypatch):
    """Otherwise it would count training images among the test images."""
    few = ["--how_many_training_steps", "1", "--split_seed", "7", "--testing_percentage", "30"]
    assert retrain.main([*where(made), *few, "--train_dir", "run"]) == 0
    used = []
    real = bottlenecks.get_test_bottlenecks
    monkeypatch.setattr(
        bottlenecks,
        "get_test_bottlenecks",
        lambda found, split: used.append(found.images.fingerprint()) or real(found, split),
    )
    assert evaluate.main(["--checkpoint", "run"]) == 0
    assert used == [json.loads(pathlib.Path("run/flags.json").read_text())["images"]]
    seed_0 = image_lists.create(made / "photos", 30, 10).fingerprint()
    assert used != [seed_0]


def test_evaluation_of_other_classes_is_refused(made, capsys):
    painted.write_pictures(
        pathlib.Path("others"), colours={"cyan": (0, 200, 200), "red": (200, 0, 0)}
    )
    assert evaluate.main(["--checkpoint", str(made / "run"), "--image_dir", "others"]) == 2
    assert "has the classes cyan, red, but the head was trained on" in capsys.readouterr().err


def test_labels_as_text_and_json_agree_with_evaluation(made, capsys):
    pictures = [str(made / "photos/red/000.jpg"), str(made / "photos/blue")]
    run = ["--checkpoint", str(made / "run")]
    assert label_image.main([*pictures, *run, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert len(results) == 31
    for result in results:
        assert result["labels"][0]["label"] == pathlib.Path(result["image"]).parent.name
        assert sum(label["score"] for label in result["labels"]) == pytest.approx(1)
    assert label_image.main([pictures[0], *run, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == pictures[0] and len(lines) == 3
    assert lines[1] == f"  red (score = {results[0]['labels'][0]['score']:.5f})"


def test_a_bad_picture_does_not_keep_the_others_from_being_labelled(made, capsys):
    pathlib.Path("bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    good = str(made / "photos/green/001.jpg")
    assert label_image.main(["bad.jpg", good, "--checkpoint", str(made / "run")]) == 2
    captured = capsys.readouterr()
    assert "green (score" in captured.out and captured.err.startswith(
        "error: bad.jpg: cannot be read"
    )


@pytest.mark.usefixtures("seeds_required")
def test_export_gives_the_same_probabilities_everywhere(made, capsys):
    run = ["--checkpoint", str(made / "run"), "--output_dir", "out"]
    for _ in range(2):  # the second replaces the first
        assert export.main([*run, "--tflite"]) == 0
    assert pathlib.Path("out/labels.txt").read_text().split() == ["blue", "green", "red"]
    origin = json.loads(pathlib.Path("out/origin.json").read_text())
    assert origin["global_step"] == 300 and origin["test_accuracy"] > 0.9
    path = made / "photos/green/002.jpg"
    capsys.readouterr()
    assert label_image.main([str(path), "--json", "--checkpoint", str(made / "run")]) == 0
    labels = json.loads(capsys.readouterr().out)[0]["labels"]
    scores = {label["label"]: label["score"] for label in labels}
    expected = [scores[name] for name in ("blue", "green", "red")]

    frozen = tf.GraphDef.FromString(pathlib.Path("out/frozen_graph.pb").read_bytes())
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tf.import_graph_def(frozen, name="")
        found = sess.run("final_result:0", {"DecodeJpeg/contents:0": path.read_bytes()})
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-7)
    signatures = tf2.saved_model.load("out/saved_model").signatures
    found = signatures["jpeg"](jpeg=tf2.constant(path.read_bytes()))
    np.testing.assert_allclose(found["probabilities"][0], expected, rtol=1e-5, atol=1e-7)
    assert found["classes"].numpy().tolist() == [1]

    images = np.random.default_rng(0).uniform(-1, 1, (3, 12, 12, 3)).astype(np.float32)
    serve = signatures["serving_default"]
    assert serve.structured_input_signature[1]["images"].shape.as_list() == [None, 12, 12, 3]
    batch = serve(images=tf2.constant(images))
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tensors = base_graph.attach(base_graph.load(made / "base.pb", tiny.BASE))
        vectors = sess.run(tensors.bottlenecks, {tensors.images: images})
    values = variables(made / "run")
    weights, biases = (values[f"final_training_ops/{name}"] for name in ("weights", "biases"))
    exponentials = np.exp(vectors @ weights + biases)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(batch["probabilities"], expected, rtol=1e-4)
    np.testing.assert_array_equal(batch["classes"], expected.argmax(axis=1))

    lite = tf2.lite.Interpreter("out/model.tflite")
    found = lite.get_signature_runner("serving_default")(images=images)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-3)
    np.testing.assert_array_equal(found["classes"], expected.argmax(axis=1))


def test_a_graph_of_ones_own_works_by_flags(made, capsys):
    tiny.write_graph("own.pb", jpeg_input=False)
    described = ["--jpeg_tensor", "none", "--image_tensor", "Mul:0", "--image_size", "12"]
    described += ["--image_mean", "128", "--image_scale", "0.0078125"]
    described += ["--bottleneck_tensor", "pool_3/_reshape:0"]
    flags = ["--image_dir", str(made / "photos"), "--base_graph", "own.pb", *described, *FEW]
    assert retrain.main([*flags, "--train_dir", "run"]) == 0
    for name, value in variables(made / "run").items():
        np.testing.assert_allclose(variables("run")[name], value, rtol=1e-4, atol=1e-5)
    picture = str(made / "photos/red/000.jpg")
    capsys.readouterr()
    assert label_image.main([picture, "--checkpoint", "run", "--top", "1"]) == 0
    assert "  red (score" in capsys.readouterr().out


def test_a_moved_base_is_named_by_its_flag_and_checked(made, capsys):
    shutil.copytree(made / "run", "run")
    path = pathlib.Path("run/flags.json")
    kept = json.loads(path.read_text())
    assert kept["base_graph"] == str((made / "base.pb").resolve())
    path.write_text(json.dumps(kept | {"base_graph": "/gone/base.pb"}))
    run = ["--checkpoint", "run"]
    programs = [
        evaluate.main,
        export.main,
        lambda argv: label_image.main([str(made / "photos/red/000.jpg"), *argv]),
    ]
    content = (made / "base.pb").read_bytes()
    changed = content.replace(b"pool_3/_reshape", b"pool_4/_reshape")
    pathlib.Path("changed.pb").write_bytes(changed)
    pathlib.Path("moved.pb").write_bytes(content)
    for main in programs:
        assert main(run) == 2
        error = capsys.readouterr().err
        assert "no file '/gone/base.pb'" in error and "--base_graph" in error
        assert main([*run, "--base_graph", "changed.pb"]) == 2
        assert "'changed.pb' is not the graph that this run" in capsys.readouterr().err
        assert main([*run, "--base_graph", "moved.pb"]) == 0
    capsys.readouterr()
    more = ["--train_dir", "run", *FEW, "--how_many_training_steps", "310"]
    assert retrain.main([*more, "--base_graph", "changed.pb"]) == 2
    assert "the base_digest was" in capsys.readouterr().err
    assert retrain.main([*more, "--base_graph", "moved.pb"]) == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--image_dir", "none"], "--image_dir 'none' cannot be read"),
        (["--base_graph", "none.pb"], "there is no file 'none.pb'; name a GraphDef"),
        (["--testing_percentage", "60", "--validation_percentage", "60"], "leave no training"),
        (["--bottleneck_tensor", "pool:0"], "has no tensor 'pool:0'; similar names"),
        (["--random_crop", "101"], "--random_crop: expected a whole number from 0 up to 100"),
        (["--base", "cifar10"], "--base: not allowed with"),
    ],
)
def test_wrong_use_is_one_sentence(made, wrong, said, capsys):
    given = dict(zip(where(made)[::2], where(made)[1::2], strict=True))
    for name in given.keys() & set(wrong[::2]):
        del given[name]
    rest = [text for pair in given.items() for text in pair]
    assert retrain.main([*rest, *wrong, *FEW, "--train_dir", "run"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_no_run_is_one_sentence(capsys):
    for main in (evaluate.main, export.main, lambda argv: label_image.main(["x.jpg", *argv])):
        assert main(["--checkpoint", "none"]) == 2
        assert "there is no checkpoint 'none'" in capsys.readouterr().err


def test_with_nothing_named_and_no_network_the_sample_is_trained_on(monkeypatch, caplog, capsys):
    with loopback.serve({"/x": loopback.sends(b"gone", 404)}) as address:
        nothing = files.RemoteFile("x", 1, None, (f"{address}/x",))
        monkeypatch.setattr(bottlenecks, "ARCHIVE", nothing)
        monkeypatch.setattr(base_graph, "INCEPTION_ARCHIVE", nothing)
        assert retrain.main(["--train_dir", "run", "--how_many_training_steps", "1000"]) == 0
        assert "using the shipped SAMPLE (drawings of flowers" in caplog.text
        printed = capsys.readouterr().out
        assert "The base is the shipped CIFAR-10 net: 192 values a bottleneck." in printed
        assert float(re.search(r"test accuracy = (\S+)%", printed)[1]) >= 70
        # Own photos without a network: it uses the shipped base, with a warning.
        painted.write_pictures(pathlib.Path("photos"), count=6)
        few = ["--image_dir", "photos", "--how_many_training_steps", "10"]
        assert retrain.main([*few, "--train_dir", "own"]) == 0
        assert "using the shipped CIFAR-10 net as the base" in caplog.text
        assert retrain.main([*few, "--base", "inception_2015", "--train_dir", "other"]) == 2
        assert "--base inception_2015: x could not be downloaded" in capsys.readouterr().err
