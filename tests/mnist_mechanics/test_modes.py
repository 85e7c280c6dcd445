"""The programs after the compatibility calls with which ported programs start."""

import subprocess
import sys

import pytest
from PIL import Image

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
from mnist_mechanics import (
    evaluate, export, fully_connected_dataset, fully_connected_feed, fully_connected_looped, predict
)
flags = ["--sample", "--hidden1", "16", "--hidden2", "8", "--max_steps", "100"]
for program in (fully_connected_feed, fully_connected_dataset, fully_connected_looped):
    run = program.__name__
    assert program.main([*flags, "--log_dir", run, "--summaries", "full"]) == 0
    assert program.main([*flags[:-1], "110", "--log_dir", run]) == 0
    assert evaluate.main(["--checkpoint", run]) == 0
    assert predict.main(["--checkpoint", run, "digit.png"]) == 0
    assert export.main(["--checkpoint", run]) == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_program_works_with(mode, tmp_path, program_environment):
    digit = Image.new("L", (28, 28), 255)
    digit.paste(0, (12, 4, 16, 24))
    digit.save(tmp_path / "digit.png")
    command = [sys.executable, "-c", PROGRAM, mode]
    done = subprocess.run(
        command, capture_output=True, text=True, env=program_environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
