"""The smaller support modules: events, runs, programs, files."""

import argparse
import csv
import errno
import os
import pathlib
import re
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_multiplexer

from tutorial_support import (
    SPLITS,
    checkpoints,
    event_files,
    events,
    files,
    plots,
    programs,
    runs,
    summaries,
)
from tutorial_support.programs import TrainingError, UsageError
from tutorial_support.runs import StopSignals


def write_events(folder, values, tag="loss", session_start=None):
    """Writes scalars as TensorFlow 1 does; flushes the writer but does not close it."""
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
    tags = {(tag.run, tag.name): tag for tag in event_files.read(tmp_path)}
    assert tags["one", "loss"].steps == [0, 10]
    assert tags["one", "loss"].values == [2.5, 1.25]
    assert tags["two", "accuracy"].values == [0.75]
    writer.close()


@pytest.mark.parametrize("cut", [1, 4, 9, 20])
def test_events_of_a_file_that_was_cut_off(tmp_path, cut):
    write_events(tmp_path, [(0, 2.5), (10, 1.25), (20, 0.5)]).close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    assert event_files.scalars(tmp_path)["loss"] == ([0, 10], [2.5, 1.25])


def test_events_of_a_resumed_run_are_read_once(tmp_path, monkeypatch):
    write_events(tmp_path, [(0, 3.0), (10, 2.0), (20, 1.0)]).close()
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "events.out.tfevents.0000000001.x")
    write_events(tmp_path, [(20, 1.5), (30, 0.5)], session_start=11).close()
    assert event_files.scalars(tmp_path)["loss"] == ([0, 10, 20, 30], [3.0, 2.0, 1.5, 0.5])


def flags_of(fresh=False, **values):
    return argparse.Namespace(fresh=fresh, fallback=False, keep_checkpoints=5, **values)


def begin(folder, flags, facts=None, may_change=(), step=0):
    """Goes through the calls of a run up to its first step."""
    with runs.Run(folder, "tests", flags) as run, tf.Graph().as_default():
        run.settle(facts or {}, may_change)
        writer = tf.summary.FileWriter(run.folder, filename_suffix=run.event_suffix)
        run.begin(writer, step, 10)
        summaries.write_scalar(writer, "loss", float(step), step)
    return run


def test_runs_begun_within_one_second_keep_their_events(tmp_path):
    folder = str(tmp_path / "run")
    for number in range(3):
        begin(folder, flags_of(), step=number)
    assert event_files.scalars(folder)["loss"] == ([0, 1, 2], [0.0, 1.0, 2.0])


def test_an_event_file_gets_a_higher_number_than_all_that_are_there(tmp_path):
    begin(str(tmp_path), flags_of())
    (first,) = tmp_path.glob("*tfevents*")
    first.rename(tmp_path / "events.out.tfevents.9999999999.host.4")  # the clock was ahead then
    begin(str(tmp_path), flags_of())
    assert sorted(path.suffix for path in tmp_path.glob("*tfevents*")) == [".4", ".5"]


def test_a_run_killed_before_its_first_checkpoint_has_a_graph_in_tensorboard(tmp_path):
    for _ in range(2):
        with runs.Run(str(tmp_path), "tests", flags_of()) as run, tf.Graph().as_default() as graph:
            tf.constant(1.0, name="op_in_the_graph")
            run.settle({})
            writer = tf.summary.FileWriter(run.folder, graph, filename_suffix=run.event_suffix)
            run.begin(writer, 0, 10)
    assert "op_in_the_graph" in tensorboards_graph(tmp_path)


