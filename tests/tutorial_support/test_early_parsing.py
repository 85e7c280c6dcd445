"""Programs answer --help and wrong flags without TensorFlow; a TensorFlow that cannot be loaded."""

import pathlib
import re
import subprocess
import sys

import pytest

from tutorial_support import menu

ROOT = pathlib.Path(menu.__file__).parent.parent


def run(environment, *arguments):
    """Runs a program where importing TensorFlow ends it with exit code 77."""
    package = pathlib.Path("unloadable", "tensorflow")
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("import os\nos._exit(77)\n")
    environment["PYTHONPATH"] = f"{package.parent.resolve()}:{ROOT}"
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_help_and_wrong_flags_need_no_tensorflow(program_environment):
    program = "mnist_mechanics.fully_connected_feed"
    shown = run(program_environment, program, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: python -m {program} ")
    assert "Train up to this step. (default: 2000)" in shown.stdout
    refused = run(program_environment, program, "--max_step", "5")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: unrecognized arguments: --max_step 5; did you mean --")
    assert run(program_environment, program, "--max_steps", "5").returncode == 77


@pytest.mark.slow
@pytest.mark.parametrize("package", menu.PACKAGES)
def test_no_program_loads_tensorflow_for_its_help(package, program_environment):
    programs = menu.programs_of(package)
    assert programs
    for program in programs:
        shown = run(program_environment, program, "--help")
        assert (program, shown.returncode, shown.stderr) == (program, 0, "")
        assert re.match(rf"usage: python -m {program}\b", shown.stdout)


ALTERNATE_STACK = """
import ctypes, sys

class Stack(ctypes.Structure):
    _fields_ = [("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

sys.modules["tensorflow"] = None  # it need not be loaded
from tutorial_support import programs
try:
    programs.before_tensorflow()
except ImportError:
    pass
found = Stack()
assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
print(found.flags, found.size > 4096)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the stack of signal handlers")
def test_signal_handlers_do_not_use_the_stack_of_a_running_product(program_environment):
    command = [sys.executable, "-c", ALTERNATE_STACK]
    done = subprocess.run(command, env=program_environment, capture_output=True, text=True)
    assert done.stdout == "0 True\n", done.stderr  # flags 2: there is none
