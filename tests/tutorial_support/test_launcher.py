"""The cluster launcher, its guard and the watchdog, with commands that start quickly."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest

from tests.conftest import REPOSITORY
from tutorial_support.cluster import guard, launcher

NAME = "import json, os, signal, time; job = json.loads(os.environ['TF_CONFIG'])['task']['type']; "


def run(program, *options):
    return launcher.main([*options, "--", sys.executable, "-c", NAME + program])


def test_lines_are_labelled_and_the_ps_ends_with_the_others(capfd):
    program = "print('a ' + job, flush=True); time.sleep(60) if job == 'ps' else None"
    assert run(program, "--workers", "2", "--evaluator") == 0
    out, err = capfd.readouterr()
    wanted = [f"[{job} 0] a {job}" for job in ("chief", "evaluator", "ps", "worker")]
    assert sorted(out.splitlines()) == wanted
    assert "anyone who can reach the tasks' ports" in err


@pytest.mark.parametrize("failure", [BrokenPipeError(), OSError(errno.ENOSPC, "full")])
def test_output_that_nobody_takes_ends_the_tasks(monkeypatch, capsys, failure):
    """Even a task that prints more than a pipe holds, and then would go on."""

    def write(text):
        raise failure

    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(write=write, flush=lambda: None))
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # keeps this process's standard output
    started = time.monotonic()
    assert run("print('x' * 10**6, flush=True); time.sleep(60)", "--ps", "0") == 1
    assert time.monotonic() - started < 20
    assert "error: " in capsys.readouterr().err


def test_a_failure_counts_although_sigchld_is_ignored():
    """As a supervisor may pass it on: Python then takes every exit code for 0."""
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
    run = "from tutorial_support.cluster import launcher; exit(launcher.main())"
    command = ["--ps", "0", "--workers", "1", "--", "false"]
    done = subprocess.run(
        [sys.executable, "-c", ignoring + run, *command], cwd=REPOSITORY, capture_output=True
    )
    assert done.returncode == 1 and b"chief 0 failed with exit code 1" in done.stdout


def test_a_system_without_process_groups_is_refused(monkeypatch, capsys):
    monkeypatch.delattr(os, "killpg")  # as on Windows
    assert run("pass") == 2
    assert "use Linux, macOS" in capsys.readouterr().err


@pytest.mark.parametrize(("end", "code"), [("exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_all_end_when_one_fails(capfd, end, code):
    started = time.monotonic()
    assert run(f"{end} if job == 'chief' else time.sleep(60)", "--workers", "3") == code
    assert time.monotonic() - started < 20
    said = capfd.readouterr().out
    assert f"chief 0 failed with exit code {code if code < 9 else -9}; ending the others." in said
    with pytest.raises(ChildProcessError):  # no child is left
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system does not tell")
def test_a_task_that_is_frozen_ends_all_although_no_other_waits_for_it(monkeypatch, capfd):
    monkeypatch.setattr(launcher, "GRACE", 1.0)
    assert run("os.kill(os.getpid(), signal.SIGSTOP) if job == 'worker' else None") == 1
    assert "worker 0 is stopped (SIGSTOP); ending all tasks." in capfd.readouterr().out


def test_what_does_not_end_is_killed(monkeypatch):
    """A task that ignores SIGTERM, a stopped task, and a process that a task has started."""
    monkeypatch.setattr(launcher, "GRACE", 1.0)
    program = """import signal, subprocess
if job == 'worker':
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(['sleep', '60'])
if job == 'ps':
    os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(2 if job == 'chief' else 60)
exit(job == 'chief')"""
    started = time.monotonic()
    assert run(program) == 1
    assert time.monotonic() - started < 20


def test_the_guard_ends_the_tasks_of_a_launcher_that_was_killed():
    command = [sys.executable, "-S", guard.__file__, "1"]
    sleeping = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(3)]
    stopped, known_to_have_ended, other = sleeping
    try:
        stopped.send_signal(signal.SIGSTOP)
        lines = f"{stopped.pid}\n{known_to_have_ended.pid}\n-{known_to_have_ended.pid}\n"
        subprocess.run(command, input=lines.encode(), check=True, timeout=20)
        assert stopped.wait(5) == -signal.SIGTERM
        assert known_to_have_ended.poll() is None and other.poll() is None
    finally:
        for process in sleeping:
            process.kill()
            process.wait()


WATCHED = """
import contextlib, os, signal, sys, time
from tutorial_support import programs
from tutorial_support.cluster import watchdog
watchdog.STOP_SECS = 1.0
watchdog._SLACK = 0.0
with programs.StopSignals() as stop, watchdog.Watchdog(0.5, "waited too long") as dog:
    {}
print("here")
"""


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("with dog.waiting(): pass\n    time.sleep(1.5)", 0, ""),
        ("with dog.waiting(): time.sleep(30)", 1, "error: waited too long\n"),
        (
            "with dog.waiting():\n        for _ in range(6): dog.progress(); time.sleep(0.2)",
            0,
            "",
        ),
        (
            "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)",
            143,
            "error: did not stop within 1 s after a signal\n",
        ),
        ("os.kill(os.getpid(), signal.SIGTERM)", 0, ""),
    ],
)
def test_the_watchdog_ends_what_waits_too_long(body, code, said):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED.format(body)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=25,
    )
    assert (done.returncode, done.stderr) == (code, said)
    assert done.stdout == ("here\n" if code == 0 else "")


def test_a_private_network_has_loopback_alone(capfd):
    isolated = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", "true"]
    if not shutil.which("unshare") or subprocess.run(isolated, check=False).returncode:
        pytest.skip("this system allows no network namespaces")
    program = (
        "import os, socket; print([name for _, name in socket.if_nameindex()]);"
        "listener = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(listener.getsockname()); print('uid', os.getuid())"
    )
    command = [sys.executable, "-m", "tutorial_support.local_cluster", "--private_network"]
    command += ["--ps", "0", "--workers", "1", "--", sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"[chief 0] ['lo']\n[chief 0] uid {os.getuid()}\n"
    assert not done.stderr


def test_a_private_network_that_cannot_be_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launcher.main(["--private_network", "--", "true"]) == 2
    assert "does not let you create a network namespace" in capsys.readouterr().err


def test_the_launcher_does_not_load_tensorflow():
    code = (
        "import sys; from tutorial_support import local_cluster; print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
