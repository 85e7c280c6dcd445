"""Runs of version 0.1.0 resume with today's programs, bit for bit.

The earlier version comes from this repository's own history.
"""

import os
import shutil
import subprocess
import sys

import pytest

from tests import painted
from tests.conftest import REPOSITORY
from tests.saved import assert_same

EARLIER = "ddf8bf5"  # a commit shortly before the package was restructured
TINY = "tests.catsdogs_finetune.tiny_net"
MNIST = ["--sample", "--hidden1", "16", "--hidden2", "8"]
CIFAR10 = ["--sample", "--recipe", "cookbook", "--batch_size", "16", "--save_every", "2"]
CIFAR10 += ["--eval_every", "100"]
FLOWERS = ["--image_dir", "photos", "--momentum", "0.9", "--bottleneck_dir", "flowers_kept"]
CATS = ["--data_dir", "photos", "--weights", "tiny.h5", "--bottleneck_dir", "cats_kept"]
CATS += ["--image_size", "32", "--fine_tune_at", "12", "--batch_size", "4"]
CATS += ["--learning_rate", "0.01", "--fine_tune_rate", "0.001"]
# For each program: its module, its flags, the flag of the run folder, the flags that end the first
# part of a run, and those that end the whole run.
PROGRAMS = {
    "MNIST, fed": (
        "mnist_mechanics.fully_connected_feed", MNIST, "log_dir",
        ["--max_steps", "30"], ["--max_steps", "50"],
    ),
    "MNIST, on tf.data": (
        "mnist_mechanics.fully_connected_dataset", MNIST, "log_dir",
        ["--max_steps", "30"], ["--max_steps", "50"],
    ),
    "CIFAR-10": (
        "cifar10_cnn.train", CIFAR10, "train_dir", ["--generations", "2"], ["--generations", "4"],
    ),
    "flowers": (
        "flowers_transfer.retrain", FLOWERS, "train_dir",
        ["--how_many_training_steps", "20"], ["--how_many_training_steps", "30"],
    ),
    "cats and dogs": (
        TINY, [*CATS, "--initial_epochs", "2"], "train_dir",
        ["--fine_tune_epochs", "1"], ["--fine_tune_epochs", "2"],
    ),
    "cats and dogs, plain": (
        TINY, [*CATS, "--initial_epochs", "2", "--no_augmentation"], "train_dir",
        ["--fine_tune_epochs", "1"], ["--fine_tune_epochs", "2"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The folder of the earlier version."""
    folder = tmp_path_factory.mktemp("earlier") / "version"
    for command in (
        ["git", "clone", "--quiet", "--shared", "--no-checkout", REPOSITORY, folder],
        ["git", "-C", folder, "checkout", "--quiet", "--detach", EARLIER],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the history has no {EARLIER} to make runs with: {done.stderr.strip()}")
    return folder


def run(version, module, *flags):
    """Runs a program of one version in the current folder."""
    environment = os.environ | {"PYTHONPATH": str(version)}
    command = [sys.executable, "-m", module, *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


WRITE_WEIGHTS = f"""
from catsdogs_finetune import mobilenet_v2
from {TINY} import STAGES, write_weights
mobilenet_v2._STAGES = STAGES
write_weights("tiny.h5")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_that_it_began_goes_on_to_the_bit(name, earlier, tmp_path):
    module, flags, folder_flag, part, whole = PROGRAMS[name]
    painted.write_pictures(tmp_path / "photos", 12)
    if module == TINY:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-c", WRITE_WEIGHTS], env=environment, check=True)
    run(earlier, module, *flags, *whole, f"--{folder_flag}", "whole")
    run(earlier, module, *flags, *part, f"--{folder_flag}", "parts")
    assert "Resuming at step" in run(
        REPOSITORY, module, *flags, *whole, f"--{folder_flag}", "parts"
    )
    assert_same("whole", "parts")


@pytest.mark.slow
def test_a_run_with_the_best_recipe_goes_on_to_the_bit(earlier, tmp_path):
    """The length of its schedule is fixed, so the run goes on from an earlier checkpoint."""
    flags = [*CIFAR10, "--recipe", "best", "--generations", "8", "--train_dir"]
    run(earlier, "cifar10_cnn.train", *flags, "whole")
    shutil.copytree("whole", "parts")
    for path in (tmp_path / "parts").glob("model.ckpt-8.*"):
        path.unlink()
    (tmp_path / "parts" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-6"\n')
    assert "Resuming at step 6" in run(REPOSITORY, "cifar10_cnn.train", *flags, "parts")
    assert_same("whole", "parts")
