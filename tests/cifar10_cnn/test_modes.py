"""The programs after the compatibility calls with which ported programs start."""

import pytest

from tests import modes
from tests.cifar10_cnn import records as made

PROGRAM = """
from cifar10_cnn import evaluate, export, train
flags = ["--train_dir", "run", "--batch_size", "8", "--eval_every", "2", "--data_dir", sys.argv[2]]
for recipe in ("best", "cookbook"):
    assert train.main([*flags, "--generations", "2", "--recipe", recipe, "--fresh"]) == 0
    assert evaluate.main(["--checkpoint", "run"]) == 0
    assert export.main(["--checkpoint", "run"]) == 0
"""


@pytest.mark.slow
@modes.each
def test_every_program_works_with(mode, tmp_path, program_environment):
    data = made.write(tmp_path / "set")
    modes.run(mode, PROGRAM, str(data), env=program_environment, cwd=tmp_path)
