"""The programs after the compatibility calls with which ported programs start."""

import pytest
from PIL import Image

from tests import modes

PROGRAM = """
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
@modes.each
def test_every_program_works_with(mode, tmp_path, program_environment):
    digit = Image.new("L", (28, 28), 255)
    digit.paste(0, (12, 4, 16, 24))
    digit.save(tmp_path / "digit.png")
    modes.run(mode, PROGRAM, env=program_environment, cwd=tmp_path)
