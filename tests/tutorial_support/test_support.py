"""The smaller support modules: events, runs, programs, environment, files, plots, sessions."""

import csv
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from PIL import Image

from tutorial_support import classification, environment, events, files, plots, programs, runs
from tutorial_support.programs import TrainingError, UsageError
from tutorial_support.sessions import StopSignals


def write_events(folder, values, tag="loss", session_start=None):
    """Writes scalars as TensorFlow 1 does; the writer is left open, its data flushed."""
    with tf.Graph().as_default():
        writer = tf.summary.FileWriter(str(folder))
        if session_start is not None:
            writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), session_start)
        for step, value in values:
            summary = tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])
            writer.add_summary(summary, step)
        writer.flush()
    return writer


def test_events_of_a_file_still_being_written_and_of_tensorflow_2(tmp_path):
    writer = write_events(tmp_path / "one", [(0, 2.5), (10, 1.25)])
    with tf2.summary.create_file_writer(str(tmp_path / "two")).as_default():
        tf2.summary.scalar("accuracy", 0.75, step=3)
    tags = {(tag.run, tag.name): tag for tag in events.read(tmp_path)}
    assert tags["one", "loss"].steps == [0, 10]
    assert tags["one", "loss"].values == [2.5, 1.25]
    assert tags["two", "accuracy"].values == [0.75]
    writer.close()


@pytest.mark.parametrize("cut", [1, 4, 9, 20])
def test_events_of_a_file_that_was_cut_off(tmp_path, cut):
    write_events(tmp_path, [(0, 2.5), (10, 1.25), (20, 0.5)]).close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    assert events.scalars(tmp_path)["loss"] == ([0, 10], [2.5, 1.25])


def test_events_of_a_resumed_run_are_read_once(tmp_path, monkeypatch):
    write_events(tmp_path, [(0, 3.0), (10, 2.0), (20, 1.0)]).close()
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "events.out.tfevents.0000000001.x")
    write_events(tmp_path, [(20, 1.5), (30, 0.5)], session_start=11).close()
    assert events.scalars(tmp_path)["loss"] == ([0, 10, 20, 30], [3.0, 2.0, 1.5, 0.5])


def test_runs_begun_within_one_second_keep_their_events(tmp_path):
    for number in range(3):
        suffix = events.file_suffix(tmp_path)
        with (
            tf.Graph().as_default(),
            tf.summary.FileWriter(str(tmp_path), filename_suffix=suffix) as writer,
        ):
            events.write_scalar(writer, "loss", number, number)
    assert events.scalars(tmp_path)["loss"] == ([0, 1, 2], [0.0, 1.0, 2.0])