def tensorboards_graph(folder):
    """Returns the names of the ops that TensorBoard shows for the run in a folder."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer({"run": str(folder)})
    multiplexer.Reload()
    graph = multiplexer.Graph("run")
    return [node.name for node in graph.node]


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
        (["empty"], "'empty' contains no event file"),
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
    folder = str(tmp_path / "run")
    begin(folder, flags_of(seed=1, steps=10), {"data": "a"}, ("steps",))
    begin(folder, flags_of(seed=1, steps=20), {"data": "a"}, ("steps",))
    kept = runs.read_flags(folder)
    assert (kept["program"], kept["seed"], kept["steps"], kept["data"]) == ("tests", 1, 20, "a")
    with pytest.raises(UsageError, match="--seed was 1, is 2"):
        begin(folder, flags_of(seed=2, steps=20), {"data": "a"}, ("steps",))
    with pytest.raises(UsageError, match="the data was a, is b"):
        begin(folder, flags_of(seed=1, steps=20), {"data": "b"}, ("steps",))
    with pytest.raises(UsageError, match="contains a run of tests, not of others"):
        runs.Run(folder, "others", flags_of())
    assert runs.read_flags(folder) == kept


@pytest.mark.parametrize("damage", ["{half", "[1]", "[" * 100_000, None])
def test_damaged_flags_are_named(tmp_path, damage):
    path = tmp_path / "flags.json"
    path.mkdir() if damage is None else path.write_text(damage)
    with pytest.raises(UsageError, match=r"flags\.json: cannot be read.*repair it or move it"):
        runs.read_flags(tmp_path)


def test_fresh_moves_only_a_run_and_never_the_current_folder(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("x")
    begin(str(folder), flags_of(fresh=True))  # contains no run yet, so nothing is moved
    assert (folder / "mine.txt").exists()
    begin(str(folder), flags_of(fresh=True))
    begin(str(folder), flags_of(fresh=True))
    moved = sorted(path.name for path in tmp_path.glob("folder-*"))
    assert len(moved) == 2 and all(name.count(".") <= 1 for name in moved)
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match="the current folder"):
        begin(".", flags_of(fresh=True))


def test_fresh_takes_a_name_as_it_is_and_a_link_as_its_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a%Y").symlink_to("disk/50%D", target_is_directory=True)
    (tmp_path / "disk/50%D").mkdir()
    for _ in range(2):
        begin(str(tmp_path / "a%Y"), flags_of(fresh=True))
    assert (tmp_path / "a%Y").is_symlink()
    aside, run = sorted(path.name for path in (tmp_path / "disk").iterdir())[::-1]
    assert run == "50%D" and re.fullmatch(r"50%D-\d{8}-\d{6}", aside)


def test_fresh_leaves_a_run_that_is_training(tmp_path):
    folder = str(tmp_path / "run")
    with runs.Run(folder, "tests", flags_of()) as run:
        run.settle({})
        with pytest.raises(UsageError, match="another process is training"):
            begin(folder, flags_of(fresh=True))
    assert [path.name for path in tmp_path.iterdir()] in ([], ["run"])


def test_the_lock_file_is_no_way_to_empty_another_file(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("x")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="is a link"):
        runs.Run(str(tmp_path / "run"), "tests", flags_of())
    assert (tmp_path / "precious").read_text() == "x"


def save(folder, step, value=1.0, keep=0):
    """Saves a checkpoint of a small net."""
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.Variable(value, name="weight")
        tf.train.get_or_create_global_step()
        saver = checkpoints.Saver(keep=keep)
        sess.run(tf.global_variables_initializer())
        return saver.save(sess, str(folder / "model.ckpt"), global_step=step)


def steps_in(folder):
    return [int(prefix.rpartition("-")[2]) for prefix in checkpoints.all_numbered(folder)]


def test_only_the_newest_checkpoints_are_kept_also_across_resumes(tmp_path):
    for step in (1, 2, 9, 10, 11):
        save(tmp_path, step, keep=3)  # a new saver each time, as after a resume
    assert steps_in(tmp_path) == [9, 10, 11]
    assert not list(tmp_path.glob("model.ckpt-2.*"))
    save(tmp_path, 12, keep=0)
    assert steps_in(tmp_path) == [9, 10, 11, 12]


def test_a_checkpoint_loses_its_index_before_its_data(tmp_path, monkeypatch):
    """What reads it meanwhile finds no checkpoint, rather than a damaged one."""
    save(tmp_path, 1)
    indices, unlink = [], pathlib.Path.unlink

    def note(path, *arguments, **options):
        if path.name.startswith("model.ckpt-1.data"):
            indices.append((tmp_path / "model.ckpt-1.index").exists())
        unlink(path, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, "unlink", note)
    save(tmp_path, 2, keep=1)
    assert indices == [False] and steps_in(tmp_path) == [2]


def test_a_run_reaches_the_disk(tmp_path, lost_in_a_power_cut):
    folder = tmp_path / "logs" / "run"
    begin(str(folder), flags_of())
    save(folder, 3)
    lost = lost_in_a_power_cut(tmp_path)
    assert all("tfevents" in name or name == ".lock" for name in lost), lost


def test_what_moves_along_with_a_run_is_found(tmp_path):
    """A path is kept as it was; what has gone from there is looked for beside the run."""
    before, after = tmp_path / "before", tmp_path / "elsewhere" / "after"
    (before / "photos").mkdir(parents=True)
    (tmp_path / "base.pb").write_bytes(b"")
    (before / "weights.h5").write_bytes(b"")
    paths = {"image_dir": before / "photos", "base_graph": tmp_path / "base.pb"}
    paths |= {"weights": before / "weights.h5", "gone": tmp_path / "gone"}
    flags = flags_of(**{name: str(path) for name, path in paths.items()})
    begin(str(before / "logs" / "run"), flags)
    after.parent.mkdir()
    before.rename(after)
    found = runs.read_flags(after / "logs" / "run")
    assert {name: found[name] for name in paths} == {
        "image_dir": str(after / "photos"),
        "weights": str(after / "weights.h5"),
        "base_graph": str(tmp_path / "base.pb"),
        "gone": str(tmp_path / "gone"),
    }


def test_a_run_killed_while_it_saves_goes_on_from_the_checkpoint_before(tmp_path, monkeypatch):
    for step in (1, 2):
        save(tmp_path, step)
    with monkeypatch.context() as patch:
        patch.setattr(files, "to_disk", lambda path: "ckpt" in str(path) and 1 / 0)
        with pytest.raises(ZeroDivisionError):  # once TensorFlow has written all of its files
            save(tmp_path, 3)
    assert steps_in(tmp_path) == [1, 2, 3]
    with runs.Run(str(tmp_path), "tests", flags_of()) as run:
        run.settle({})
        assert run.newest_checkpoint() == str(tmp_path / "model.ckpt-2")
    save(tmp_path, 3, keep=2)
    assert steps_in(tmp_path) == [2, 3]


def test_a_save_sweeps_what_killed_saves_have_left_and_nothing_else(tmp_path):
    left = [
        "model.ckpt-1.data-00000-of-00001.tempstate14915625750963453679",
        "model.ckpt-1.index.tempstate12125201954523913643",
        "model.ckpt-1.meta.tmp" + 32 * "a",
    ]
    mine = ["model.ckpt-1.tempstate", "model.ckpt-1.index.old", "model.ckpt-1.meta.tmp"]
    for name in left + mine:
        (tmp_path / name).write_text("x")
    save(tmp_path, 2)
    there = {path.name for path in tmp_path.iterdir()}
    assert there.isdisjoint(left) and there >= set(mine)


def test_fallback_takes_the_newest_checkpoint_that_can_be_read(tmp_path):
    for step in (9, 10, 100, 101):
        save(tmp_path, step)
    for step in (100, 101):
        (data,) = tmp_path.glob(f"model.ckpt-{step}.data*")
        data.write_bytes(b"nothing")
    flags = flags_of()
    with runs.Run(tmp_path, "tests", flags) as run:
        with pytest.raises(UsageError, match="model.ckpt-101' cannot be read.*with --fallback"):
            run.newest_checkpoint()
        flags.fallback = True
        assert run.newest_checkpoint() == str(tmp_path / "model.ckpt-10")


def test_nothing_that_is_not_finite_is_saved(tmp_path):
    save(tmp_path, 1)
    before = sorted(path.name for path in tmp_path.iterdir())
    for value in (np.nan, np.inf):
        with pytest.raises(TrainingError, match="a variable is not finite at step 2"):
            save(tmp_path, 2, value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "state",
    [
        None,
        b"",
        b"\xff\x00\x80",
        b'all_model_checkpoint_paths: "x"',
        b'model_checkpoint_path: "gone"',
    ],
    ids=["none", "empty", "binary", "no first line", "gone"],
)
def test_checkpoints_are_found_without_a_state_file(tmp_path, state):
    for step in (9, 100):
        save(tmp_path, step)
    (tmp_path / "model.ckpt-best.index").write_bytes(b"x")
    (tmp_path / "model.ckpt-2000 (copy).index").write_bytes(b"x")
    (tmp_path / "checkpoint").unlink()
    if state is not None:
        (tmp_path / "checkpoint").write_bytes(state)
    assert checkpoints.newest(tmp_path) == str(tmp_path / "model.ckpt-100")


def test_a_state_file_with_a_byte_order_mark_or_a_windows_path_is_read(tmp_path):
    for step in (9, 100):
        save(tmp_path, step)
    for text in (
        b'\xef\xbb\xbfmodel_checkpoint_path: "model.ckpt-9"',
        b'model_checkpoint_path: "C:\\\\runs\\\\model.ckpt-9"',
    ):
        (tmp_path / "checkpoint").write_bytes(text)
        assert checkpoints.newest(tmp_path) == str(tmp_path / "model.ckpt-9")


@pytest.mark.parametrize("character", list("[]*?\\"))
def test_a_folder_that_tensorflow_cannot_restore_from_is_refused(tmp_path, character):
    with pytest.raises(UsageError, match="use a path without that character"):
        runs.Run(str(tmp_path / f"a{character}1"), "tests", flags_of())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_not_utf8_is_refused():
    with pytest.raises(UsageError, match="TensorFlow needs paths in UTF-8"):
        runs.Run("a\udcff", "tests", flags_of())


def test_a_folder_in_the_place_of_the_state_file_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(UsageError, match="checkpoint' must be a file"):
        runs.Run(str(tmp_path), "tests", flags_of())


def test_a_checkpoint_of_another_run_is_not_written_over(tmp_path):
    save(tmp_path, 9)
    for path in tmp_path.glob("model.ckpt-9.*"):
        path.with_name(path.name.replace("-9", "-20")).write_bytes(path.read_bytes())
    with runs.Run(str(tmp_path), "tests", flags_of()) as run:
        run.settle({})
        with pytest.raises(UsageError, match="would overwrite '.*model.ckpt-20', which"):
            run.newest_checkpoint()


def test_steps_of_other_integer_types_and_the_cookbooks_name_are_taken(tmp_path):
    for name, dtype in (("global_step", tf.int64), ("Variable", tf.int32)):
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.Variable(2.0, name="weight")
            tf.Variable(tf.constant(7, dtype), name=name, trainable=False)
            sess.run(tf.global_variables_initializer())
            prefix = tf.train.Saver().save(sess, str(tmp_path / name))
        assert checkpoints.stored_step(prefix) == 7
        with tf.Graph().as_default(), tf.Session() as sess:
            weight = tf.Variable(0.0, name="weight")
            step = tf.Variable(0, name="global_step", trainable=False)
            checkpoints.Saver().restore(sess, prefix)
            assert sess.run([weight, step]) == [2.0, 7]


def test_the_reason_of_an_error_is_found_behind_its_trace():
    text = "Graph execution error:\n\nDetected at node 'x' defined at (most recent call last):\n"
    error = tf.errors.DataLossError(None, None, text + "Node: 'x'\nChecksum differs\n\t [[{{x}}]]")
    assert programs.reason(error) == "Checksum differs"
    assert programs.reason(FileNotFoundError(2, "No such file or directory", "x")) == (
        "No such file or directory"
    )
    assert programs.reason(MemoryError()) == "MemoryError"


def test_names_that_users_chose_fit_into_a_line():
    assert programs.one_line("sea lion 日本 $5") == "sea lion 日本 $5"
    assert programs.one_line("a\nb\x1b[31m\udce9") == r"a\nb\x1b[31m\xe9"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("the file x"), 2, "error: the file x\n"),
        (TrainingError("the loss"), 1, "error: the loss\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (OSError(28, "No space left on device", "f"), 1, "'f' could not be written: No space"),
        (FileExistsError(17, "File exists", "f"), 2, "'f' cannot be a folder: File exists; move"),
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


def test_programs_set_defaults_unless_the_user_did(program_environment):
    """In a separate process, because a program prepares its process."""
    code = (
        "import os\nfrom tutorial_support import programs\nprograms.before_tensorflow()\n"
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'], os.environ['TF_CPP_MIN_LOG_LEVEL'])\n"
    )
    program_environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    program_environment["TF_ENABLE_ONEDNN_OPTS"] = "0"
    done = subprocess.run(
        [sys.executable, "-c", code], env=program_environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 3\n", "")


def test_tensorflow_loads_where_no_further_process_is_allowed(monkeypatch):
    def refuse(*arguments, **options):
        raise BlockingIOError

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with programs._without_chatter():
        pass


def test_a_sentence_that_cannot_be_written_leaves_the_exit_code(monkeypatch):
    @programs.program
    def main(argv=None):
        raise UsageError("odd")

    def write(text):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(write=write))
    assert main() == 2


def test_ctrl_c_while_tensorflow_is_imported_is_one_line(tmp_path, program_environment):
    (tmp_path / "tensorflow.py").write_text("import os\nos.killpg(0, 2)\nwhile True: pass\n")
    code = "from tutorial_support import programs; programs.before_tensorflow()"
    environment = program_environment | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), program_environment["PYTHONPATH"]])
    }
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # if it is set, there is no filter to interrupt
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        start_new_session=True,  # a terminal sends Ctrl-C to the whole group
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "error: interrupted\n")


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


@pytest.mark.parametrize("what", ["folder", "loop", "pipe", "nesting", "list", "large"])
def test_flags_that_cannot_be_read_are_named(what, tmp_path):
    path = tmp_path / "flags.json"
    make = {
        "folder": path.mkdir,
        "loop": lambda: path.symlink_to("flags.json"),
        "pipe": lambda: os.mkfifo(path),
        "nesting": lambda: path.write_text("[" * 100_000),
        "list": lambda: path.write_text("[]"),
        "large": lambda: path.write_bytes(b" " * (2 << 20)),
    }
    make[what]()
    with pytest.raises(UsageError, match=r"flags\.json: cannot be read .*; repair it or"):
        runs.read_flags(tmp_path)


def test_what_may_not_be_read_is_no_failed_write(tmp_path, monkeypatch, capsys):
    """The permissions are simulated, because root can read everything."""
    (tmp_path / "secret").write_text("x")

    def fails(path):
        @programs.program
        def main(argv=None):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        return main(), capsys.readouterr().err

    code, said = fails(tmp_path / "new")
    assert code == 1 and "could not be written: Permission denied" in said
    code, said = fails(tmp_path / "secret")
    assert code == 1 and "could not be written" in said
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for path in ("secret", "closed/file"):
        code, said = fails(tmp_path / path)
        assert code == 2 and f"{path}' cannot be read: Permission denied; change its" in said


def test_too_little_memory_is_one_sentence(capsys):
    @programs.program
    def main(argv=None):
        raise MemoryError("Unable to allocate 74.5 GiB")

    assert main() == 1
    assert "there is not enough memory (Unable to allocate 74.5 GiB); free some, or" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("call", ["flush", "close"])
def test_an_event_file_without_room_is_a_failed_write(call, tmp_path, capsys):
    """TensorFlow's error is of an unexpected kind (Unknown), so its origin decides."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @programs.program
    def main(argv=None):
        with tf.Graph().as_default():
            writer = tf.summary.FileWriter(str(tmp_path / "run"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # bytes
        for step in range(1500):
            writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag="x" * 1000)]), step)
        getattr(writer, call)()

    try:
        assert main([]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err
    assert "could not be written: " in said and "Traceback" not in said
    other = tf.errors.UnknownError(None, None, "Failed to flush: run/events.out.tfevents.1")
    assert not programs.is_failed_write(other)


def test_a_state_file_that_is_a_pipe_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "checkpoint")
    (tmp_path / "model.ckpt-3.index").write_bytes(b"")
    assert checkpoints.newest(tmp_path) == str(tmp_path / "model.ckpt-3")


