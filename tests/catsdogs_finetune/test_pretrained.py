"""Weights from Keras' h5 files in every layout, loaded into a graph."""

import functools
import json
import os
import pathlib
import re
import zipfile

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
    net.set_weights(
        [
            abs(random.normal(size=w.shape))
            if "variance" in v.path
            else random.normal(size=w.shape)
            for v, w in zip(net.weights, net.get_weights(), strict=True)
        ]
    )
    net.save_weights(folder / "keras3.weights.h5")
    net.save(folder / "whole.h5")
    net.save(folder / "whole.keras")
    published = published_tutorials_model(net)
    published.save_weights(folder / "tutorial.weights.h5")
    published.save(folder / "tutorial.keras")
    published.save(folder / "tutorial.h5")
    values = {
        v.path.replace("depthwise/kernel", "depthwise/depthwise_kernel"): value.astype(np.float32)
        for v, value in zip(net.weights, net.get_weights(), strict=True)
    }
    write(folder / "keras2.h5", values)
    top = {"predictions/kernel": np.ones((1280, 10)), "predictions/bias": np.ones(10)}
    write(folder / "top.h5", values | top)
    write(folder / "first.h5", {first_name(name): value for name, value in values.items()})
    return folder, values


def published_tutorials_model(base):
    """The original's model: augmentation, the net as a layer, a head; and its optimizer's state."""
    layers = keras.layers
    distort = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)])
    inputs = keras.Input((96, 96, 3))
    scaled = keras.applications.mobilenet_v2.preprocess_input(distort(inputs))
    pooled = layers.GlobalAveragePooling2D()(base(scaled, training=False))
    model = keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.2)(pooled)))
    base.trainable = False
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def first_name(name):
    """The variable's name in the first published files."""
    layer, _, variable = name.partition("/")
    parts = re.fullmatch(r"(expanded_conv|block_(\d+))_(\w+?)(_BN)?", layer)
    if parts is None:
        return name
    number = parts[2] or "0"
    kind, normalised = ("bn", "bn_") if parts[4] else ("mobl", "")
    return f"{kind}{number}_conv_{number}_{normalised}{parts[3]}/{variable}"


def write(path, values):
    """A file in Keras 2's layout: one group per layer, with scoped names in it."""
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[f"{name.partition('/')[0]}/{name}:0"] = value


@functools.cache
def variables():
    """The variables of a net by name, from a graph that no session runs."""
    with tf.Graph().as_default():
        _, layers = mobilenet_v2.features(tf.zeros([1, 96, 96, 3]), ALPHA)
        return mobilenet_v2.weights(layers)


def read(path):
    """The result of `pretrained.read` for the variables of a net."""
    return pretrained.read(path, variables())


@pytest.mark.parametrize(
    "name",
    [
        "keras3.weights.h5",
        "whole.h5",
        "whole.keras",
        "tutorial.weights.h5",
        "tutorial.keras",
        "tutorial.h5",
        "keras2.h5",
        "top.h5",
        "first.h5",
    ],
)
def test_every_layout_gives_the_same_weights(name, made):
    folder, expected = made
    assert pretrained.alpha_of(folder / name) == ALPHA
    values = read(folder / name)
    assert values.keys() == expected.keys()
    for key, value in values.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_assigned_weights_are_in_the_variables_and_not_in_the_graph(made):
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        _, layers = mobilenet_v2.features(tf.zeros([1, 96, 96, 3]), ALPHA)
        variables = mobilenet_v2.weights(layers)
        before = len(graph.as_graph_def().SerializeToString())
        sess.run(tf.global_variables_initializer(), pretrained.initial_values(variables, made[1]))
        for name, value in sess.run(variables).items():
            np.testing.assert_array_equal(value, made[1][name])
        assert len(graph.as_graph_def().SerializeToString()) < before + 30_000 < 2_000_000


def test_what_is_missing_misshapen_and_surplus_is_listed(made):
    values = dict(made[1])
    del values["Conv1/kernel"]
    values["bn_Conv1/gamma"] = np.ones(7)
    values["Conv2/kernel"] = np.ones(3)
    write("wrong.h5", values)
    with pytest.raises(UsageError) as error:
        read("wrong.h5")
    for line in (
        "missing in the file: Conv1/kernel [3, 3, 3, 16]",
        "misshapen: bn_Conv1/gamma is [7] in the file, [16] in the graph",
        "surplus in the file: Conv2/kernel [3]",
        "use --weights to name MobileNetV2 weights with the same --alpha",
    ):
        assert line in str(error.value)


def test_numbers_that_are_not_finite_are_named(made):
    write("nan.h5", made[1] | {"Conv1/kernel": np.full((3, 3, 3, 16), np.nan)})
    with pytest.raises(UsageError, match="not finite in Conv1/kernel"):
        read("nan.h5")


def test_negative_variances_are_named(made):
    write("negative.h5", made[1] | {"bn_Conv1/moving_variance": np.full(16, -1e-3)})
    with pytest.raises(UsageError, match="negative variances in bn_Conv1/moving_variance"):
        read("negative.h5")


