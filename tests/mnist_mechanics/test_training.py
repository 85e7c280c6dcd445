"""Runs the training programs with command-line arguments."""

import json
import pathlib
import re
import resource
import signal

import numpy as np
import pytest

from mnist_mechanics import (
    fully_connected_dataset,
    fully_connected_feed,
    fully_connected_looped,
)
from tests import processes
from tests.saved import assert_same, variables
from tutorial_support import checkpoints, event_files

PROGRAMS = {"feed": fully_connected_feed, "dataset": fully_connected_dataset}
SMALL = ("--sample", "--hidden1", "16", "--hidden2", "8", "--log_dir", "run")

both_programs = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)


def checkpoint_files():
    return sorted(path.name for path in pathlib.Path("run").glob("*ckpt*"))


@both_programs
def test_prints_saves_and_draws(program, tmp_path, capsys):
    assert program.main([*SMALL, "--max_steps", "250", "--learning_rate", "0.05"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for step, line in zip((0, 100, 200), lines[:3], strict=True):
        assert re.fullmatch(rf"Step {step}: loss = \d\.\d\d \(\d+\.\d{{3}} sec\)", line)
    for title, count, at in (("Training", 3600, 3), ("Validation", 400, 5), ("Test", 1000, 7)):
        assert lines[at] == f"{title} Data Eval:"
        found = re.fullmatch(
            rf"Num examples: {count}  Num correct: (\d+)  Precision @ 1: (0\.\d{{4}})",
            lines[at + 1],
        )
        assert float(found[2]) == pytest.approx(int(found[1]) / count, abs=1e-4)
        assert float(found[2]) > 0.3  # far above chance: it has learned

    run = tmp_path / "run"
    assert checkpoints.find(run) == str(run / "model.ckpt-250")
    assert variables(run)["global_step"] == 250
    scalars = event_files.scalars(run)
    assert scalars["loss"][0] == [0, 100, 200]
    assert scalars["loss"][1][0] > scalars["loss"][1][-1]
    assert scalars["accuracy/test"][0] == [250]
    for picture in ("loss.png", "accuracy.png", "confusion.png", "misclassified.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")
    flags = json.loads((run / "flags.json").read_text())
    assert flags["hidden1"] == 16
    assert flags["sample"] is True


@both_programs
def test_full_summaries_and_trace(program, tmp_path):
    assert program.main([*SMALL, "--max_steps", "101", "--summaries", "full", "--trace", "7"]) == 0
    tags = {(tag.kind, tag.name): tag for tag in event_files.read("run")}
    assert tags["scalars", "accuracy/validation"].steps == [0, 100, 101]
    assert tags["histograms", "variables/hidden1/weights"].steps == [0, 100]
    assert tags["histograms", "activations/hidden2"].steps == [0, 100]
    assert ("images", "images/image/0") in tags
    assert ("trace", "step7") in tags
    trace = json.loads((tmp_path / "run" / "trace-step-7.json").read_text())
    assert any("MatMul" in event.get("name", "") for event in trace["traceEvents"])


@both_programs
def test_fake_data(program, capsys):
    assert program.main(["--fake_data", "--max_steps", "120", "--log_dir", "run"]) == 0
    assert "Num examples: 10000  Num correct: 10000  Precision @ 1: 1.0000" in (
        capsys.readouterr().out
    )


@both_programs
def test_same_seed_same_run_other_seed_another(program, tmp_path):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        program.main([*SMALL[:-1], folder, "--max_steps", "40", "--seed", str(seed)])
    assert_same("a", "b")
    assert (variables("a")["hidden1/weights"] != variables("c")["hidden1/weights"]).any()


KILLS = {
    "feed": [
        ("Step 200:", signal.SIGKILL),  # before the first checkpoint
        ("Step 1200:", signal.SIGTERM),
        ("Step 2100:", signal.SIGKILL),
    ],
    "dataset": [("Step 300:", signal.SIGINT), ("Step 1200:", signal.SIGKILL)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_killed_anywhere_and_resumed_ends_bit_identical(
    name, tmp_path, program_environment, capsys
):
    program = PROGRAMS[name]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = [*SMALL[:-1], str(killed), "--max_steps", "2200"]
    assert program.main([*SMALL[:-1], str(whole), "--max_steps", "2200"]) == 0

    saved = 0
    for line, number in KILLS[name]:
        process = processes.start(program.__name__, *flags, env=program_environment, cwd=tmp_path)
        code, output = processes.kill_at(process, line, number)
        assert "Traceback" not in output
        assert (f"Resuming at step {saved} from" in output) == (saved > 0)
        if number == signal.SIGKILL:
            assert code == -number, output
            saved = stored_step(killed)
        else:
            assert code == 128 + number, output
            saved = int(re.search(r"Stopped by a signal; step (\d+) is saved", output)[1])
    assert program.main(flags) == 0
    assert f"Resuming at step {saved} from" in capsys.readouterr().out
    assert_same(whole, killed)
    # The event files contain the repeated steps twice, but they are read once.
    assert event_files.scalars(killed) == event_files.scalars(whole)


def stored_step(folder):
    prefix = checkpoints.newest(folder)
    return checkpoints.stored_step(prefix) if prefix else 0


def test_the_programs_continue_each_others_runs(capsys):
    assert fully_connected_feed.main([*SMALL, "--max_steps", "30"]) == 0
    assert fully_connected_dataset.main([*SMALL, "--max_steps", "60"]) == 0
    assert fully_connected_feed.main([*SMALL, "--max_steps", "90"]) == 0
    output = capsys.readouterr().out
    assert "Resuming at step 30" in output
    assert "Resuming at step 60" in output
    assert variables("run")["global_step"] == 90


def test_finished_run_is_left_alone_or_moved_aside(tmp_path, capsys):
    flags = [*SMALL, "--max_steps", "30"]
    assert fully_connected_feed.main(flags) == 0
    before = variables("run")
    assert fully_connected_feed.main(flags) == 0
    assert "is already at step 30; raise --max_steps to train" in capsys.readouterr().out
    assert (variables("run")["hidden1/weights"] == before["hidden1/weights"]).all()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert fully_connected_feed.main([*flags, "--fresh"]) == 0
    (aside,) = [path for path in tmp_path.iterdir() if path.name.startswith("run-")]
    assert (aside / "notes.txt").read_text() == "mine"
    assert variables(aside)["global_step"] == 30


def test_contradicting_flags_are_refused(capsys):
    assert fully_connected_feed.main([*SMALL, "--max_steps", "10"]) == 0
    assert (
        fully_connected_feed.main([*SMALL, "--max_steps", "20", "--seed", "5", "--batch_size", "9"])
        == 2
    )
    message = capsys.readouterr().err
    assert "--seed was 0, is 5" in message
    assert "--batch_size was 100, is 9" in message
    assert "--fresh" in message
    assert variables("run")["global_step"] == 10


@both_programs
def test_nan_loss_stops_and_keeps_the_last_checkpoint(program, capsys):
    flags = [*SMALL, "--learning_rate", "1e10"]
    assert program.main([*flags, "--max_steps", "1"]) in (0, 1)
    saved = checkpoint_files()
    assert program.main([*flags, "--max_steps", "50"]) == 1
    message = capsys.readouterr().err
    assert re.search(r"error: the loss is not finite at step \d+", message)
    assert "Traceback" not in message
    assert checkpoint_files() == saved


def test_variables_that_are_not_finite_are_never_saved(capsys):
    """The last step's loss is computed before its update, and it is the update that overflows."""
    flags = [*SMALL, "--learning_rate", "1e39", "--max_steps", "1"]
    assert fully_connected_feed.main(flags) == 1
    assert "a variable is not finite at step 1" in capsys.readouterr().err
    assert checkpoint_files() == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_steps", "many"], "--max_steps: expected a whole number from 1, not 'many'"),
        (["--learning_rate", "-1"], "--learning_rate: expected a finite number from 0"),
        (["--batch_size", "0"], "--batch_size"),
        (["--hidden1", "9" * 20], "--hidden1: expected at most 2147483647, not '999"),
        (["--input_data_dir", ""], "argument --input_data_dir: its value is empty"),
        (["--no_such_flag"], "--no_such_flag"),
        (["--trace", "30", "--max_steps", "30"], "--trace 30: the steps run from 0 to 29"),
        (["--sample", "--input_data_dir", "x"], "not allowed with"),
        (["--input_data_dir", "missing"], "there is no folder 'missing'"),
    ],
)
def test_wrong_flags_are_named(flags, message, capsys):
    assert fully_connected_feed.main([*flags, "--log_dir", "run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not pathlib.Path("run").exists()


def test_help_shows_every_default(capsys):
    assert fully_connected_feed.main(["--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for default in ("0.01", "2000", "128", "32", "100", "logs/mnist_feed"):
        assert f"(default: {default})" in printed


def test_folder_that_cannot_be_used_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert fully_connected_feed.main([*SMALL[:-1], "file/run"]) == 2
    assert "the run folder 'file/run' cannot be used" in capsys.readouterr().err


def test_second_training_in_the_same_folder_is_refused(tmp_path, program_environment, capsys):
    process = processes.start(
        "mnist_mechanics.fully_connected_feed",
        *SMALL,
        "--max_steps",
        10**7,
        env=program_environment,
        cwd=tmp_path,
    )
    assert process.stdout.readline().startswith("Step 0")
    try:
        assert fully_connected_feed.main([*SMALL, "--max_steps", "10000000"]) == 2
        assert "another process is training in 'run'" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()


@both_programs
def test_full_disk_is_one_sentence_and_earlier_checkpoints_stay(program, capsys):
    """A limit on the file size simulates a full disk: writing fails in the same way."""
    flags = [*SMALL, "--max_steps"]
    assert program.main([*flags, "20"]) == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        assert program.main([*flags, "40"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    message = capsys.readouterr().err
    assert "File too large" in message
    assert "free some space or name another folder" in message
    assert "Traceback" not in message
    assert variables("run")["global_step"] == 20
    assert np.isfinite(variables("run")["hidden1/weights"]).all()


def test_a_damaged_checkpoint_is_named_and_fallen_back_from(capsys, caplog):
    flags = ["--fake_data", "--max_steps", "2000", "--log_dir", "run"]
    assert fully_connected_feed.main(flags) == 0
    expected = variables("run")
    data = pathlib.Path("run/model.ckpt-2000.data-00000-of-00001")
    whole = data.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[:1000], flipped):
        data.write_bytes(damaged)
        assert fully_connected_feed.main(flags) == 2
        error = capsys.readouterr().err
        assert "the checkpoint 'run/model.ckpt-2000' cannot be read" in error
        assert "Graph execution error" not in error
        assert "resume from the one before it with --fallback" in error
    assert fully_connected_feed.main([*flags, "--fallback"]) == 0
    assert "'run/model.ckpt-2000' cannot be read" in caplog.text
    assert "Resuming at step 1000 from 'run/model.ckpt-1000'" in capsys.readouterr().out
    assert expected.keys() == variables("run").keys()
    for name, value in variables("run").items():
        assert np.array_equal(value, expected[name]), name


@pytest.mark.slow
def test_steps_looped_in_the_graph_are_the_same_steps(capsys):
    flags = [*SMALL[:-1]]
    run = fully_connected_looped.main
    assert fully_connected_dataset.main([*flags, "single", "--max_steps", "30"]) == 0
    assert run([*flags, "looped", "--max_steps", "30", "--steps_per_run", "20"]) == 0
    assert assert_same("single", "looped", atol=1e-6)["global_step"] == 30

    more = ["--max_steps", "110", "--steps_per_run", "50"]
    assert run([*flags, "looped", *more]) == 0  # resumes in the middle of a block
    assert run([*flags, "whole", *more]) == 0
    assert_same("looped", "whole")
    # The printed loss belongs to the step, not to a later step of its block.
    assert fully_connected_dataset.main([*flags, "single", "--max_steps", "110"]) == 0
    single, whole = (event_files.scalars(run_folder)["loss"] for run_folder in ("single", "whole"))
    assert single[0] == whole[0] == [0, 100]
    # The other program computes its summary just after the step. At the end of the block, the loss
    # would be 5% lower.
    np.testing.assert_allclose(single[1], whole[1], rtol=0.01)
    printed = re.findall(r"Step (?:0|100): loss = (\S+)", capsys.readouterr().out)
    assert printed[-2:] == [f"{whole[1][1]:.2f}"] * 2  # the last one is from the other program
    assert run([*flags, "whole", "--steps_per_run", "30"]) == 2
    assert "--steps_per_run 30 does not divide 100" in capsys.readouterr().err


def test_a_loop_stops_at_a_loss_that_is_not_finite(capsys):
    more = ["--max_steps", "200", "--steps_per_run", "50", "--learning_rate", "1e6"]
    assert fully_connected_looped.main(["--sample", "--log_dir", "run", *more]) == 1
    assert "a loss is not finite" in capsys.readouterr().err
    assert not pathlib.Path("run/checkpoint").exists()
