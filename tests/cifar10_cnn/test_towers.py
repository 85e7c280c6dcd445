"""Compares several towers with one."""

import pytest
import tensorflow.compat.v1 as tf

from cifar10_cnn import train, train_towers
from cifar10_cnn.recipes import RECIPES
from tests.cifar10_cnn import records as made
from tests.saved import assert_same

FEW = ["--recipe", "cookbook", "--batch_size", "12", "--save_every", "4", "--eval_every", "4"]


@pytest.mark.slow
def test_towers_equal_one_and_checkpoints_go_both_ways(tmp_path, capsys):
    flags = [*FEW, "--data_dir", str(made.write(tmp_path / "set"))]
    assert train.main([*flags, "--generations", "8", "--train_dir", "one"]) == 0
    towers = [*flags, "--num_towers", "3", "--train_dir", "three"]
    assert train_towers.main([*towers, "--generations", "4"]) == 0
    assert train.main([*flags, "--generations", "6", "--train_dir", "three"]) == 0
    assert train_towers.main([*towers, "--num_towers", "2", "--generations", "8"]) == 0
    assert "Resuming at step 6" in capsys.readouterr().out
    assert assert_same("one", "three", atol=2e-5)["global_step"] == 8
    assert train_towers.main([*towers, "--num_towers", "5"]) == 2
    assert "--batch_size 12 is not a multiple of --num_towers 5" in capsys.readouterr().err


def test_each_tower_computes_and_differentiates_on_its_device():
    with tf.Graph().as_default() as graph:
        recipe = RECIPES["cookbook"]
        images, targets = tf.zeros([4, 24, 24, 3]), tf.zeros([4], tf.int32)
        loss, *_ = train_towers.mean_losses(2, images, targets, recipe, 10, tf.identity)
        tf.gradients(loss, tf.trainable_variables(), colocate_gradients_with_ops=True)
        for kind in ("Conv2D", "Conv2DBackpropFilter", "MatMul"):
            used = {op.device for op in graph.get_operations() if op.type == kind}
            assert used == {"/device:CPU:0", "/device:CPU:1"}, kind
        assert len(tf.trainable_variables()) == 10
        assert {v.device for v in tf.trainable_variables()} == {"/device:CPU:0"}
