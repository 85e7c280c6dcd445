"""The programs after the compatibility calls with which ported programs start."""

import subprocess
import sys

import pytest

from tests.cifar10_cnn import records as made

MODES = [
    "v2_behavior",
    "v2_tensorshape",
    "resource_variables",
    "eager_execution",
    "control_flow_v2",
    "tensor_equality",
]
PROGRAM = """
import sys
import tensorflow.compat.v1 as tf
getattr(tf, "disable_" + sys.argv[1])()
from cifar10_cnn import evaluate, export, train
flags = ["--train_dir", "run", "--batch_size", "8", "--eval_every", "2", "--data_dir", sys.argv[2]]
for recipe in ("best", "cookbook"):
    assert train.main([*flags, "--generations", "2", "--recipe", recipe, "--fresh"]) == 0
    assert evaluate.main(["--checkpoint", "run"]) == 0
    assert export.main(["--checkpoint", "run"]) == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_program_works_with(mode, tmp_path, program_environment):
    data = made.write(tmp_path / "set")
    command = [sys.executable, "-c", PROGRAM, mode, str(data)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=program_environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
