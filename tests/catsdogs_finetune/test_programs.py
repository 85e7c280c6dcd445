"""The cats and dogs programs from their command lines, on tiny sets."""

import json
import pathlib
import re
import signal

import h5py
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from PIL import Image

from catsdogs_finetune import (
    evaluate,
    export,
    extract,
    mobilenet_v2,
    photo_input,
    predict,
    pretrained,
    train,
)
from tests import loopback, painted, pipelines, processes
from tests.catsdogs_finetune import tiny_net
from tests.saved import assert_same, variables
from tutorial_support import checkpoints, event_files, feature_store, files, programs, runs
from tutorial_support.cluster import launcher
from tutorial_support.programs import UsageError

TWO = {"cats": (40, 40, 200), "dogs": (200, 90, 40)}
FEW = ["--initial_epochs", "2", "--fine_tune_epochs", "2", "--batch_size", "4"]
FAST = ["--image_size", "32", "--learning_rate", "0.01", "--fine_tune_rate", "0.001"]
ALL_STAGES = mobilenet_v2._STAGES
STEPS = 4  # of an epoch: 14 images in batches of 4


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mobilenet_v2, "_STAGES", tiny_net.STAGES)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Photos in the published folders, a run on them, and one without augmentation."""
    folder = tmp_path_factory.mktemp("catsdogs")
    tiny_net.write_weights(folder / "tiny.h5")
    painted.write_pictures(folder / "photos" / "train", 7, TWO)
    painted.write_pictures(folder / "photos" / "validation", 12, TWO)
    assert train.main([*where(folder), "--train_dir", str(folder / "run")]) == 0
    plain = ["--no_augmentation", "--train_dir", str(folder / "plain")]
    assert train.main([*where(folder), *plain]) == 0
    return folder


def where(folder, photos="photos"):
    data = ["--data_dir", str(folder / photos), "--bottleneck_dir", str(folder / "kept")]
    weights = ["--weights", str(folder / "tiny.h5"), "--fine_tune_at", "12"]
    return [*data, *weights, *FEW, *FAST]


def test_training_prints_saves_and_draws(made, capsys):
    assert train.main([*where(made), "--train_dir", "run"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^14 training, \d+ validation, \d+ testing images in ", printed, re.M)
    assert re.search(r"MobileNetV2, alpha 0.35, with the weights of '.*tiny\.h5'", printed)
    number = r"\d\.\d{4}"
    assert re.search(
        rf"^Before training: validation loss {number}, accuracy {number}$", printed, re.M
    )
    epochs = re.findall(
        rf"^Epoch (\d) of 4 \((\w+)\): loss ({number}), accuracy ({number}); "
        rf"validation loss ({number}), accuracy ({number})$",
        printed,
        re.M,
    )
    assert [epoch[:2] for epoch in epochs] == [
        ("1", "head"), ("2", "head"), ("3", "fine"), ("4", "fine")
    ]  # fmt: skip
    for name in (
        "examples",
        "augmentations",
        "accuracy",
        "loss",
        "predictions",
        "misclassified",
        "confusion",
    ):
        assert Image.open(f"run/{name}.png").size[0] > 300
    scalars = event_files.scalars("run")
    ends = [STEPS * epoch for epoch in range(5)]
    assert scalars["accuracy/validation"][0] == ends and scalars["loss/train"][0] == ends[1:]
    accuracies = scalars["accuracy/validation"][1][1:]
    tags = ("loss/train", "accuracy/train", "loss/validation", "accuracy/validation")
    written = np.transpose([scalars[tag][1][-4:] for tag in tags])
    np.testing.assert_allclose(written, np.array(epochs)[:, 2:].astype(float), atol=1e-4)
    assert scalars["loss"][0] == [10]
    # The best checkpoint is in its own folder, and is the best.
    best = json.loads(pathlib.Path("run/best/best.json").read_text())
    assert best["accuracy"] == pytest.approx(max(accuracies))
    assert variables("run/best")["global_step"] == best["step"]
    assert variables("run")["global_step"] == 4 * STEPS


class StopsAfter:
    """Replaces a run's StopSignals: a signal comes before the end of the n-th step."""

    def __init__(self, n):
        self.left, self.exit_code = n, 143

    @property
    def requested(self):
        self.left -= 1
        return self.left <= 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("which", ["run", "plain"])
