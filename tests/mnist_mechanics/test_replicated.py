"""Runs the replicated MNIST program as processes on loopback."""

import contextlib
import functools
import http.server
import json
import pathlib
import re
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
import tensorflow.compat.v1 as tf
from tensorboard.backend.event_processing import plugin_event_multiplexer

from mnist_mechanics import fully_connected_feed, fully_connected_replicated
from mnist_mechanics.trained import TrainedNet
from tests import in_cluster
from tests.conftest import REPOSITORY
from tests.saved import assert_same, variables
from tutorial_support import checkpoints, drivers, event_files, programs, runs, summaries
from tutorial_support.cluster import clusters, launcher, replicas, sessions
from tutorial_support.programs import TrainingError, UsageError

COMMAND = [sys.executable, "-m", "mnist_mechanics.fully_connected_replicated", "--sample"]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


@pytest.mark.slow
def test_two_synchronous_workers_follow_the_single_process(capfd, monkeypatch):
    # A proxy that nobody can reach: the tasks do not use it.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    flags = ["--max_steps", "60", "--batch_size", "50", "--log_dir"]
    command = [*COMMAND, *flags, "replicated", "--sync"]
    assert launcher.run(command, launcher.plan(1, 2)) == 0
    printed = capfd.readouterr().out
    assert re.search(r"^\[chief 0\] Step 0: loss = 2\.3", printed, re.M)
    assert re.search(r"^\[worker 0\] Step 0: loss = 2\.3", printed, re.M)
    assert fully_connected_feed.main([*flags, "single", "--sample"]) == 0
    assert assert_same("single", "replicated", atol=1e-6)["global_step"] == 60


class Tasks:
    """The tasks of a cluster as processes that can be started and ended one by one."""

    def __init__(self, command):
        self.command, self.plan = command, launcher.plan(1, 2)
        self.processes, self.lines = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.processes.values():
            process.kill()
            process.communicate()

    def begin(self, job):
        self.processes[job] = launcher.start(self.command, self.plan[job, 0])
        self.lines[job] = []

    def step(self, job, seconds=60):
        """Waits until a task prints another step; returns the step."""
        due = time.monotonic() + seconds
        for line in self.processes[job].stdout:
            self.lines[job].append(line.decode())
            if match := re.match(r"Step (\d+):", self.lines[job][-1]):
                return int(match[1])
            assert time.monotonic() < due
        pytest.fail(f"{job} ended: {''.join(self.lines[job])}")

    def reach(self, job, step):
        """Waits until a task has reached a step; returns the first step that it printed."""
        first = found = self.step(job)
        while found < step:
            found = self.step(job)
        return first

    def read_until(self, job, text):
        """Reads a task's output up to a line with this text."""
        for line in self.processes[job].stdout:
            self.lines[job].append(line.decode())
            if text in self.lines[job][-1]:
                return
        pytest.fail(f"{job} ended: {''.join(self.lines[job])}")

    def end(self, number, *jobs):
        """Sends a signal to tasks; returns their exit codes."""
        for job in jobs:
            self.processes[job].send_signal(number)
        return self.wait(*jobs)

    def wait(self, *jobs):
        """Waits until tasks have ended; returns their exit codes."""
        for job in jobs:
            output, _ = self.processes[job].communicate(timeout=60)
            self.lines[job].append(output.decode())
        return [self.processes[job].returncode for job in jobs]


@pytest.mark.slow
def test_tasks_are_killed_and_come_back_and_all_end_with_a_checkpoint():
    with Tasks([*COMMAND, "--max_steps", "1000000", "--log_dir", "run"]) as tasks:
        tasks.begin("worker")  # before the ps
        tasks.begin("chief")
        tasks.begin("ps")
        tasks.step("worker")
        assert tasks.end(signal.SIGKILL, "worker") == [-9]
        tasks.reach("chief", 500)  # asynchronous training continues without it

        tasks.reach("chief", 1100)
        assert tasks.end(signal.SIGKILL, "chief") == [-9]
        saved = variables("run")["global_step"]
        assert saved >= 1000
        tasks.begin("worker")  # it only needs the variables on the ps
        tasks.begin("chief")
        assert tasks.reach("chief", saved + 100) >= saved
        tasks.step("worker")

        saved = variables("run")["global_step"]
        assert tasks.end(signal.SIGKILL, "ps") == [-9]
        tasks.begin("ps")
        tasks.read_until("chief", "a ps was lost")  # and the steps that it printed before
        step = tasks.step("chief")
        assert step >= saved
        tasks.reach("worker", step)

        assert tasks.end(signal.SIGTERM, "worker") == [143]  # does not end the others
        step = tasks.reach("chief", tasks.step("chief") + 200)
        codes = tasks.end(signal.SIGHUP, "chief", "ps")  # as a closed terminal sends it
        assert codes == [129] * 2, tasks.lines
        assert variables("run")["global_step"] >= step
        steps, _ = event_files.scalars("run")["loss"]
        assert steps == sorted(set(steps)) and steps[-1] > step - 200


