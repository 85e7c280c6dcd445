"""Evaluation, prediction and export of a trained net, from their command lines."""

import contextlib
import errno
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from PIL import Image

from mnist_mechanics import (
    evaluate,
    export,
    fully_connected_feed,
    input_data,
    pictures,
    predict,
)
from mnist_mechanics.trained import TrainedNet
from tutorial_support import drivers
from tutorial_support.programs import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with two checkpoints of a net trained on the sample."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    flags = ["--sample", "--log_dir", str(folder), "--learning_rate", "0.1"]
    assert fully_connected_feed.main([*flags, "--max_steps", "500"]) == 0
    assert fully_connected_feed.main([*flags, "--max_steps", "1000"]) == 0
    return folder


@pytest.fixture(scope="module")
def sample():
    return input_data.read_data_sets(input_data.SAMPLE)


@pytest.mark.usefixtures("seeds_required")
def test_evaluates_what_training_printed(run, capsys):
    assert evaluate.main(["--checkpoint", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "model.ckpt-1000', step 1000" in printed
    assert "Test Data Eval:\nNum examples: 1000  Num correct: " in printed
    rows = [
        line.split() for line in printed.splitlines() if line.split()[:1] and line[5:6].isdigit()
    ]
    matrix = np.array([[int(count) for count in row[1:]] for row in rows[-10:]])
    assert matrix.shape == (10, 10)
    assert (matrix.sum(axis=1) == 100).all()
    assert f"Num correct: {np.trace(matrix)}" in printed
    assert (run / "evaluation" / "confusion-test.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_evaluates_a_named_checkpoint_on_another_split(run, tmp_path, capsys, ending):
    checkpoint = str(run / "model.ckpt-500") + ending
    flags = ["--checkpoint", checkpoint, "--split", "validation", "--output_dir", "out"]
    assert evaluate.main(flags) == 0
    assert "Validation Data Eval:\nNum examples: 400" in capsys.readouterr().out
    assert (tmp_path / "out" / "confusion-validation.png").exists()


def test_copied_or_moved_run_folder_stands_for_itself(run, tmp_path, capsys):
    """The state file may name the folder in which the run was created."""
    shutil.copytree(run, tmp_path / "copy")
    record = (tmp_path / "copy" / "checkpoint").read_text()
    assert str(run) not in record
    for text in (
        record,
        record.replace('"model', f'"{run}/model'),
        record.replace('"model', '"/gone/model'),
        record.replace('"model', r'"C:\\gone\\model'),
    ):
        (tmp_path / "copy" / "checkpoint").write_text(text)
        assert evaluate.main(["--checkpoint", "copy"]) == 0
        assert "'copy/model.ckpt-1000'" in capsys.readouterr().out


def test_checkpoints_that_are_not_there_or_damaged_are_named(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert evaluate.main(["--checkpoint", "empty"]) == 2
    assert "'empty' contains no checkpoint; train first" in capsys.readouterr().err
    assert evaluate.main(["--checkpoint", "nowhere/model.ckpt-3"]) == 2
    assert "no checkpoint 'nowhere/model.ckpt-3'" in capsys.readouterr().err
    for ending in (".index", ".data-00000-of-00001"):
        body = (run / f"model.ckpt-1000{ending}").read_bytes()
        (tmp_path / f"half.ckpt{ending}").write_bytes(body[: len(body) // 2])
    assert evaluate.main(["--checkpoint", "half.ckpt", "--sample"]) == 2
    error = capsys.readouterr().err
    assert "the checkpoint 'half.ckpt' cannot be read" in error
    assert "Traceback" not in error


def enlarged(image, tmp_path, name, inverted=False, size=(500, 400), corner=(150, 30)):
    """Saves an MNIST digit, ten times enlarged, off-centre on a larger sheet; returns the path."""
    sheet = Image.new("L", size, 0)
    sheet.paste(Image.fromarray(image).resize((280, 280), Image.Resampling.BICUBIC), corner)
    pixels = np.asarray(sheet)
    path = tmp_path / name
    Image.fromarray(255 - pixels if inverted else pixels).save(path)
    return str(path)


def test_prepared_pictures_are_like_mnist(sample, tmp_path):
    """An MNIST digit that was enlarged, shifted and inverted comes back nearly unchanged."""
    images = sample.test.pixels[:40].reshape(-1, 28, 28)
    for inverted in (False, True):
        errors = [
            np.abs(
                pictures.prepare(enlarged(image, tmp_path, "x.png", inverted)) * 255 - image.ravel()
            )
            for image in images
        ]
        blank = np.mean(images)  # the error of an empty picture
        assert np.mean(errors) < 0.3 * blank


def test_predictions_of_pictures_agree_with_those_of_the_pixels(run, sample, tmp_path, capsys):
    paths = []
    for number, ending in enumerate(["png", "jpg", "JPEG", "png"] * 5):
        image = sample.test.pixels[number].reshape(28, 28)
        paths.append(enlarged(image, tmp_path, f"{number}.{ending}", inverted=number % 2 == 0))
    with TrainedNet.find(run).opened() as (sess, tensors):
        logits = sess.run(tensors.logits, {tensors.images: sample.test.images[:20]})
    assert predict.main(["--checkpoint", str(run), *paths]) == 0
    printed = capsys.readouterr().out.splitlines()
    guesses = [int(line.split(": ")[1][0]) for line in printed[::2]]
    assert np.mean(guesses == logits.argmax(axis=1)) >= 0.8
    for line in printed[1::2]:
        probabilities = [float(part.split(": ")[1]) for part in line.strip().split("  ")]
        assert len(probabilities) == 10
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)


def test_pictures_of_many_kinds_are_read_alike(sample, tmp_path):
    image = sample.test.pixels[0].reshape(28, 28)
    big = Image.open(enlarged(image, tmp_path, "grey.png", inverted=True))
    expected = pictures.prepare(tmp_path / "grey.png")
    transparent = Image.new("RGBA", big.size, (0, 0, 0, 0))
    transparent.putalpha(Image.fromarray(255 - np.asarray(big)))
    variants = {
        "colour.png": big.convert("RGB"),
        "palette.png": big.convert("P"),
        "transparent.png": transparent,
        "deep.png": Image.fromarray(np.asarray(big).astype(np.uint16) * 257),
        "cmyk.jpg": big.convert("CMYK"),
        "large.png": big.resize((2500, 2000)),
    }
    for name, variant in variants.items():
        variant.save(tmp_path / name)
        assert np.abs(pictures.prepare(tmp_path / name) - expected).mean() < 0.02, name


def test_tiny_and_flat_digits_fit(tmp_path):
    for size in ((1, 30), (30, 1), (3, 3)):
        sheet = Image.new("L", (60, 60), 255)
        sheet.paste(0, (10, 10, 10 + size[0], 10 + size[1]))
        sheet.save(tmp_path / "x.png")
        image = pictures.prepare(tmp_path / "x.png").reshape(28, 28)
        assert image.max() > 0.3
        assert 0 <= image.min() <= image.max() <= 1


def test_bad_pictures_are_named_and_the_others_classified(run, sample, tmp_path, capsys):
    good = enlarged(sample.test.pixels[0].reshape(28, 28), tmp_path, "good.png")
    (tmp_path / "page.png").write_bytes(b"<html></html>")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:800])
    Image.new("L", (50, 50), 200).save(tmp_path / "blank.png")
    Image.new("L", (50, 50)).save(tmp_path / "picture.gif")
    names = ["page.png", "cut.png", "blank.png", "picture.gif", "missing.png", good]
    assert predict.main(["--checkpoint", str(run), "--show", *names]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"{good}: ")
    assert "@" in out
    assert err.count("error: ") == 5
    assert "page.png: cannot be read" in err
    assert "cut.png: cannot be read" in err
    assert "blank.png: shows no digit" in err
    assert "picture.gif: shows no digit" in err
    assert "no file 'missing.png'" in err


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    assert export.main(["--checkpoint", str(run), "--export_dir", str(folder), "--tflite"]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(run, sample):
    """The probabilities of 50 test images."""
    with TrainedNet.find(run).opened() as (sess, tensors):
        return sess.run(tf.nn.softmax(tensors.logits), {tensors.images: sample.test.images[:50]})


def test_saved_model_gives_the_same_predictions_in_plain_tensorflow_2(exported, sample, expected):
    model = tf2.saved_model.load(str(exported / "saved_model"))
    answer = model.signatures["serving_default"](images=tf2.constant(sample.test.images[:50]))
    np.testing.assert_allclose(answer["probabilities"].numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(answer["classes"].numpy(), expected.argmax(axis=1))


def test_frozen_graph_and_labels_stand_alone(exported, sample, expected):
    graph_def = tf.GraphDef.FromString((exported / "frozen_graph.pb").read_bytes())
    with tf.Graph().as_default():
        outputs = tf.import_graph_def(graph_def, return_elements=["probabilities:0"], name="")
        with tf.Session() as sess:
            found = sess.run(outputs[0], {"images:0": sample.test.images[:50]})
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (exported / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]
    origin = json.loads((exported / "origin.json").read_text())
    assert origin["global_step"] == 1000 and origin["flags"]["hidden1"] == 128
    assert 0.5 < origin["test_accuracy"] < 1


def test_tflite_model_gives_the_same_predictions(exported, sample, expected):
    interpreter = tf2.lite.Interpreter(str(exported / "model.tflite"))
    run = interpreter.get_signature_runner("serving_default")
    found = np.concatenate(
        [run(images=image[np.newaxis])["probabilities"] for image in sample.test.images[:5]]
    )
    np.testing.assert_allclose(found, expected[:5], atol=1e-5)


def test_a_second_export_replaces_the_first_and_keeps_the_users_files(run, tmp_path, capsys):
    flags = ["--checkpoint", str(run), "--output_dir", "model"]
    assert export.main(flags) == 0
    saved_model = tmp_path / "model" / "saved_model"
    first = (saved_model / "saved_model.pb").stat().st_ino
    (saved_model / "notes.txt").write_text("mine")
    (saved_model / "assets.extra").mkdir()
    (saved_model / "assets.extra" / "map.txt").write_text("mine, too")
    assert export.main(flags) == 0
    assert (saved_model / "saved_model.pb").stat().st_ino != first
    assert (saved_model / "notes.txt").read_text() == "mine"
    assert (saved_model / "assets.extra" / "map.txt").read_text() == "mine, too"
    assert not list(tmp_path.rglob("*.partial"))
    (tmp_path / "file").write_text("x")
    assert export.main([*flags[:-1], "file/model"]) == 2
    assert "'file/model' cannot be written" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "labels.txt").write_text("my labels")
    assert export.main([*flags[:-1], "mine"]) == 2
    assert "'mine/labels.txt' is in the way; move it" in capsys.readouterr().err
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["my labels"]


def test_an_export_that_finds_no_room_is_a_failed_write(run, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "model")

    monkeypatch.setattr(drivers, "_put_in_place", full)
    assert export.main(["--checkpoint", str(run), "--output_dir", "model"]) == 1
    assert "free some space or name another folder" in capsys.readouterr().err


def test_watching_says_what_it_waits_for(run, tmp_path, capsys):
    watch = ["--sample", "--eval_interval_secs", "0.05", "--checkpoint_wait_secs", "0.1"]
    assert evaluate.main([*watch, "--checkpoint", "typo"]) == 1
    printed = capsys.readouterr()
    assert "Waiting for the first checkpoint in 'typo', a folder that does not exist" in printed.out
    (tmp_path / "file").touch()
    assert evaluate.main([*watch, "--checkpoint", "file"]) == 2
    assert "'file' is a file; name the folder of a run" in capsys.readouterr().err
    assert evaluate.main(["--checkpoint", str(run), "--checkpoint_wait_secs", "3"]) == 2
    assert "has no effect without --eval_interval_secs" in capsys.readouterr().err


def test_an_export_is_on_the_disk_before_it_says_so(run, tmp_path, lost_in_a_power_cut):
    assert export.main(["--checkpoint", str(run), "--output_dir", "model"]) == 0
    assert not lost_in_a_power_cut(tmp_path / "model")


def test_an_export_killed_anywhere_mixes_no_files_of_two(tmp_path, monkeypatch):
    """Killed before each change in turn that it makes to the folder of an older export."""
    names = ("frozen_graph.pb", "labels.txt", "origin.json", "saved_model/saved_model.pb")

    def write(folder, content):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)

    def read(folder):
        return {path.read_text() for path in folder.rglob("*") if path.is_file()}

    class Killed(BaseException):
        pass

    for calls in range(2 * len(names) + 1):
        old, new, left = tmp_path / f"{calls}", tmp_path / f"new{calls}", [calls]
        write(old, "old")
        write(new, "new")

        def dying(real, left=left):
            def change(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return real(*arguments, **options)

            return change

        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            for name in ("unlink", "replace"):
                patch.setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
            drivers._put_in_place(new, old)
        assert read(old) != {"old", "new"}
    assert read(old) == {"new"}
    write(tmp_path / "new", "new")
    (tmp_path / "taken" / "labels.txt").mkdir(parents=True)
    with pytest.raises(UsageError, match="labels.txt' is in the way"):
        drivers._put_in_place(tmp_path / "new", tmp_path / "taken")


def test_predictions_as_json_and_of_folders(run, sample, tmp_path, capsys):
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name, number in (("b.png", 0), ("more/a.png", 1)):
        enlarged(sample.test.pixels[number].reshape(28, 28), tmp_path / "photos", name)
    assert predict.main(["--checkpoint", str(run), "--json", "--top", "2", "photos"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [result["image"] for result in found] == ["photos/b.png", "photos/more/a.png"]
    for result in found:
        scores = [label["score"] for label in result["labels"]]
        assert len(scores) == 2 and scores == sorted(scores, reverse=True)
    (tmp_path / "empty").mkdir()
    assert predict.main(["--checkpoint", str(run), "empty"]) == 2
    assert "no picture in empty" in capsys.readouterr().err