def put(file, key, **options):
    """Replaces an array with something else."""
    del file[key]
    return file.create_dataset(key, **options)


HOSTILE = {
    "references": lambda file, key: put(file, key, shape=(16,), dtype=h5py.ref_dtype),
    "strings": lambda file, key: put(file, key, shape=(16,), dtype=h5py.string_dtype()),
    "no dataspace": lambda file, key: put(file, key, data=h5py.Empty("f4")),
    "integers": lambda file, key: put(file, key, data=np.zeros(16, np.int64)),
    "records": lambda file, key: put(file, key, shape=(16,), dtype=[("a", "f4"), ("b", "f4")]),
    "terabytes": lambda file, key: put(file, key, shape=(1 << 40,), dtype="f4", chunks=(1 << 20,)),
    "a scalar": lambda file, key: put(file, key, data=np.float32(1)),
    "a group": lambda file, key: (file.__delitem__(key), file.create_group(key)),
    "a soft link": lambda file, key: (
        file.__delitem__(key),
        file.__setitem__(key, h5py.SoftLink("/Conv1")),
    ),
    "another file": lambda file, key: (
        file.__delitem__(key),
        file.__setitem__(key, h5py.ExternalLink("/etc/passwd", "/")),
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_array_of_numbers_is_missing(kind, made):
    write("hostile.h5", made[1])
    with h5py.File("hostile.h5", "r+") as file:
        HOSTILE[kind](file, "bn_Conv1/bn_Conv1/gamma:0")
    with pytest.raises(UsageError, match=r"(missing|misshapen).* bn_Conv1/gamma"):
        read("hostile.h5")


def offsets(file):
    """The positions of the arrays in a file."""
    found = []

    def visit(_, item):
        if isinstance(item, h5py.Dataset):
            found.append(item.id.get_offset() or 0)

    file.visititems(visit)
    return found


def test_flipped_bytes_give_one_sentence_or_weights(made):
    """Damages the structure of the file, although its numbers take almost all of it."""
    random = np.random.default_rng(0)
    for name in ("keras2.h5", "tutorial.weights.h5"):
        whole = np.fromfile(made[0] / name, np.uint8)
        with h5py.File(made[0] / name) as file:
            first = min(offset for offset in offsets(file) if offset)
        structure = np.arange(first)
        for _ in range(40):
            flipped = whole.copy()
            chosen = random.choice(structure, random.integers(1, 9))
            flipped[chosen] ^= random.integers(1, 256, len(chosen), np.uint8)
            flipped.tofile("flipped.h5")
            try:
                pretrained.alpha_of("flipped.h5")
                assert len(read("flipped.h5")) == 260
            except UsageError as error:
                assert "flipped.h5" in str(error)


def test_files_that_are_no_weights_are_named(made):
    os.mkfifo("pipe.h5")
    with pytest.raises(UsageError, match=r"pipe\.h5: cannot be read \(it is a named pipe\)"):
        read("pipe.h5")
    with zipfile.ZipFile("other.keras", "w") as packed:
        packed.writestr("model.weights", b"")
    with pytest.raises(UsageError, match=r"other\.keras: cannot be read \(.*model\.weights\.h5"):
        read("other.keras")
    pathlib.Path("page.h5").write_text("<html>")
    for name, said in (("page.h5", r"page\.h5: cannot be read"), ("none.h5", "no file 'none.h5'")):
        with pytest.raises(UsageError, match=f"{said}.*--weights"):
            read(name)
    whole = (made[0] / "keras2.h5").read_bytes()
    pathlib.Path("cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cut\.h5"):
        read("cut.h5")
    with h5py.File("outside.h5", "w") as file:
        file.create_dataset("Conv1/kernel", (4,), "f4", external=[("secret.bin", 0, 16)])
    with pytest.raises(UsageError, match="refers to other files"):
        read("outside.h5")


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
    with pytest.raises(UsageError, match="cannot download the ImageNet weights"):
        pretrained.find("imagenet", ALPHA, 96)  # of another size: not what was published


def test_shipped_weights_have_learned_something():
    path = pretrained.find("cifar10", None, 96)
    assert pretrained.alpha_of(path) == pretrained.SHIPPED_ALPHA
    origin = json.loads((path.parent / "origin.json").read_text())
    assert origin["test_accuracy"] > 0.7
    net = keras.applications.MobileNetV2((96, 96, 3), ALPHA, include_top=False, weights=None)
    net.load_weights(path)  # Keras reads them too
    assert np.array_equal(net.get_weights()[0], read(path)["Conv1/kernel"])


def test_real_weights_are_read(real_data):
    narrow, wide = sorted((real_data / "mobilenet_v2").glob("*.h5"), key=pretrained.alpha_of)
    assert (pretrained.alpha_of(narrow), pretrained.alpha_of(wide)) == (ALPHA, 1.0)
    values = read(narrow)
    assert len(values) == 260 and values["Conv1/kernel"].std() > 0.1