@pytest.mark.slow
def test_synchronous_tasks_end_together_and_come_back():
    with Tasks([*COMMAND, "--sync", "--max_steps", "1000000", "--log_dir", "run"]) as tasks:
        for job in ("ps", "chief", "worker"):
            tasks.begin(job)
        tasks.step("worker")
        # The chief's exit code also tells a supervisor that the training is not finished.
        assert tasks.end(signal.SIGTERM, "worker") + tasks.wait("chief") == [143, 143]
        saved = variables("run")["global_step"]
        tasks.begin("worker")  # waits for the chief
        time.sleep(10)
        tasks.begin("chief")
        assert tasks.step("worker") >= saved and tasks.step("chief") >= saved
        assert "Traceback" not in "".join(sum(tasks.lines.values(), []))


@pytest.mark.slow
def test_a_synchronous_worker_never_sends_the_gradient_of_a_step_twice():
    """It is killed while the chief is frozen; training resumes from the newest checkpoint."""
    command = [*COMMAND, "--sync", "--max_steps", "1400", "--log_dir", "run", "--wait_secs", "40"]
    with Tasks(command) as tasks:
        for job in ("ps", "chief", "worker"):
            tasks.begin(job)
        tasks.reach("chief", 1000)
        tasks.processes["chief"].send_signal(signal.SIGSTOP)
        time.sleep(1)
        assert tasks.end(signal.SIGKILL, "worker") == [-9]
        tasks.begin("worker")  # ends the training and waits for a new chief
        time.sleep(8)
        tasks.processes["chief"].send_signal(signal.SIGCONT)
        assert tasks.wait("chief") == [1]
        tasks.begin("chief")
        assert tasks.wait("chief", "worker") == [0, 0]
    assert launcher.run([*command[:-4], "--log_dir", "whole"], launcher.plan(1, 2)) == 0
    assert_same("whole", "run")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_told_in_a_sentence(capfd):
    command = [*COMMAND, "--sync", "--learning_rate", "1e30", "--log_dir", "run"]
    assert launcher.run(command, launcher.plan(1, 2)) == 1
    printed = capfd.readouterr().out
    assert re.search(
        r"^\[\w+ 0\] error: the loss is not finite at step 1, so training has", printed, re.M
    )
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--sync"], []], ids=["synchronous", "asynchronous"])
def test_a_frozen_ps_holds_nobody(options):
    """A stopped process keeps its connections open, like a machine that hangs."""
    command = [*COMMAND, "--max_steps", "1000000", "--log_dir", "run", *options]
    with Tasks([*command, "--wait_secs", "10"]) as tasks:
        for job in ("ps", "chief", "worker"):
            tasks.begin(job)
        tasks.step("chief")
        tasks.processes["ps"].send_signal(signal.SIGSTOP)
        started = time.monotonic()
        assert tasks.wait("chief", "worker") == [1, 1]
        assert time.monotonic() - started < 25
        assert "other tasks kept chief 0 waiting for more than 10 s" in "".join(
            tasks.lines["chief"]
        )


@pytest.mark.slow
def test_a_task_that_waits_for_a_frozen_ps_ends_within_30_seconds_of_a_signal():
    command = [*COMMAND, "--max_steps", "1000000", "--log_dir", "run", "--wait_secs", "600"]
    with Tasks(command) as tasks:
        for job in ("ps", "chief"):
            tasks.begin(job)
        tasks.step("chief")
        tasks.processes["ps"].send_signal(signal.SIGSTOP)
        time.sleep(3)
        tasks.processes["chief"].send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert tasks.wait("chief") == [143]
        assert 20 < time.monotonic() - started < 35
        assert "did not stop within 25 s after a signal" in "".join(tasks.lines["chief"])