def test_events_program(tmp_path, capsys):
    write_events(tmp_path / "run", [(0, 2.5), (10, 1.25)]).close()
    write_events(tmp_path / "run" / "eval", [(10, 0.5)], tag="precision").close()
    assert events.main(["run"]) == 0
    printed = capsys.readouterr().out
    assert "scalars    loss: 2 records, steps 0 to 10, last 1.25" in printed
    assert "precision" in printed
    assert events.main(["run", "--tag", "lo", "--print", "--plot", "p.png", "--csv", "c.csv"]) == 0
    assert capsys.readouterr().out.split() == [".", "loss", "0", "2.5", "10", "1.25"]
    assert Image.open("p.png").size[0] > 300
    with pathlib.Path("c.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [
            {"run": ".", "tag": "loss", "step": "0", "value": "2.5"},
            {"run": ".", "tag": "loss", "step": "10", "value": "1.25"},
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no folder 'nowhere'"),
        (["empty"], "'empty' holds no event file"),
        (["run", "--tag", "nothing"], "no tag in 'run' matches --tag nothing"),
        (["run", "--tag", "("], "not a regular expression"),
    ],
)
def test_events_program_names_what_is_wrong(tmp_path, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    write_events(tmp_path / "run", [(0, 1.0)]).close()
    assert events.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_run_folder_keeps_flags_and_refuses_others(tmp_path):
    runs.RunFolder(tmp_path / "run", {"seed": 1, "steps": 10}, ("steps",))
    runs.RunFolder(tmp_path / "run", {"seed": 1, "steps": 20}, ("steps",))
    assert runs.read_flags(tmp_path / "run") == {"seed": 1, "steps": 20}
    with pytest.raises(UsageError, match="seed was 1, is 2"):
        runs.RunFolder(tmp_path / "run", {"seed": 2, "steps": 20}, ("steps",))


def test_damaged_flags_are_named(tmp_path):
    (tmp_path / "flags.json").write_text("{half")
    with pytest.raises(UsageError, match=r"flags\.json is damaged"):
        runs.read_flags(tmp_path)


def test_fresh_moves_only_a_run_and_never_the_current_folder(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("x")
    runs.RunFolder(folder, {"fresh": True})  # no run in it yet: nothing is moved
    assert (folder / "mine.txt").exists()
    runs.RunFolder(folder, {"fresh": True})
    runs.RunFolder(folder, {"fresh": True})
    assert len(list(tmp_path.glob("folder-*"))) == 2
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match="the current folder"):
        runs.RunFolder(".", {"fresh": True})


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("the file x"), 2, "error: the file x\n"),
        (TrainingError("the loss"), 1, "error: the loss\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (OSError(28, "No space left on device", "f"), 1, "'f' could not be written: No space"),
    ],
)
def test_program_turns_failures_into_a_sentence_and_an_exit_code(error, code, message, capsys):
    @programs.program
    def main(argv):
        raise error

    assert main([]) == code
    assert message in capsys.readouterr().err


def test_program_lets_unexpected_failures_through():
    @programs.program
    def main(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


def test_defaults_never_override_the_users_environment():
    environ = {"TF_ENABLE_ONEDNN_OPTS": "0"}
    environment.set_defaults(environ)
    assert environ == {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}


def test_importing_is_quiet_and_changes_nothing_global(program_environment):
    """In a process of its own, for this one has imported everything already."""
    code = (
        "import mnist_mechanics.fully_connected_feed, mnist_mechanics.fully_connected_dataset\n"
        "import mnist_mechanics.evaluate, mnist_mechanics.predict, mnist_mechanics.export\n"
        "import tensorflow as tf\n"
        "assert tf.executing_eagerly() and tf.compat.v1.resource_variables_enabled()\n"
        "assert not tf.compat.v1.get_default_graph().get_operations()\n"
    )
    for name in environment.DEFAULTS:
        program_environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=program_environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_failed_replacement_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    files.write_text(path, "new")
    assert path.read_text() == "new"


def test_stop_signals_take_the_first_signal_and_leave_the_second():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        assert not stop.requested
        assert stop.exit_code == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        assert stop.exit_code == 143
        assert signal.getsignal(signal.SIGTERM) == before
    with StopSignals():
        pass
    assert signal.getsignal(signal.SIGTERM) == before


def test_classification_against_counting_by_hand():
    labels, predictions = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    matrix = classification.confusion_matrix(labels, predictions, 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    logits = np.array([[1000.0, 1000.0], [0.0, np.log(3.0)]])
    np.testing.assert_allclose(classification.softmax(logits), [[0.5, 0.5], [0.25, 0.75]])


def test_plots_show_what_they_are_given(tmp_path):
    plots.curves("c.png", {"a": ([0, 1], [1, 2]), "b": ([0], [1])}, "T", "x", "y")
    plots.curves("empty.png", {}, "T", "x", "y")
    plots.confusion_matrix("m.png", np.eye(3, dtype=int), ["a", "b", "c"], "T")
    red = np.zeros((2, 4, 4, 3))
    red[..., 0] = 1
    plots.picture_sheet("s.png", red, ["one", "two"], "T", columns=2)
    pixels = np.asarray(Image.open("s.png").convert("RGB"))
    assert ((pixels == [255, 0, 0]).all(axis=2)).mean() > 0.2
    plots.picture_sheet("none.png", red[:0], [], "nothing wrong")
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "c.png", "empty.png", "m.png", "s.png", "none.png",
    }  # fmt: skip
