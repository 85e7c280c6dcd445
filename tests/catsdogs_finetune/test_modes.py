"""The programs after the switches that ported programs begin with."""

import pytest

from catsdogs_finetune import mobilenet_v2
from tests import modes, painted
from tests.catsdogs_finetune import tiny_net

PROGRAM = """
from catsdogs_finetune import evaluate, export, mobilenet_v2, predict, train
from tests.catsdogs_finetune import tiny_net
mobilenet_v2._STAGES = tiny_net.STAGES
flags = ["--data_dir", "photos", "--weights", "tiny.h5", "--image_size", "32"]
flags += ["--initial_epochs", "1", "--fine_tune_epochs", "1", "--train_dir", "run"]
flags += ["--fine_tune_at", "12", "--bottleneck_dir", "kept"]
for more in ([], ["--no_augmentation", "--fresh"]):
    assert train.main([*flags, *more]) == 0
    assert evaluate.main(["--checkpoint", "run"]) == 0
    assert predict.main(["--checkpoint", "run", "photos/red/001.jpg"]) == 0
    assert export.main(["--checkpoint", "run"]) == 0
"""


@pytest.mark.slow
@modes.each
def test_every_program_works_with(mode, tmp_path, program_environment, monkeypatch):
    monkeypatch.setattr(mobilenet_v2, "_STAGES", tiny_net.STAGES)
    painted.write_pictures(tmp_path / "photos", 12)
    tiny_net.write_weights(tmp_path / "tiny.h5")
    modes.run(mode, PROGRAM, env=program_environment, cwd=tmp_path)
