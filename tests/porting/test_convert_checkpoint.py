"""porting.convert_checkpoint on checkpoints that plain TensorFlow 1 code writes.

The programs whose checkpoints the presets convert are written here in short, with their own
variables' names.
"""

import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from cifar10_cnn import evaluate as cifar10_evaluate
from cifar10_cnn import trained as cifar10_trained
from flowers_transfer import evaluate as flowers_evaluate
from flowers_transfer import retrain
from porting import convert_checkpoint
from tests import painted
from tests.flowers_transfer import tiny
from tests.saved import variables as saved_in
from tutorial_support import checkpoints


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint of several types, in both formats, one variable in parts; by its values."""
    folder = tmp_path_factory.mktemp("source")
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(1)
        with tf.variable_scope("tower_0/layer"):
            tf.get_variable("w", [7, 5], partitioner=tf.fixed_size_partitioner(3))
            tf.get_variable("b", initializer=np.float32([np.nan, np.inf, 1]))
        tf.get_variable("words", initializer=["a", "bcd"])
        tf.get_variable("motto", initializer="one word")
        tf.get_variable("flag", initializer=True)
        tf.get_variable("big", initializer=np.float64([1e300]))
        tf.get_variable("step", initializer=np.int64(1234), trainable=False)
        sess.run(tf.global_variables_initializer())
        np.save(folder / "w.npy", np.concatenate(sess.run(tf.global_variables()[:3])))
        for version in (tf.train.SaverDef.V1, tf.train.SaverDef.V2):
            tf.train.Saver(write_version=version).save(sess, str(folder / f"v{version}"))
    return folder


def convert(*arguments):
    return convert_checkpoint.main([str(argument) for argument in arguments])


def failing(capsys, *arguments):
    assert convert(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.asarray(found[name]).dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(found[name], value)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("version", [1, 2])
def test_v1_and_parts_become_v2_and_whole(source, tmp_path, version):
    before = content(source)
    assert convert(source / f"v{version}", tmp_path / "new" / "model") == 0
    assert content(source) == before
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "model.data-00000-of-00001",
        "model.index",
    ]
    values = checkpoints.values(str(tmp_path / "new" / "model"))
    equal(values, checkpoints.values(str(source / "v2")))
    np.testing.assert_array_equal(values["tower_0/layer/w"], np.load(source / "w.npy"))
    # A Saver without partitioned variables restores it.
    with tf.Graph().as_default(), tf.Session() as sess:
        whole = tf.get_variable("tower_0/layer/w", [7, 5])
        tf.train.Saver().restore(sess, str(tmp_path / "new" / "model"))
        np.testing.assert_array_equal(sess.run(whole), values["tower_0/layer/w"])


def test_rename_replace_cast_drop_and_step(source, tmp_path, capsys):
    (tmp_path / "names").write_text("# old to new\nstep = global_step\n\nflag=is_on\n")
    arguments = [source / "v2", tmp_path / "model", "--rename_file", tmp_path / "names"]
    arguments += ["--replace", "^tower_0/(.*)/(.)$", r"\1/\2_of_0", "--drop", "^(words|motto|big)$"]
    arguments += ["--cast", "^global_step$", "int32", "--cast", "/w_", "float64", "--step", 99]
    assert convert(*arguments, "--dry-run") == 0
    assert not list(tmp_path.glob("model*"))
    listed = capsys.readouterr().out
    assert "step -> global_step  [] int32" in listed and "words -> left out" in listed
    assert convert(*arguments) == 0
    old = checkpoints.values(str(source / "v2"))
    expected = {
        "global_step": np.int32(99),
        "is_on": np.bool_(True),
        "layer/w_of_0": old["tower_0/layer/w"].astype(np.float64),
        "layer/b_of_0": old["tower_0/layer/b"],
    }
    equal(checkpoints.values(str(tmp_path / "model")), expected)


def test_types_of_eight_and_sixteen_bits(source, tmp_path):
    arguments = ["--cast", "layer/w", "bfloat16", "--cast", "layer/b", "float8_e5m2"]
    assert convert(source / "v2", tmp_path / "model", *arguments) == 0
    found, old = (checkpoints.values(str(path)) for path in (tmp_path / "model", source / "v2"))
    for name, kind in {"w": "bfloat16", "b": "float8_e5m2"}.items():
        expected = tf2.cast(old[f"tower_0/layer/{name}"], kind).numpy()
        assert found[f"tower_0/layer/{name}"].dtype == expected.dtype
        assert found[f"tower_0/layer/{name}"].tobytes() == expected.tobytes()


def test_objects_get_their_variables_names(tmp_path):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, name="head")])
    tf2.train.Checkpoint(model=model, seen=tf2.Variable(5, name="seen")).save(tmp_path / "ck")
    assert convert(tmp_path / "ck-1", tmp_path / "plain", "--replace", ".*/head/", "head/") == 0
    values = checkpoints.values(str(tmp_path / "plain"))
    np.testing.assert_array_equal(values["head/kernel"], np.asarray(model.weights[0]))
    assert values["seen"] == 5 and "_CHECKPOINTABLE_OBJECT_GRAPH" not in values


def test_iterators_are_left_out_and_keys_of_one_variable_joined(tmp_path):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, name="head")])
    model.export(tmp_path / "exported", verbose=False)
    assert convert(tmp_path / "exported" / "variables" / "variables", tmp_path / "one") == 0
    values = checkpoints.values(str(tmp_path / "one"))
    kernel = next(name for name in values if name.endswith("head/kernel"))
    np.testing.assert_array_equal(values[kernel], np.asarray(model.weights[0]))
    assert len(values) == len({array.tobytes() for array in values.values()})

    # Two variables of one name and value are still two.
    pair = tf2.Module()
    pair.one, pair.two = tf2.Variable([0.0], name="b"), tf2.Variable([0.0], name="b")
    tf2.train.Checkpoint(pair=pair).write(str(tmp_path / "pair"))
    assert convert(tmp_path / "pair", tmp_path / "both") == 0
    assert set(checkpoints.values(str(tmp_path / "both"))) == {"pair/one", "pair/two"}

    iterator = iter(tf2.data.Dataset.range(5))
    tracked = tf2.train.Checkpoint(iterator=iterator, seen=tf2.Variable(5, name="seen"))
    tracked.write(str(tmp_path / "with_iterator"))
    assert convert(tmp_path / "with_iterator", tmp_path / "without") == 0
    assert checkpoints.values(str(tmp_path / "without")) == {"seen": 5}


def test_a_part_of_a_v1_checkpoint_is_not_the_whole(tmp_path, capsys):
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as s:
        for device in (0, 1):
            with tf.device(f"/cpu:{device}"):
                tf.get_variable(f"v{device}", initializer=[1.0])
        s.run(tf.global_variables_initializer())
        saver = tf.train.Saver(sharded=True, write_version=tf.train.SaverDef.V1)
        saver.save(s, str(tmp_path / "m"))
    message = failing(capsys, tmp_path / "m-00000-of-00002", tmp_path / "new")
    assert "is one of 2 parts" in message and "m-?????-of-00002'" in message


def test_names_with_an_equals_sign(tmp_path):
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "ck"), tensor_names=["a=b"], shape_and_slices=[""], tensors=[[1.0]]
    )
    assert convert(tmp_path / "ck", tmp_path / "new", "--rename", "a=b=c") == 0
    assert checkpoints.values(str(tmp_path / "new")) == {"c": [1.0]}


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--rename", "stap=x"], r"no such variable \(similar names: step\)"),
        (["--rename", "step"], "not have the form OLD=NEW"),
        (["--rename", "step=flag"], "would both be named 'flag'"),
        (["--drop", "nothing"], "no variable matches"),
        (["--drop", "."], "no variable is left"),
        (["--replace", "(", "x"], "not a regular expression"),
        (["--replace", "step", r"\1"], "invalid group reference"),
        (["--cast", "step", "int8"], "does not fit into int8"),
        (["--cast", "step", "int33"], "there is no type 'int33'"),
        (["--cast", "step", "int4"], "does not fit into int4"),
        (["--cast", "layer/b", "int4"], "does not fit into int4"),
        (["--cast", "big", "float16"], "--cast big float16: a value of 'big' does not fit"),
        (["--cast", "big", "bfloat16"], "does not fit into bfloat16"),
        (["--cast", "layer/b", "float8_e4m3fn"], "does not fit into float8_e4m3fn"),  # no infinity
        (["--cast", "words", "int32"], "holds text, not numbers"),
        (["--cast", "motto", "int32"], "holds text, not numbers"),
        (["--rename", "motto=global_step", "--step", "9"], "--step 9: 'global_step' holds text"),
        (["--cast", "step", "string"], "numbers cannot be cast to this type"),
        (["--cast", "step", "qint8"], "numbers cannot be cast to this type"),
        (["--cast", "step", "resource"], "there is no type 'resource'"),
        (["--step", "99999999999999999999"], "from 0 up to 9223372036854775807"),
        (["--rename", "step=x", "--rename", "step=y"], "gives 'step' two new names"),
        (["--preset", "retrain"], "not a checkpoint of retrain.py"),
        (["--back"], "needs --preset"),
        (["--rename_file", "none"], "there is no file 'none'"),
    ],
)
def test_wrong_use(source, tmp_path, capsys, arguments, sentence):
    message = failing(capsys, source / "v2", tmp_path / "out" / "model", *arguments)
    assert re.search(sentence, message)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(source, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / "model"
    assert f"'{target}' cannot be written" in failing(capsys, source / "v2", target)


def test_a_state_file_stands_for_its_folder(source, tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "v2"\n')
    for path in source.glob("v2.*"):
        shutil.copy(path, tmp_path)
    assert convert(tmp_path / "checkpoint", tmp_path / "new") == 0
    equal(checkpoints.values(str(tmp_path / "new")), checkpoints.values(str(source / "v2")))


@pytest.mark.parametrize(
    "name", ["model", "model.index", "model.data-00000-of-00001", "model.meta"]
)
def test_nothing_is_written_over(source, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    assert "exists" in failing(capsys, source / "v2", tmp_path / "model")
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_source_that_is_cut_off(source, tmp_path, capsys):
    for path in source.glob("v2.*"):
        shutil.copy(path, tmp_path)
    data = tmp_path / "v2.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    assert "is incomplete" in failing(capsys, tmp_path / "v2", tmp_path / "new")
    flipped = bytearray((source / data.name).read_bytes())
    flipped[10] ^= 1
    data.write_bytes(flipped)
    assert "cannot be read" in failing(capsys, tmp_path / "v2", tmp_path / "new")
    assert "there is no checkpoint" in failing(capsys, tmp_path / "none", tmp_path / "new")


# The presets

COOKBOOK = {
    "model_definition/conv1/conv_kernel1": [5, 5, 3, 64],
    "model_definition/conv1/conv_bias1": [64],
    "model_definition/conv2/conv_kernel2": [5, 5, 64, 64],
    "model_definition/conv2/conv_bias2": [64],
    "model_definition/full1/full_mult1": [2304, 384],
    "model_definition/full1/full_bias1": [384],
    "model_definition/full2/full_mult2": [384, 192],
    "model_definition/full2/full_bias2": [192],
    "model_definition/full3/full_mult3": [192, 10],
    "model_definition/full3/full_bias3": [10],
}
OFFICIAL = {
    "conv1/weights": [5, 5, 3, 64],
    "conv1/biases": [64],
    "conv2/weights": [5, 5, 64, 64],
    "conv2/biases": [64],
    "local3/weights": [2304, 384],
    "local3/biases": [384],
    "local4/weights": [384, 192],
    "local4/biases": [192],
    "softmax_linear/weights": [192, 10],
    "softmax_linear/biases": [10],
}


def cookbook_net(images):
    """The cookbook's net, from prepared images to logits."""

    def variable(name, shape):
        return tf.get_variable(
            name, shape, initializer=tf.truncated_normal_initializer(stddev=0.05)
        )

    outputs = images
    with tf.variable_scope("model_definition"):
        for i, channels in (("1", 3), ("2", 64)):
            with tf.variable_scope(f"conv{i}"):
                kernel = variable(f"conv_kernel{i}", [5, 5, channels, 64])
                outputs = tf.nn.conv2d(outputs, kernel, [1, 1, 1, 1], "SAME")
                outputs = tf.nn.relu(outputs + variable(f"conv_bias{i}", [64]))
            outputs = tf.nn.max_pool(outputs, [1, 3, 3, 1], [1, 2, 2, 1], "SAME")
            outputs = tf.nn.lrn(outputs, depth_radius=5, bias=2.0, alpha=1e-3, beta=0.75)
        outputs = tf.reshape(outputs, [-1, 2304])
        for i, shape in (("1", [2304, 384]), ("2", [384, 192]), ("3", [192, 10])):
            with tf.variable_scope(f"full{i}"):
                product = outputs @ variable(f"full_mult{i}", shape)
                outputs = product + variable(f"full_bias{i}", shape[1:])
            outputs = tf.nn.relu(outputs) if i != "3" else outputs
    return outputs


