"""Weights from Keras' h5 files, of every layout, into a graph."""

import json
import pathlib
import re

import h5py
import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, pretrained
from tests import loopback
from tutorial_support.programs import UsageError

ALPHA = 0.35


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Files of one net in every layout, and its weights by name."""
    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(3)
    net = keras.applications.MobileNetV2((96, 96, 3), ALPHA, include_top=False, weights=None)
    random = np.random.default_rng(0)
    net.set_weights([random.normal(size=value.shape) for value in net.get_weights()])
    net.save_weights(folder / "keras3.weights.h5")
    net.save(folder / "whole.h5")
    values = {
        v.path.replace("depthwise/kernel", "depthwise/depthwise_kernel"): value.astype(np.float32)
        for v, value in zip(net.weights, net.get_weights(), strict=True)
    }
    write(folder / "keras2.h5", values)
    top = {"predictions/kernel": np.ones((1280, 10)), "predictions/bias": np.ones(10)}
    write(folder / "top.h5", values | top)
    write(folder / "first.h5", {first_name(name): value for name, value in values.items()})
    return folder, values


def first_name(name):
    """The name that a variable has in the files that were published first."""
    layer, _, variable = name.partition("/")
    parts = re.fullmatch(r"(expanded_conv|block_(\d+))_(\w+?)(_BN)?", layer)
    if parts is None:
        return name
    number = parts[2] or "0"
    kind, normalised = ("bn", "bn_") if parts[4] else ("mobl", "")
    return f"{kind}{number}_conv_{number}_{normalised}{parts[3]}/{variable}"


def write(path, values):
    """A file in Keras 2's layout: a group a layer, in it the names with their scopes."""
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[f"{name.partition('/')[0]}/{name}:0"] = value


def shapes():
    with tf.Graph().as_default():
        mobilenet_v2.features(tf.zeros([1, 96, 96, 3]), ALPHA)
        return {v.op.name: v.shape.as_list() for v in tf.global_variables()}


@pytest.mark.parametrize(
    "name", ["keras3.weights.h5", "whole.h5", "keras2.h5", "top.h5", "first.h5"]
)
def test_every_layout_gives_the_same_weights(name, made):
    folder, expected = made
    assert pretrained.alpha_of(folder / name) == ALPHA
    values = pretrained.read(folder / name, shapes())
    assert values.keys() == expected.keys()
    for key, value in values.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_assigned_weights_are_in_the_variables_and_not_in_the_graph(made):
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        mobilenet_v2.features(tf.zeros([1, 96, 96, 3]), ALPHA)
        before = len(graph.as_graph_def().SerializeToString())
        sess.run(tf.global_variables_initializer(), pretrained.initial_values(made[1]))
        for name, value in sess.run({v.op.name: v for v in tf.global_variables()}).items():
            np.testing.assert_array_equal(value, made[1][name])
        assert len(graph.as_graph_def().SerializeToString()) < before + 30_000 < 2_000_000


def test_what_is_missing_misshapen_and_surplus_is_listed(made):
    values = dict(made[1])
    del values["Conv1/kernel"]
    values["bn_Conv1/gamma"] = np.ones(7)
    values["Conv2/kernel"] = np.ones(3)
    write("wrong.h5", values)
    with pytest.raises(UsageError) as error:
        pretrained.read("wrong.h5", shapes())
    for line in (
        "missing in the file: Conv1/kernel [3, 3, 3, 16]",
        "misshapen: bn_Conv1/gamma is [7] in the file, [16] in the graph",
        "surplus in the file: Conv2/kernel [3]",
        "Name weights of the same --alpha.",
    ):
        assert line in str(error.value)


def test_numbers_that_are_not_finite_are_named(made):
    write("nan.h5", made[1] | {"Conv1/kernel": np.full((3, 3, 3, 16), np.nan)})
    with pytest.raises(UsageError, match="not finite in Conv1/kernel"):
        pretrained.read("nan.h5", shapes())


def test_files_that_are_no_weights_are_named(made):
    pathlib.Path("page.h5").write_text("<html>")
    for name in ("page.h5", "none.h5"):
        with pytest.raises(UsageError, match=f"--weights: '{name}' cannot be read as an h5 file"):
            pretrained.read(name, shapes())
    whole = (made[0] / "keras2.h5").read_bytes()
    pathlib.Path("cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cut\.h5"):
        pretrained.read("cut.h5", shapes())
    with h5py.File("outside.h5", "w") as file:
        file.create_dataset("Conv1/kernel", (4,), "f4", external=[("secret.bin", 0, 16)])
    with pytest.raises(UsageError, match="refers to other files"):
        pretrained.read("outside.h5", shapes())


def test_names_of_the_files_that_were_published_first():
    assert first_name("expanded_conv_depthwise/depthwise_kernel") == (
        "mobl0_conv_0_depthwise/depthwise_kernel"
    )
    assert first_name("block_3_project_BN/gamma") == "bn3_conv_3_bn_project/gamma"
    assert first_name("Conv_1_bn/beta") == "Conv_1_bn/beta"


def test_published_weights_are_downloaded_once_and_checked(made, monkeypatch):
    body = (made[0] / "first.h5").read_bytes()
    name = pretrained.published(ALPHA, 96).name
    assert name == "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    served = {
        f"/cut/{name}": loopback.sends(body[:-9], announced=len(body)),
        f"/whole/{name}": loopback.sends(body),
    }
    monkeypatch.setattr(pretrained, "_BYTES", {})  # the size is what the server tells
    with loopback.serve(served) as address:
        monkeypatch.setattr(pretrained, "_URLS", (f"{address}/cut/", f"{address}/whole/"))
        path = pretrained.find("imagenet", ALPHA, 96)
        assert path.read_bytes() == body and pretrained.alpha_of(path) == ALPHA
    assert pretrained.find("imagenet", ALPHA, 96) == path  # without the server
    monkeypatch.setattr(pretrained, "_BYTES", {ALPHA: 77})
    with pytest.raises(UsageError, match="the weights from ImageNet cannot be had"):
        pretrained.find("imagenet", ALPHA, 96)  # of another size: not what was published


def test_shipped_weights_have_learned_something():
    path = pretrained.find("cifar10", None, 96)
    assert pretrained.alpha_of(path) == pretrained.SHIPPED_ALPHA
    origin = json.loads((path.parent / "origin.json").read_text())
    assert origin["test_accuracy"] > 0.7
    net = keras.applications.MobileNetV2((96, 96, 3), ALPHA, include_top=False, weights=None)
    net.load_weights(path)  # Keras reads them too
    assert np.array_equal(net.get_weights()[0], pretrained.read(path, shapes())["Conv1/kernel"])


def test_real_weights_are_read(real_data):
    narrow, wide = sorted((real_data / "mobilenet_v2").glob("*.h5"), key=pretrained.alpha_of)
    assert (pretrained.alpha_of(narrow), pretrained.alpha_of(wide)) == (ALPHA, 1.0)
    values = pretrained.read(narrow, shapes())
    assert len(values) == 260 and values["Conv1/kernel"].std() > 0.1