def test_stopped_in_the_middle_of_epochs_and_resumed_ends_bit_identical(
    which, made, monkeypatch, capsys
):
    more = ["--no_augmentation"] if which == "plain" else []
    flags = [*where(made), *more, "--train_dir", "stopped"]
    for steps, reached in ((STEPS + 2, STEPS + 2), (STEPS + 1, 2 * STEPS + 3)):
        with monkeypatch.context() as patched:
            patched.setattr(runs, "StopSignals", lambda n=steps: StopsAfter(n))
            assert train.main(flags) == 143
        assert f"Stopped by a signal; step {reached} is saved." in capsys.readouterr().out
    assert train.main(flags) == 0
    assert_alike(made / which, "stopped")


def assert_alike(one, other):
    assert_same(one, other)
    assert event_files.scalars(one) == event_files.scalars(other)
    records = [pathlib.Path(folder, "best/best.json").read_text() for folder in (one, other)]
    assert records[0] == records[1]


@pytest.mark.slow
def test_killed_and_resumed_ends_bit_identical(made, tmp_path, program_environment, capsys):
    flags = [*where(made), "--train_dir", "killed"]
    process = processes.start(
        "tests.catsdogs_finetune.tiny_net", *flags, env=program_environment, cwd=tmp_path
    )
    code, output = processes.kill_at(process, "Epoch 3", signal.SIGKILL)
    assert code == -9, output
    assert train.main(flags) == 0
    assert "Resuming at step" in capsys.readouterr().out
    assert_alike(made / "run", "killed")


def test_a_signal_while_bottlenecks_are_computed_ends_at_once_and_loses_none(
    made, monkeypatch, tmp_path, capsys
):
    append, kept = feature_store.FeatureStore.append, []

    def append_and_interrupt(store, keys, *values):
        append(store, keys, *values)
        kept.extend(keys)
        signal.raise_signal(signal.SIGINT)

    flags = [*where(made), "--no_augmentation", "--train_dir", "run", "--bottleneck_dir", "mine"]
    with monkeypatch.context() as patch:
        patch.setattr(feature_store.FeatureStore, "append", append_and_interrupt)
        assert train.main(flags) == 130
    assert capsys.readouterr().err.endswith("error: interrupted\n")
    assert len(kept) == 4 and not (tmp_path / "run").exists()  # one batch; nothing came of the run

    def append_and_note(store, keys, *values):
        append(store, keys, *values)
        assert not set(keys) & set(kept)

    monkeypatch.setattr(feature_store.FeatureStore, "append", append_and_note)
    assert train.main(flags) == 0
    assert_alike(tmp_path / "run", made / "plain")


@pytest.mark.slow
def test_only_the_best_checkpoints_that_are_asked_for_stay_across_resumes(made, tmp_path):
    for epochs in ("1", "2"):
        flags = ["--fine_tune_epochs", epochs, "--keep_checkpoints", "2", "--train_dir", "run"]
        assert train.main([*where(made), *flags]) == 0
    for folder in (tmp_path / "run", tmp_path / "run" / "best"):
        assert len(checkpoints.all_numbered(folder)) == 2
    best = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    assert checkpoints.newest(tmp_path / "run" / "best").endswith(f"-{best['step']}")


def bottlenecks_of(made, images):
    """The reference: every photo through the net, which other tests compare with Keras."""
    with tf.Graph().as_default(), tf.Session() as sess:
        everything = np.arange(len(images.paths))
        ((photos, _),) = pipelines.elements(
            lambda: photo_input.evaluation_batches(images, everything, 32, 100)
        )
        features, layers = mobilenet_v2.features(tf.constant(photos), 0.35)
        seen, base = mobilenet_v2.bottlenecks(features), mobilenet_v2.weights(layers)
        values = pretrained.read(made / "tiny.h5", base)
        sess.run(tf.global_variables_initializer(), pretrained.initial_values(base, values))
        return sess.run(seen)