def test_cookbooks_net_gives_the_same_logits_here(tmp_path, capsys):
    pictures = np.random.default_rng(1).uniform(0, 255, [4, 32, 32, 3]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(1)
        middle = tf.image.resize_image_with_crop_or_pad(pictures, 24, 24)
        logits = cookbook_net(tf.map_fn(tf.image.per_image_standardization, middle))
        tf.Variable(250, trainable=False)  # generation_num, which gets the name Variable
        sess.run(tf.global_variables_initializer())
        expected = sess.run(logits)
        tf.train.Saver().save(sess, str(tmp_path / "theirs"))
    assert convert(tmp_path / "theirs", tmp_path / "ours", "--preset", "cookbook_cifar10") == 0
    capsys.readouterr()
    for name in ("theirs", "ours"):  # which restore both, as they are and converted
        net = cifar10_trained.TrainedNet.find(str(tmp_path / name))
        assert net.step == 250
        with net.opened() as (sess, tensors):
            found = sess.run(tensors.logits, {tensors.images: pictures})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert cifar10_evaluate.main(["--checkpoint", str(tmp_path / "ours"), "--sample"]) == 0
    assert "Generation 250:" in capsys.readouterr().out

    # And back: their Saver, with its int32 generation_num, restores it.
    back = ["--preset", "cookbook_cifar10", "--back"]
    assert convert(tmp_path / "ours", tmp_path / "back", *back) == 0
    equal(checkpoints.values(str(tmp_path / "back")), checkpoints.values(str(tmp_path / "theirs")))


def official(folder, steps_name):
    """Writes a checkpoint as the official program does, with averages of variables and losses."""
    random = np.random.default_rng(2)
    with tf.Graph().as_default(), tf.Session() as sess:
        for name, shape in OFFICIAL.items():
            for suffix in ("", "/ExponentialMovingAverage"):
                value = random.normal(0, 0.05, shape).astype(np.float32)
                tf.get_variable(name + suffix, initializer=value)
        tf.get_variable("total_loss/avg", initializer=1.0)
        tf.get_variable(steps_name, initializer=np.int64(7000), trainable=False)
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, str(folder / "theirs"))
    return folder / "theirs"