@pytest.mark.slow
def test_the_tasks_of_a_killed_launcher_save_and_end():
    command = [sys.executable, "-m", "tutorial_support.local_cluster", "--workers", "1", "--"]
    command += [*COMMAND, "--max_steps", "1000000", "--log_dir", "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        for line in process.stdout:
            if b"Step 200:" in line:
                break
        children = {pid for pid, parent in processes() if parent == process.pid}
        assert len(children) == 3  # ps, chief and guard
        process.kill()
    due = time.monotonic() + 60
    while children & {pid for pid, _ in processes()} and time.monotonic() < due:
        time.sleep(0.2)
    assert not children & {pid for pid, _ in processes()}
    assert variables("run")["global_step"] >= 200


def processes():
    """Yields (process id, parent's process id)."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(stat.parent.name), int(fields[1])


def flags(*options, log_dir="run", max_steps=20):
    parser = programs.ArgumentParser("")
    fully_connected_feed.add_flags(parser, "")
    replicas.add_flags(parser)
    log_dir, max_steps = ["--log_dir", log_dir], ["--max_steps", str(max_steps)]
    return parser.parse_args(["--sample", *log_dir, *max_steps, *options])


def train(*options, num_workers=1, **more):
    run_worker = fully_connected_replicated.run_worker
    return in_cluster.train(run_worker, lambda: flags(*options, **more), num_workers)


def test_full_disk_and_damaged_checkpoint_cost_no_more_than_they_touch():
    """A limit on the file size simulates a full disk: writing fails in the same way."""
    assert train(max_steps=20) == [0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        with pytest.raises(Exception, match="File too large"):
            train(max_steps=40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert variables("run")["global_step"] == 20
    assert train(max_steps=40) == [0]
    assert variables("run")["global_step"] == 40

    data = pathlib.Path("run/model.ckpt-40.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UsageError, match="model.ckpt-40' cannot be read.*--fallback"):
        train(max_steps=60)
    assert train("--fallback", max_steps=60) == [0]
    assert variables("run")["global_step"] == 60


@pytest.mark.parametrize("options", [["--sync"], []], ids=["synchronous", "asynchronous"])
def test_no_nan_is_saved(options):
    with pytest.raises(TrainingError, match="the loss is not finite"):
        train("--learning_rate", "1e30", *options, num_workers=2)
    with pytest.raises(TrainingError, match="a variable is not finite"):
        train("--learning_rate", "1e39", *options, "--fresh", max_steps=1)  # a finite loss
    assert checkpoints.newest("run") is None
    assert not list(pathlib.Path("run").glob("model.ckpt*"))


def test_an_event_file_continues_where_the_checkpoint_was():
    assert train(max_steps=110) == [0]
    with tf.Graph().as_default(), tf.summary.FileWriter("run", filename_suffix=".1") as writer:
        for step in (200, 300, 400):  # written by a killed chief after its checkpoint
            summaries.write_scalar(writer, "loss", 9.0, step)
    assert train(max_steps=220) == [0]
    steps, values = event_files.scalars("run")["loss"]
    assert steps == [0, 100, 200] and max(values) < 3
    assert len(list(pathlib.Path("run").glob("*tfevents*"))) == 3


def test_a_cluster_resumes_where_the_current_folder_looks_like_a_pattern(tmp_path, monkeypatch):
    (tmp_path / "a[1]").mkdir()
    monkeypatch.chdir(tmp_path / "a[1]")
    assert train(max_steps=3) == [0]
    assert train(max_steps=5) == [0]
    assert checkpoints.stored_step(checkpoints.find("run")) == 5


def test_a_chief_killed_before_its_first_checkpoint_has_a_graph_in_tensorboard():
    assert train(max_steps=5) == [0]
    for path in [*pathlib.Path("run").glob("model.ckpt-*"), pathlib.Path("run/checkpoint")]:
        path.unlink()
    assert train(max_steps=5) == [0]
    multiplexer = plugin_event_multiplexer.EventMultiplexer({"run": "run"})
    multiplexer.Reload()
    assert "hidden1/weights" in [node.name for node in multiplexer.Graph("run").node]


def test_a_worker_with_other_flags_is_refused():
    ps, (chief, worker, late) = in_cluster.start(3)
    other = flags("--hidden1", "64", "--wait_secs", "20")
    tasks = [(flags(), chief), (other, worker)]
    trained, refused = in_cluster.run_all(fully_connected_replicated.run_worker, tasks)
    assert trained.result() == 0
    assert isinstance(refused.exception(), UsageError)
    assert "--hidden1 is 128 there, 64 here" in str(refused.exception())
    same = flags(max_steps=7)  # the chief decides on the last step
    assert fully_connected_replicated.run_worker(same, late) == 0
    on_board(ps, chief, sessions.Noticeboard.claim, "another")  # the first training has ended
    del ps


def on_board(ps, cluster, call, folder, **description):
    """Calls a method of the noticeboard of a task with these flags."""
    config = tf.ConfigProto(device_filters=["/job:ps"])
    with tf.Graph().as_default(), tf.Session(ps.target, config=config) as sess:
        tf.Variable(0, name="global_step", collections=["global_step", "variables"])
        return call(
            sessions.Noticeboard(cluster, pathlib.Path(folder), description, ["seed"], 9), sess
        )


def test_a_second_chief_is_refused():
    ps, (chief,) = in_cluster.start(1)
    elsewhere = clusters.Cluster(chief.addresses | {"chief": ["127.0.0.1:1"]}, "chief", 0)

    def end_early(board, sess):
        sess.run(tf.global_variables_initializer())  # the step is 0, the last step 9
        board.end_early(sess)
        assert sess.run([board.stop_after, board.last_step]) == [1, 9]

    claim, has_chief = sessions.Noticeboard.claim, sessions.Noticeboard.has_chief
    board = functools.partial(on_board, ps, chief)
    assert not board(has_chief, "a", hidden1=1)
    board(claim, "a", hidden1=1)
    board(claim, "a", hidden1=1)  # the same chief, restarted
    for place, folder in ((chief, "b"), (elsewhere, "a")):
        with pytest.raises(UsageError, match=f"of the chief at {chief.computing[0]} in 'a', but"):
            on_board(ps, place, claim, folder)
    assert board(has_chief, "elsewhere", hidden1=1, seed=2)  # a worker's path may differ
    with pytest.raises(UsageError, match="--hidden1 is 1 there, 2 here"):
        board(has_chief, "a", hidden1=2)
    on_board(ps, chief, end_early, "a", hidden1=1)
    board(sessions.Noticeboard.release, "a")
    assert not board(has_chief, "a", hidden1=1)  # it ended early and will come back
    board(claim, "a", hidden1=1)
    board(sessions.Noticeboard.release, "a")
    assert board(has_chief, "a", hidden1=1)  # it finished, so this worker can end
    assert not board(has_chief, "a", hidden1=2)  # it waits for the next chief
    board(claim, "b", hidden1=2)
    assert board(has_chief, "a", hidden1=2)
    with pytest.raises(UsageError, match="this is the chief at 127.0.0.1:1 for 'b'"):
        on_board(ps, elsewhere, claim, "b")


def test_a_chief_takes_no_folder_of_a_running_or_another_training():
    ps, (chief,) = in_cluster.start(1)
    run_worker = fully_connected_replicated.run_worker
    assert train(max_steps=1) == [0]
    with runs.Run("run", "mnist_mechanics", flags()):
        before = sorted(pathlib.Path("run").iterdir())
        with pytest.raises(UsageError, match="another process is training in 'run'"):
            run_worker(flags("--fresh"), chief)
        assert sorted(pathlib.Path("run").iterdir()) == before
    pathlib.Path("run/flags.json").write_text('{"program": "cifar10_cnn"}')
    with pytest.raises(UsageError, match="contains a run of cifar10_cnn"):
        run_worker(flags(), chief)
    assert run_worker(flags("--fresh"), chief) == 0
    del ps


def test_an_evaluator_takes_a_newer_checkpoint_when_its_own_is_deleted(monkeypatch, capsys, caplog):
    assert train(max_steps=20) == [0]
    evaluate_once = drivers.evaluate_once

    def after_a_save(net, evaluator_flags):
        if net.step == 20:
            assert train("--keep_checkpoints", "1", max_steps=40) == [0]
        evaluate_once(net, evaluator_flags)

    monkeypatch.setattr(drivers, "evaluate_once", after_a_save)
    watch = ["--checkpoint", "run", "--eval_interval_secs", "0.1", "--sample"]
    assert drivers.evaluate(TrainedNet, "", watch) == 0
    assert "model.ckpt-20' was deleted during its evaluation" in caplog.text
    assert "Evaluating 'run/model.ckpt-40', step 40" in capsys.readouterr().out


def test_a_worker_whose_variables_a_new_chief_has_cleared_says_so(monkeypatch, capsys):
    def cleared(flags, cluster):
        raise tf.errors.FailedPreconditionError(None, None, "Could not find variable")

    def add_flags(parser):
        parser.add_argument("--batch_size", type=int, default=2)

    monkeypatch.setenv("TF_CONFIG", json.dumps(launcher.plan(1, 2)["worker", 0]))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    assert replicas.program(None, add_flags, cleared, TrainedNet)([]) == 1
    assert "restart worker 0" in capsys.readouterr().err


def test_wrong_use_is_one_sentence(monkeypatch, capsys):
    main = fully_connected_replicated.main
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert main(["--sample"]) == 2
    assert "needs the environment variable TF_CONFIG" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", json.dumps(launcher.plan(1, 3)["worker", 0]))
    assert main(["--sample", "--batch_size", "100"]) == 2
    assert (
        "--batch_size 100 is not a multiple of the number of workers, 3" in capsys.readouterr().err
    )
    assert main(["--sample", "--batch_size", "99", "--wait_secs", "0.3"]) == 2
    assert "did not answer within 0.3 s" in capsys.readouterr().err


def test_a_ps_that_is_no_tensorflow_server_is_named(monkeypatch, capsys):
    config = launcher.plan(1, 2)["chief", 0]
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        config["cluster"]["ps"] = [address := f"127.0.0.1:{server.server_port}"]
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert fully_connected_replicated.main(["--sample", "--wait_secs", "2"]) == 2
        server.shutdown()
    assert f"{address} accepts connections, but answered no call" in capsys.readouterr().err
