"""The replicated MNIST program, as processes on loopback."""

import json
import os
import pathlib
import re
import resource
import signal
import sys
import time

import numpy as np
import pytest

from mnist_mechanics import fully_connected_feed, fully_connected_replicated
from tests import in_cluster
from tests.conftest import REPOSITORY
from tests.saved import variables
from tutorial_support import programs
from tutorial_support.cluster import launcher, replicas
from tutorial_support.programs import UsageError

COMMAND = [sys.executable, "-m", "mnist_mechanics.fully_connected_replicated", "--sample"]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


@pytest.mark.slow
def test_two_synchronous_workers_follow_the_single_process(capfd):
    flags = ["--max_steps", "60", "--batch_size", "50", "--log_dir"]
    command = [*COMMAND, *flags, "replicated", "--sync"]
    assert launcher.run(command, launcher.plan(1, 2)) == 0
    printed = capfd.readouterr().out
    assert re.search(r"^\[chief 0\] Step 0: loss = 2\.3", printed, re.M)
    assert re.search(r"^\[worker 0\] Step 0: loss = 2\.3", printed, re.M)
    assert fully_connected_feed.main([*flags, "single", "--sample"]) == 0
    expected, found = variables("single"), variables("replicated")
    assert expected.keys() == found.keys() and found["global_step"] == 60
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


class Tasks:
    """A cluster's tasks as processes, to be started and ended one by one."""

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
        """Waits until a task tells of another step; returns the step's number."""
        due = time.monotonic() + seconds
        for line in self.processes[job].stdout:
            self.lines[job].append(line.decode())
            if match := re.match(r"Step (\d+):", self.lines[job][-1]):
                return int(match[1])
            assert time.monotonic() < due
        pytest.fail(f"{job} ended: {''.join(self.lines[job])}")

    def reach(self, job, step):
        """Waits until a task has reached a step; returns the first one that it told of."""
        first = found = self.step(job)
        while found < step:
            found = self.step(job)
        return first

    def end(self, number, *jobs):
        """Sends a signal to tasks; returns their exit codes."""
        for job in jobs:
            self.processes[job].send_signal(number)
        for job in jobs:
            output, _ = self.processes[job].communicate(timeout=30)
            self.lines[job].append(output.decode())
        return [self.processes[job].returncode for job in jobs]


@pytest.mark.slow
def test_tasks_are_killed_and_come_back_and_all_end_with_a_checkpoint():
    with Tasks([*COMMAND, "--max_steps", "1000000", "--log_dir", "run"]) as tasks:
        tasks.begin("worker")  # before there is a ps
        tasks.begin("chief")
        tasks.begin("ps")
        tasks.step("worker")
        assert tasks.end(signal.SIGKILL, "worker") == [-9]
        tasks.reach("chief", 500)  # asynchronous training goes on without it

        tasks.reach("chief", 1100)
        assert tasks.end(signal.SIGKILL, "chief") == [-9]
        saved = variables("run")["global_step"]
        assert saved >= 1000
        tasks.begin("worker")  # which the variables on the ps are enough for
        tasks.begin("chief")
        assert tasks.reach("chief", saved + 100) >= saved
        tasks.step("worker")

        saved = variables("run")["global_step"]
        assert tasks.end(signal.SIGKILL, "ps") == [-9]
        tasks.begin("ps")
        for _ in range(2):  # of which at most the first was printed before
            step = tasks.step("chief")
        assert step >= saved
        tasks.reach("worker", step)
        assert "a ps was lost" in "".join(tasks.lines["chief"])

        assert tasks.end(signal.SIGTERM, "worker") == [143]  # which ends no one else
        step = tasks.reach("chief", tasks.step("chief") + 200)
        codes = tasks.end(signal.SIGTERM, "chief", "ps")
        assert codes == [143] * 2, tasks.lines
        assert variables("run")["global_step"] >= step


def test_full_disk_and_damaged_checkpoint_cost_no_more_than_they_touch():
    """A limit on the size of files stands in for the full disk: writing fails in the same way."""

    def train(max_steps, *options):
        def parse():
            arguments = ["--sample", "--log_dir", "run", "--max_steps", max_steps, *options]
            parser = programs.ArgumentParser("")
            fully_connected_feed.add_flags(parser, "")
            replicas.add_flags(parser)
            return parser.parse_args(arguments)

        return in_cluster.train(fully_connected_replicated.run_worker, parse, num_workers=1)

    assert train("20") == [0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        with pytest.raises(Exception, match="File too large"):  # which programs.py reports
            train("40")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert variables("run")["global_step"] == 20
    assert train("40") == [0]
    assert variables("run")["global_step"] == 40

    data = pathlib.Path("run/model.ckpt-40.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UsageError, match="model.ckpt-40' cannot be read.*--fallback"):
        train("60")
    assert train("60", "--fallback") == [0]
    assert variables("run")["global_step"] == 60


def test_wrong_use_is_one_sentence(monkeypatch, capsys):
    main = fully_connected_replicated.main
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert main(["--sample"]) == 2
    assert "needs the variable TF_CONFIG" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", json.dumps(launcher.plan(1, 3)["worker", 0]))
    assert main(["--sample", "--batch_size", "100"]) == 2
    assert "--batch_size 100 does not divide over 3 workers" in capsys.readouterr().err
    assert main(["--sample", "--batch_size", "99", "--wait_secs", "0.3"]) == 2
    assert "did not answer within 0.3 s" in capsys.readouterr().err


def test_the_launcher_ends_all_when_one_fails(capfd):
    program = (
        "import json, os, sys, time; task = json.loads(os.environ['TF_CONFIG'])['task']; "
        "sys.exit(3) if task['type'] == 'chief' else time.sleep(60)"
    )
    started = time.monotonic()
    assert launcher.main(["--workers", "3", "--", sys.executable, "-c", program]) == 3
    assert time.monotonic() - started < 20
    assert "chief 0 failed with exit code 3; ending the others." in capfd.readouterr().out
    assert not [p for p in pathlib.Path("/proc").glob("[0-9]*") if _child(p)]


def _child(folder):
    try:
        return folder.joinpath("stat").read_text().split()[3] == str(os.getpid())
    except OSError:
        return False