@pytest.mark.parametrize("steps_name", ["global_step", "Variable"])
def test_official_cifar10(tmp_path, capsys, steps_name):
    theirs = official(tmp_path, steps_name)
    assert convert(theirs, tmp_path / "ours", "--preset", "official_cifar10") == 0
    printed = capsys.readouterr().out
    assert "total_loss/avg -> left out" in printed and "the accuracy falls" in printed
    old, new = (checkpoints.values(str(tmp_path / name)) for name in ("theirs", "ours"))
    for there, here in zip(OFFICIAL, COOKBOOK, strict=True):
        for suffix in ("", "/ExponentialMovingAverage"):
            np.testing.assert_array_equal(new[here + suffix], old[there + suffix])
    assert new["global_step"] == 7000
    if steps_name == "global_step":
        assert cifar10_evaluate.main(["--checkpoint", str(tmp_path / "ours"), "--sample"]) == 0
        captured = capsys.readouterr()
        assert "Generation 7000:" in captured.out and "moving averages" in captured.err

    assert convert(tmp_path / "ours", tmp_path / "b", "--preset", "official_cifar10", "--back") == 0
    del old["total_loss/avg"]
    old["global_step"] = old.pop(steps_name)
    equal(checkpoints.values(str(tmp_path / "b")), old)


