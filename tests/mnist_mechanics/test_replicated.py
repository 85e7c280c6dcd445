"""The replicated MNIST program, as processes on loopback."""

import json
import os
import pathlib
import re
import signal
import sys
import time

import numpy as np
import pytest

from mnist_mechanics import fully_connected_feed, fully_connected_replicated
from tests.conftest import REPOSITORY
from tests.saved import variables
from tutorial_support import local_cluster

COMMAND = [sys.executable, "-m", "mnist_mechanics.fully_connected_replicated", "--sample"]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def test_two_synchronous_workers_follow_the_single_process(capfd):
    flags = ["--max_steps", "60", "--batch_size", "50", "--log_dir"]
    command = [*COMMAND, *flags, "replicated", "--sync"]
    assert local_cluster.run(command, local_cluster.plan(1, 2)) == 0
    printed = capfd.readouterr().out
    assert re.search(r"^\[chief 0\] Step 0: loss = 2\.3", printed, re.M)
    assert re.search(r"^\[worker 0\] Step 0: loss = 2\.3", printed, re.M)
    assert fully_connected_feed.main([*flags, "single", "--sample"]) == 0
    expected, found = variables("single"), variables("replicated")
    assert expected.keys() == found.keys() and found["global_step"] == 60
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


class Task:
    """One task, its output in a file."""

    def __init__(self, command, config, name):
        self.process = local_cluster.start(command, config)
        self.lines = []
        self.name = name

    def wait_for(self, text, seconds=60):
        due = time.monotonic() + seconds
        for line in self.process.stdout:
            self.lines.append(line.decode())
            if text in self.lines[-1]:
                return
            assert time.monotonic() < due
        pytest.fail(f"{self.name} ended: {''.join(self.lines)}")

    def end(self, number):
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=30)
        self.lines.append(output.decode())
        return self.process.returncode


def test_workers_outlive_each_other_and_end_with_a_checkpoint():
    plan = local_cluster.plan(1, 2)
    command = [*COMMAND, "--max_steps", "1000000", "--log_dir", "run"]
    tasks = {}

    def begin(job):
        tasks[job] = Task(command, plan[job, 0], job)

    begin("worker")  # before there is a ps
    begin("chief")
    begin("ps")
    try:
        tasks["worker"].wait_for("Step 100:")
        assert tasks["worker"].end(signal.SIGKILL) == -9
        tasks["chief"].wait_for("Step 500:")  # asynchronous training goes on without it
        begin("worker")
        tasks["worker"].wait_for("Step ")
        assert tasks["worker"].end(signal.SIGTERM) == 143
        assert tasks["chief"].end(signal.SIGTERM) == 143, tasks["chief"].lines
        assert tasks["ps"].end(signal.SIGTERM) == 143
    finally:
        for task in tasks.values():
            task.process.kill()
    assert variables("run")["global_step"] > 500


def test_wrong_use_is_one_sentence(monkeypatch, capsys):
    main = fully_connected_replicated.main
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert main(["--sample"]) == 2
    assert "needs the variable TF_CONFIG" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", json.dumps(local_cluster.plan(1, 3)["worker", 0]))
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
    assert local_cluster.main(["--workers", "3", "--", sys.executable, "-c", program]) == 3
    assert time.monotonic() - started < 20
    assert "chief 0 failed with exit code 3; ending the others." in capfd.readouterr().out
    assert not [p for p in pathlib.Path("/proc").glob("[0-9]*") if _child(p)]


def _child(folder):
    try:
        return folder.joinpath("stat").read_text().split()[3] == str(os.getpid())
    except OSError:
        return False