def test_a_checkpoint_that_is_a_pipe_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "model.ckpt-3.data-00000-of-00001")
    (tmp_path / "model.ckpt-3.index").write_bytes(b"")
    with pytest.raises(UsageError, match="is a named pipe"):
        checkpoints.values(str(tmp_path / "model.ckpt-3"))


@pytest.mark.parametrize("version", [tf.train.SaverDef.V1, tf.train.SaverDef.V2])
def test_the_end_of_a_checkpoint_asks_for_no_more_than_there_is(version, tmp_path):
    """The footer has no checksum, so TensorFlow would try to allocate terabytes."""
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.get_variable("v", initializer=np.float32([1, 2]))
        sess.run(tf.global_variables_initializer())
        saver = tf.train.Saver(write_version=version)
        prefix = saver.save(sess, str(tmp_path / "x"), write_meta_graph=False)
    np.testing.assert_array_equal(checkpoints.values(prefix)["v"], [1, 2])
    path = next(tmp_path / name for name in ("x.index", "x") if (tmp_path / name).exists())
    content = bytearray(path.read_bytes())
    content[-48:-38] = b"\x00" + b"\xff" * 6 + b"\x0f\x00\x01"
    path.write_bytes(content)
    with pytest.raises(checkpoints.DamagedCheckpoint, match="is damaged at its end"):
        checkpoints.values(prefix)


def test_a_runs_pictures_name_the_split_that_was_evaluated(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(plots, "draw_predictions", lambda *a: titles.append(a[-1]) or [])
    run = begin(str(tmp_path / "run"), flags_of())
    for split in SPLITS:
        run.draw(np.array([0]), np.eye(2)[:1], ["a", "b"], lambda chosen: [], split=split)
    assert titles == [
        f"{split} images, run at step 10" for split in ("Train", "Validation", "Test")
    ]