def test_official_evaluation_finds_averages_in_a_net_without(tmp_path):
    with tf.Graph().as_default(), tf.Session() as sess:
        for name, shape in COOKBOOK.items():
            tf.get_variable(name, shape)
        tf.train.get_or_create_global_step()
        sess.run(tf.global_variables_initializer())
        checkpoints.Saver().save(sess, str(tmp_path / "ours"))
    assert convert(tmp_path / "ours", tmp_path / "b", "--preset", "official_cifar10", "--back") == 0
    with tf.Graph().as_default(), tf.Session() as sess:
        for name, shape in OFFICIAL.items():
            tf.get_variable(name, shape)
        average = tf.train.ExponentialMovingAverage(0.9999)
        tf.train.Saver(average.variables_to_restore()).restore(sess, str(tmp_path / "b"))
        found = sess.run(tf.trainable_variables())
    ours = checkpoints.values(str(tmp_path / "ours"))
    for name, value in zip(COOKBOOK, found, strict=True):
        np.testing.assert_array_equal(value, ours[name])


@pytest.fixture(scope="module")
def flowers_run(tmp_path_factory):
    """A run of flowers_transfer on three colours; converted heads replace its head."""
    folder = tmp_path_factory.mktemp("flowers")
    painted.write_pictures(folder / "photos", count=12)
    tiny.write_graph(folder / "base.pb")
    flags = ["--image_dir", folder / "photos", "--base_graph", folder / "base.pb"]
    flags += ["--bottleneck_dir", folder / "bottlenecks", "--train_dir", folder / "run"]
    flags += ["--how_many_training_steps", 100, "--learning_rate", 1]
    assert retrain.main([str(flag) for flag in flags]) == 0
    return folder / "run"


