"""Fixtures for all tests; they keep every test away from the network and the user's home."""

import importlib
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tutorial_support import programs  # noqa: E402

for _name, _value in programs.ENVIRONMENT.items():  # importing a tutorial does not set them
    os.environ.setdefault(_name, _value)

REAL_DATA_VARIABLE = "GRAPH_TUTORIALS_REAL_DATA"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Uses two processes, for two cores, unless a debugger or `-n` is given."""
    if hasattr(config, "workerinput") or not config.pluginmanager.has_plugin("xdist"):
        return
    if config.option.numprocesses is None and not config.option.usepdb:
        config.option.numprocesses, config.option.dist = 2, "worksteal"


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """Runs each test in an empty folder, with an empty data cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPH_TUTORIALS_DATA", str(tmp_path / "cache"))


@pytest.fixture
def seeds_required(monkeypatch):
    """Random ops without a seed are refused, as with TF_DETERMINISTIC_OPS=1."""
    config = importlib.import_module("tensorflow.python.framework.config")
    monkeypatch.setattr(config, "is_op_determinism_enabled", lambda: True)


@pytest.fixture
def real_data():
    """The folder with the real data sets; tests that need it are skipped if it is missing."""
    folder = os.environ.get(REAL_DATA_VARIABLE)
    if not folder:
        pytest.skip(f"{REAL_DATA_VARIABLE} names no folder of real data sets")
    return pathlib.Path(folder)


@pytest.fixture
def lost_in_a_power_cut(monkeypatch):
    """A function: which files and folders below a folder have not reached the disk since a change.

    Of a folder that has changed since, it only asks whether it ever did.
    """
    reached, real = {}, os.fsync

    def fsync(descriptor):
        status = os.fstat(descriptor)
        reached[status.st_ino] = status.st_mtime_ns
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    def lost(folder):
        status = {path: path.stat() for path in [folder, *folder.rglob("*")]}
        return {
            path.name
            for path, now in status.items()
            if now.st_ino not in reached
            or (path.is_file() and reached[now.st_ino] != now.st_mtime_ns)
        }

    return lost


@pytest.fixture
def program_environment(tmp_path):
    """The environment for a program that is started as a separate process."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "GRAPH_TUTORIALS_DATA": str(tmp_path / "c")}


@pytest.fixture
def pictures_not_drawn(monkeypatch):
    """Saves drawings as empty files: to render them takes a fifth of the time of a short run."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: pathlib.Path(path).touch())


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """The wheel, built from the source distribution, as `pip` and `build` do."""
    folder = tmp_path_factory.mktemp("dist")
    # Build a copy, because a build writes into its folder and another process may build too.
    copy = tmp_path_factory.mktemp("copy") / "repository"
    unwanted = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "logs", "__pycache__")
    shutil.copytree(REPOSITORY, copy, ignore=unwanted)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, copy]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


@pytest.fixture(scope="session")
def installed(distributions, tmp_path_factory):
    """The folder into which the wheel is installed; nothing else is in it."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", folder]
    subprocess.run([*command, distributions[0]], check=True, capture_output=True)
    return folder
