"""The switches that ported programs begin with: each is tried in a process of its own."""

import subprocess
import sys

import pytest

# Each is a function tf.disable_<name>().
NAMES = [
    "v2_behavior",
    "v2_tensorshape",
    "resource_variables",
    "eager_execution",
    "control_flow_v2",
    "tensor_equality",
]
each = pytest.mark.parametrize("mode", NAMES)
_BEGINNING = """
import sys
import tensorflow.compat.v1 as tf
getattr(tf, "disable_" + sys.argv[1])()
"""


def run(mode, program, *arguments, **options):
    """Runs Python source after a switch; its arguments are sys.argv[2:]."""
    command = [sys.executable, "-c", _BEGINNING + program, mode, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