def head_of(folder):
    """The weights followed by the bias."""
    values = variables(folder)
    return np.append(values["prediction/kernel"].ravel(), values["prediction/bias"])


def test_head_on_kept_bottlenecks_equals_logistic_regression_in_numpy(made):
    alone = [*where(made), "--no_augmentation", "--dropout", "0", "--fine_tune_epochs", "0"]
    assert train.main([*alone, "--train_dir", "run"]) == 0
    images = photo_input.find_images(made / "photos")
    vectors = bottlenecks_of(made, images)
    training = images.of_split("train")
    order = pipelines.elements(
        lambda: photo_input.index_batches(training, 4, 0, tf.constant(0, tf.int64)), 2 * STEPS
    )
    # Another run with the same seed starts with the same head.
    untrained = [*alone, "--learning_rate", "0", "--train_dir", "untrained"]
    assert train.main(untrained) == 0
    head = head_of("untrained")
    mean, square = np.zeros_like(head), np.zeros_like(head)
    for step, chosen in enumerate(order, start=1):
        inputs = np.hstack([vectors[chosen], np.ones((len(chosen), 1))])
        error = 1 / (1 + np.exp(-inputs @ head)) - images.labels[chosen]
        gradient = inputs.T @ error / len(chosen)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        head = head - rate * mean / (np.sqrt(square) + 1e-7)
    np.testing.assert_allclose(head_of("run"), head, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("seeds_required")
def test_two_tasks_extract_what_training_keeps(made, tmp_path, monkeypatch, capsys):
    store = ["--bottleneck_dir", str(tmp_path / "divided")]
    data = ["--data_dir", str(made / "photos"), "--weights", str(made / "tiny.h5"), *store]
    for index in (0, 1):  # the first ends without the second, which then finds everything
        configs = launcher.plan(0, 2)
        config = list(configs.values())[index]
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        arguments = [*data, "--image_size", "32", "--wait_secs", "0.2"]
        assert extract.main(arguments) == (0 if index else 1)
    assert "lacks 16 bottlenecks" in capsys.readouterr().err
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setattr(feature_store.FeatureStore, "append", lambda *_: pytest.fail("again"))
    plain = ["--no_augmentation", "--fine_tune_epochs", "0", "--train_dir", "divided_run"]
    assert train.main([*where(made), *store, *plain]) == 0
    expected = event_files.scalars(made / "plain")["loss/train"][1][:2]
    found = event_files.scalars("divided_run")["loss/train"][1]
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # batches of another size


def test_bottlenecks_are_computed_once(made, monkeypatch):
    monkeypatch.setattr(feature_store.FeatureStore, "append", lambda *_: pytest.fail("again"))
    plain = ["--no_augmentation", "--fine_tune_epochs", "0", "--train_dir", "again"]
    assert train.main([*where(made), *plain]) == 0
    stored = event_files.scalars(made / "plain")["loss/train"][1][:2]
    assert event_files.scalars("again")["loss/train"][1] == stored


@pytest.mark.slow
def test_three_classes_learn_evaluate_predict_and_export(tmp_path, capsys):
    painted.write_pictures(tmp_path / "photos", 20)
    tiny_net.write_weights(tmp_path / "tiny.h5")
    flags = where(tmp_path)
    assert train.main([*flags, "--initial_epochs", "8", "--train_dir", "run"]) == 0
    assert variables("run")["prediction/kernel"].shape == (1280, 3)
    accuracy = float(re.findall(r"images: (\d\.\d+)", capsys.readouterr().out)[-1])
    assert accuracy > 0.7
    assert evaluate.main(["--checkpoint", "run"]) == 0
    printed = capsys.readouterr().out
    assert f"Accuracy on the testing images: {accuracy:.4f}" in printed and "step 100." in printed
    assert predict.main(["--checkpoint", "run", str(tmp_path / "photos/red/001.jpg")]) == 0
    assert re.search(r"001\.jpg\n +\d+\.\d\d%  red", capsys.readouterr().out)
    assert export.main(["--checkpoint", "run"]) == 0
    assert pathlib.Path("run/export/labels.txt").read_text().split() == ["blue", "green", "red"]


def test_evaluation_agrees_with_training(made, capsys):
    for checkpoint, split in ((made / "run", "validation"), (made / "run" / "best", "validation")):
        assert evaluate.main(["--checkpoint", str(checkpoint), "--split", split]) == 0
        found = float(re.search(r"Accuracy on .*: (\S+)", capsys.readouterr().out)[1])
        step = checkpoints.stored_step(checkpoints.find(checkpoint))
        steps, values = event_files.scalars(made / "run")["accuracy/validation"]
        assert found == pytest.approx(dict(zip(steps, values, strict=True))[step], abs=1e-4)


@pytest.mark.usefixtures("seeds_required")
def test_predictions_and_exports_agree(made, capsys):
    run = ["--checkpoint", str(made / "run")]
    path = made / "photos/validation/dogs/002.jpg"
    pathlib.Path("bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    assert predict.main([*run, "bad.jpg", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: bad.jpg: cannot be read")
    shares = {name: float(share) for share, name in re.findall(r"(\S+)%  (\w+)", captured.out)}
    for _ in range(2):  # the second replaces the first
        assert export.main([*run, "--export_dir", "out"]) == 0
    frozen = tf.GraphDef.FromString(pathlib.Path("out/frozen_graph.pb").read_bytes())
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tf.import_graph_def(frozen, name="")
        outputs = ["probabilities:0", "bottleneck:0", "images:0"]
        found, bottleneck, image = sess.run(outputs, {"DecodeJpeg/contents:0": path.read_bytes()})
    np.testing.assert_allclose(found[0], [shares["cats"] / 100, shares["dogs"] / 100], atol=1e-4)
    assert bottleneck.shape == (1, 1280)
    serve = tf2.saved_model.load("out/saved_model").signatures["serving_default"]
    served = serve(images=tf2.constant(np.repeat(image, 3, axis=0)))
    np.testing.assert_allclose(served["probabilities"], np.repeat(found, 3, axis=0), atol=1e-5)
    assert list(served["classes"].numpy()) == [found[0].argmax()] * 3


def test_bad_pictures_are_left_out_and_named(tmp_path, caplog, capsys):
    painted.write_pictures(tmp_path / "photos", 12, TWO)
    tiny_net.write_weights(tmp_path / "tiny.h5")
    pathlib.Path("photos/cats/001.jpg").write_text("<html>")
    flags = where(tmp_path)
    assert train.main([*flags, "--initial_epochs", "1", "--fine_tune_epochs", "0"]) == 0
    assert "left out: photos/cats/001.jpg: cannot be read" in caplog.text.replace(
        f"{tmp_path}/", ""
    )
    images = photo_input.find_images("photos")
    for i in images.of_split("validation"):
        (images.folder / images.paths[i]).write_text("nothing")
    assert train.main([*flags, "--train_dir", "other"]) == 2
    assert "no validation image of '" in capsys.readouterr().err
    for path in pathlib.Path("photos/dogs").iterdir():
        path.write_text("nothing")
    assert train.main([*flags, "--train_dir", "other"]) == 2
    assert "no training image of class 'dogs' can be read" in capsys.readouterr().err


def test_a_photo_that_vanishes_during_training_is_named(tmp_path, monkeypatch, capsys):
    painted.write_pictures(tmp_path / "photos", 12, TWO)
    tiny_net.write_weights(tmp_path / "tiny.h5")
    draw_examples = photo_input.draw_examples

    def vanish(*arguments):
        draw_examples(*arguments)
        for path in (tmp_path / "photos" / "cats").iterdir():
            path.unlink()

    monkeypatch.setattr(photo_input, "draw_examples", vanish)
    assert train.main([*where(tmp_path), "--train_dir", "run", "--initial_epochs", "50"]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"error: there is no file '.*photos/cats/\d+.jpg'; name a picture .*\n", error
    )


@pytest.mark.slow
def test_nothing_named_and_no_network_trains_on_the_sample(monkeypatch, caplog, capsys):
    with loopback.serve({"/x": loopback.sends(b"gone", 404)}) as address:
        nothing = files.RemoteFile("x", 1, None, (f"{address}/x",))
        monkeypatch.setattr(photo_input, "ARCHIVE", nothing)
        monkeypatch.setattr(pretrained, "published", lambda alpha, size: nothing)
        monkeypatch.setattr(mobilenet_v2, "_STAGES", ALL_STAGES)
        assert train.main(["--initial_epochs", "1", "--fine_tune_epochs", "0"]) == 0
        assert "the shipped SAMPLE (drawings of cats and dogs, not photos" in caplog.text
        printed = capsys.readouterr().out
        assert re.search(r"^160 training, \d+ validation, \d+ testing images", printed, re.M)
        assert "with the weights of a net that has seen CIFAR-10" in printed
        # Photos of one's own, but no published weights.
        assert pretrained.find(None, None, 160) == pretrained.shipped()
        assert "using the shipped weights of a narrow net" in caplog.text
        for name, alpha in ((None, 1.0), ("imagenet", None)):
            with pytest.raises(UsageError, match="cannot download the ImageNet weights: x"):
                pretrained.find(name, alpha, 160)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            ["--weights", "missing.h5"],
            "there is no file 'missing.h5'; use --weights to name MobileNetV2 weights",
        ),
        (["--weights", "text.h5"], "text.h5: cannot be read"),
        (["--weights", "empty.h5"], "'empty.h5' holds no MobileNetV2 of a width in"),
        (
            ["--weights", "missing.h5", "--alpha", "1.0"],
            "there is no file 'missing.h5'; use --weights to name MobileNetV2 weights",
        ),
        (["--alpha", "1.0"], "does not fit the net"),
        (["--alpha", "2"], "argument --alpha: invalid choice"),
        (["--data_dir", "none"], "--data_dir 'none' cannot be read"),
        (["--rotation", "2"], "argument --rotation: expected a finite number from 0 up to 0.5"),
        (["--image_size", "31"], "argument --image_size: expected a whole number from 32"),
    ],
)
def test_wrong_use_is_one_sentence(wrong, said, made, capsys):
    pathlib.Path("text.h5").write_text("<html>")
    h5py.File("empty.h5", "w").close()
    assert train.main([*where(made), *wrong, "--train_dir", "run"]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_flags_that_contradict_the_run_are_refused(made, capsys):
    run = ["--train_dir", str(made / "run")]
    assert train.main([*where(made), *run, "--initial_epochs", "3"]) == 2
    assert "--initial_epochs was 2, is 3" in capsys.readouterr().err
    for main in (evaluate.main, export.main, lambda argv: predict.main(["x.jpg", *argv])):
        assert main(["--checkpoint", "none"]) == 2
        assert "there is no checkpoint 'none'" in capsys.readouterr().err


def test_evaluation_of_other_classes_is_refused(made, capsys):
    painted.write_pictures(pathlib.Path("photos"), 4)
    assert evaluate.main(["--checkpoint", str(made / "run"), "--data_dir", "photos"]) == 2
    assert (
        "has the classes blue, green, red, but the net was trained on cats, dogs"
        in capsys.readouterr().err
    )


def test_flags_know_the_published_settings():
    parser = programs.ArgumentParser("")
    train.add_flags(parser)
    parsed = parser.parse_args([])
    assert (parsed.batch_size, train.EPOCHS, photo_input.IMAGE_SIZE) == (32, 10, 160)
    assert (parsed.learning_rate, parsed.fine_tune_rate) == (1e-4, 1e-5)
    assert (parsed.fine_tune_at, parsed.dropout, parsed.rotation) == (100, 0.2, 0.2)