def heads(preset):
    """The names of weights and biases in a preset's program."""
    if preset == "book_flowers":
        return [("final_training_ops/Variable", "final_training_ops/Variable_1")]
    scopes = "final_retrain_ops", "final_training_ops"
    return [(f"{s}/weights/final_weights", f"{s}/biases/final_biases") for s in scopes]


@pytest.mark.parametrize(
    "preset, names", [(p, names) for p in ("retrain", "book_flowers") for names in heads(p)]
)
def test_heads(flowers_run, tmp_path, capsys, preset, names):
    ours = saved_in(flowers_run)
    keys = "final_training_ops/weights", "final_training_ops/biases"
    with tf.Graph().as_default(), tf.Session() as sess:
        for name, key in zip(names, keys, strict=True):
            scope, _, last = name.rpartition("/")
            with tf.name_scope(scope):
                tf.Variable(ours[key], name=re.sub(r"_1$", "", last))
        if preset == "book_flowers":  # there, both are made without a name, in one scope
            assert [v.op.name for v in tf.global_variables()][0] == names[0]
        sess.run(tf.global_variables_initializer())
        saver = tf.train.Saver(dict(zip(names, tf.global_variables(), strict=True)))
        saver.save(sess, str(tmp_path / "theirs"), write_meta_graph=False)
    shutil.copytree(flowers_run, tmp_path / "run")
    target = tmp_path / "run" / "model.ckpt-60"
    assert convert(tmp_path / "theirs", target, "--preset", preset, "--step", 60) == 0
    capsys.readouterr()
    assert flowers_evaluate.main(["--checkpoint", str(target)]) == 0
    of_converted = capsys.readouterr().out
    assert "step 60" in of_converted
    assert flowers_evaluate.main(["--checkpoint", str(flowers_run)]) == 0
    accuracy = re.compile(r"= (.*%)")
    assert accuracy.findall(of_converted) == accuracy.findall(capsys.readouterr().out)

    assert convert(target, tmp_path / "back", "--preset", preset, "--back") == 0
    first = dict(zip(heads(preset)[0], (ours[key] for key in keys), strict=True))
    equal(checkpoints.values(str(tmp_path / "back")), first)


def test_step_without_a_number_is_0(flowers_run, tmp_path):
    assert convert(flowers_run, tmp_path / "theirs", "--preset", "retrain", "--back") == 0
    assert convert(tmp_path / "theirs", tmp_path / "ours", "--preset", "retrain") == 0
    step = saved_in(tmp_path / "ours")["global_step"]
    assert step == 0 and step.dtype == np.int64
