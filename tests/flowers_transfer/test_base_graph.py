"""Frozen graphs: their tensors, refused graphs, and the ops from a JPEG to a bottleneck."""

import argparse
import dataclasses
import io
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, bottlenecks, make_base
from tests import painted
from tests.flowers_transfer import tiny
from tutorial_support.programs import UsageError


def jpeg_bytes(**options):
    stream = io.BytesIO()
    painted.picture((90, 120, 200), 3, **options).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def run(frozen, fetch, feed):
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tensors = base_graph.attach(frozen)
        return sess.run(
            getattr(tensors, fetch), {getattr(tensors, name): value for name, value in feed.items()}
        )


def test_one_picture_goes_through_as_in_the_graph_itself():
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        tf.import_graph_def(tiny.graph_def(), name="")
        expected = sess.run("pool_3/_reshape:0", {"DecodeJpeg/contents:0": jpeg_bytes()})
    found = run(tiny.frozen(), "bottlenecks", {"contents": jpeg_bytes()})
    np.testing.assert_array_equal(found, expected)


def test_preparation_against_numpy():
    decoded = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    prepared = run(tiny.frozen(), "prepared", {"decoded": decoded})
    # If the sides are multiples of the size, the 2015 graph's resizing takes every k-th pixel.
    expected = (decoded[::2, ::3].astype(np.float32) - 128) / 128
    np.testing.assert_allclose(prepared[0], expected, atol=1e-6)


def test_a_batch_gives_what_its_pictures_give_alone():
    images = np.random.default_rng(0).normal(size=(7, 12, 12, 3)).astype(np.float32)
    batch = run(tiny.frozen(), "bottlenecks", {"images": images})
    assert batch.shape == (7, tiny.VALUES)
    alone = [run(tiny.frozen(), "bottlenecks", {"images": i[None]})[0] for i in images]
    np.testing.assert_allclose(batch, alone, rtol=1e-4, atol=1e-6)


def test_a_graph_without_jpeg_input_is_given_one():
    base = dataclasses.replace(tiny.BASE, jpeg_input=None)
    without = run(tiny.frozen(base, jpeg_input=False), "bottlenecks", {"contents": jpeg_bytes()})
    whole = run(tiny.frozen(), "bottlenecks", {"contents": jpeg_bytes()})
    np.testing.assert_array_equal(without, whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bottleneck": "pool3:0"}, r"no tensor 'pool3:0'; similar names: pool_3:0"),
        ({"jpeg_input": "DecodeJPG/content:0"}, r"similar names: DecodeJpeg/contents:0"),
        ({"image_input": "Mull:0"}, r"similar names: Mul:0.*--image_tensor"),
    ],
)
def test_missing_tensors_are_named_with_the_nearest(change, said):
    path = tiny.write_graph("base.pb")
    with pytest.raises(UsageError, match=said):
        base_graph.load(path, dataclasses.replace(tiny.BASE, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"image_input": "pool_3:0", "bottleneck": "Mul:0"},
        {"jpeg_input": "pool_3:0"},
        {"bottleneck": "DecodeJpeg:0"},
    ],
)
def test_a_wrong_description_is_one_sentence(change):
    base = dataclasses.replace(tiny.BASE, **change)
    with tf.Graph().as_default(), pytest.raises(UsageError, match="--bottleneck_tensor"):
        base_graph.attach(base_graph.load(tiny.write_graph("base.pb"), base))


@pytest.mark.parametrize(
    ("more", "op"),
    [
        (lambda: tf.io.read_file("/etc/passwd"), "ReadFile"),
        (lambda: tf.io.write_file("x", "y"), "WriteFile"),
        (lambda: tf.py_func(lambda: 1.0, [], tf.float32), "PyFunc"),
        (lambda: tf.io.matching_files("*"), "MatchingFiles"),
        (lambda: tf.get_variable("v", [2]), "VarHandleOp"),
        (lambda: tf.print("x"), "PrintV2"),
    ],
)
def test_ops_that_do_more_than_compute_are_refused(more, op):
    path = tiny.write_graph("base.pb", more=more)
    with pytest.raises(UsageError, match=rf"refused, because it holds ops.*\b{op}\b"):
        base_graph.load(path, tiny.BASE)


def test_an_op_hidden_in_a_function_is_refused():
    @tf.function
    def reads():
        return tf.io.read_file("/etc/passwd")

    path = tiny.write_graph("base.pb", more=lambda: reads())
    with pytest.raises(UsageError, match=r"ReadFile|PartitionedCall"):
        base_graph.load(path, tiny.BASE)
    # A node's op may be the name of a function.
    graph_def = tf.GraphDef.FromString(path.read_bytes())
    (call,) = (node for node in graph_def.node if node.op.endswith("PartitionedCall"))
    call.op = graph_def.library.function[0].signature.name
    path.write_bytes(graph_def.SerializeToString())
    with pytest.raises(UsageError, match="refused, because it holds ops .* without functions"):
        base_graph.load(path, tiny.BASE)


def test_what_is_no_graph_is_named():
    pathlib.Path("page.pb").write_text("<html>not found</html>")
    with pytest.raises(UsageError, match=r"page\.pb: .*; name a GraphDef .* with --base_graph"):
        base_graph.load("page.pb", tiny.BASE)
    with pytest.raises(UsageError, match=r"no file 'none\.pb'; name a GraphDef"):
        base_graph.load("none.pb", tiny.BASE)
    whole = dataclasses.asdict(tiny.BASE)
    changes = ({"size": None}, {"mean": "1"}, {"bottleneck": 7}, {"size": 10**6}, {"size": 0})
    changes += ({"mean": float("nan")}, {"scale": float("inf")}, {"size": True}, {"jpeg_input": 1})
    bad = (whole | change for change in changes)
    for description in ({"jpeg": 1}, [], *bad):
        pathlib.Path("page.json").write_text(json.dumps(description))
        with pytest.raises(UsageError, match=r"page\.json: cannot .* does not describe a base"):
            base_graph.described("page.pb")


def test_digests_tell_graphs_and_descriptions_apart():
    path = tiny.write_graph("base.pb")
    other = dataclasses.replace(tiny.BASE, bottleneck="pool_3/_reshape:0")
    digests = {base_graph.load(path, base).digest for base in (tiny.BASE, other)}
    pathlib.Path("copy.pb").write_bytes(path.read_bytes())
    assert base_graph.load("copy.pb", tiny.BASE).digest in digests
    tiny.write_graph("other.pb", more=lambda: tf.constant(1))
    assert len(digests | {base_graph.load("other.pb", tiny.BASE).digest}) == 3


def test_make_base_agrees_with_keras(tmp_path, capsys):
    assert make_base.main(["--alpha", "0.35", "--size", "64", "--weights", "random", "m.pb"]) == 0
    assert "1280 values a bottleneck, 64x64 pixels" in capsys.readouterr().out
    base = base_graph.described("m.pb")
    assert base.image_input == "Mul:0" and base.bottleneck == "pool_3:0" and base.size == 64
    frozen = base_graph.load("m.pb", base)
    make_base.tf2.keras.utils.set_random_seed(0)
    model = make_base.keras_net("MobileNetV2", 64, 0.35, "random")
    images = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    expected = model(images, training=False).numpy().mean(axis=(1, 2))
    found = run(frozen, "bottlenecks", {"images": images})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    decoded = np.full((64, 64, 3), 255, np.uint8)
    assert run(frozen, "prepared", {"decoded": decoded}).max() == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["disable_eager_execution", "disable_v2_tensorshape"])
def test_make_base_works_after(call, program_environment, tmp_path):
    flags = ["--alpha", "0.35", "--size", "32", "--weights", "random"]
    program = f"""
import sys
import tensorflow.compat.v1 as tf
tf.{call}()
from flowers_transfer import make_base
sys.exit(make_base.main({[*flags, "other.pb"]}))
"""
    command = [sys.executable, "-c", program]
    subprocess.run(command, env=program_environment, cwd=tmp_path, check=True)
    assert make_base.main([*flags, "eager.pb"]) == 0
    assert pathlib.Path("other.pb").read_bytes() == pathlib.Path("eager.pb").read_bytes()


def parsed(*argv):
    parser = argparse.ArgumentParser()
    base_graph.add_flags(parser)
    return parser.parse_args(argv)


def test_the_shipped_base_is_found_by_its_digest_wherever_it_was():
    shipped = base_graph.find(parsed("--base", "cifar10"), {})
    assert shipped.name == "cifar10" and str(shipped) == "the shipped CIFAR-10 net"
    for place in ("cifar10", "/moved/venv/lib/sample_data/cifar10_cnn/frozen_graph.pb"):
        kept = shipped.facts | {"base_graph": place}
        assert base_graph.find(parsed(), kept).facts == shipped.facts


def test_a_base_that_has_moved_is_taken_from_where_it_is_now():
    path = tiny.write_graph("base.pb")
    own = base_graph.find(parsed("--base_graph", "base.pb", "--image_size", "12"), {})
    assert own.name == str(path.resolve())
    assert base_graph.find(parsed(), own.facts) == own
    path.rename("moved.pb")
    with pytest.raises(UsageError, match="no file '.*base.pb'; .* --base_graph"):
        base_graph.find_kept(own.facts)
    assert base_graph.find_kept(own.facts, "moved.pb").digest == own.digest
    for change in ({"base": None}, {"base": {}}, {"base": own.facts["base"] | {"size": "12"}}):
        with pytest.raises(UsageError, match="does not name the base .* --fresh"):
            base_graph.find_kept(own.facts | change)
    other = tiny.write_graph("other.pb", more=lambda: tf.constant(1))
    with pytest.raises(UsageError, match="'other.pb' is not the graph .* --base_graph"):
        base_graph.find_kept(own.facts, str(other))


@pytest.mark.slow
def test_a_base_that_sees_the_mirror_image_and_takes_roots():
    flags = ["--alpha", "0.35", "--size", "32", "--weights", "random"]
    assert make_base.main([*flags, "plain.pb"]) == 0
    assert make_base.main([*flags, "--mirror", "--root", "both.pb"]) == 0
    base = base_graph.described("both.pb")
    images = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)

    def vectors(path, images):
        return run(base_graph.load(path, base), "bottlenecks", {"images": images})

    mean = (vectors("plain.pb", images) + vectors("plain.pb", images[:, :, ::-1])) / 2
    np.testing.assert_allclose(vectors("both.pb", images), np.sqrt(mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--weights", "missing.h5", "m.pb"], "no file 'missing.h5'; --weights takes"),
        (["--alpha", "0.35", "--weights", "page.h5", "m.pb"], "page.h5: cannot be read"),
        (["base"], "'base' does not end in .pb"),
    ],
)
def test_make_base_refuses_in_one_sentence(flags, said, capsys):
    pathlib.Path("page.h5").write_text("<html>")
    assert make_base.main(flags) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not pathlib.Path("m.pb").exists()


def net_of(build, shape=(None, tiny.SIZE, tiny.SIZE, 3), path="net.pb"):
    """Writes the graph that `build` makes from its input; returns its file and description."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float32, shape, "images")), "bottleneck")
    pathlib.Path(path).write_bytes(graph.as_graph_def().SerializeToString())
    return path, base_graph.Base(None, "images:0", "bottleneck:0", tiny.SIZE, 127.5, 1 / 127.5)


def mean(images):
    return tf.reduce_mean(images, [1, 2])


def doubled(times):
    value = tf.zeros([1000, 3])
    for _ in range(times):
        value = tf.concat([value, value], 0)
    return value


def computed_while_imported():
    """A shape that only shape inference before the placeholder could compute."""
    return tf.placeholder_with_default(tf.cast(doubled(30)[:2, 0], tf.int32), [2])


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda x: mean(x) + tf.reduce_sum(tf.fill([40000, 10000, 3], 1.0)), "too much memory"),
        (lambda x: mean(x) + tf.reduce_sum(tf.range(0.0, 1e9)), "too much memory"),
        (lambda x: mean(tf.tile(x, [1, 3000, 3000, 1])), "too much memory"),
        (lambda x: mean(x) + tf.reduce_sum(doubled(30), 0), "too much memory"),
        (lambda x: tf.reshape(x, computed_while_imported()), "too much memory"),
        (lambda x: mean(x) + tf.reduce_sum(tf.range(tf.reduce_sum(x) * 1e8)), "is unknown"),
        (lambda x: mean(x) * tf.placeholder(tf.float32, (), "keep"), "'keep' would have to be fed"),
        (lambda x: tf.log(mean(x) - 9), "not finite"),
        (lambda x: tf.reduce_mean(x, [1, 2, 3]), r"shape \[1\] for one picture"),
        (lambda x: tf.reshape(x, [-1, 3]), r"shape \[144, 3\] for one picture"),
        (lambda x: mean(tf.nn.conv2d(x, np.ones([3, 3, 1, 6]), 1, "SAME")), "with 1 channels"),
    ],
)
def test_a_base_that_cannot_run_is_refused_before_it_does(build, said):
    with pytest.raises(UsageError, match=rf"net\.pb: cannot be used: .*{said}"):
        base_graph.load(*net_of(build))


@pytest.mark.parametrize("shape", [(None, 14, 14, 3), (None, tiny.SIZE, tiny.SIZE, 1)])
def test_a_declared_input_shape_is_compared_with_what_is_fed(shape):
    with pytest.raises(UsageError, match=r"'images:0' takes the shape .*--image_size"):
        base_graph.load(*net_of(mean, shape))


def test_a_function_that_calls_itself_and_a_constant_of_gigabytes_are_refused():
    path, base = net_of(mean)
    graph_def = tf.GraphDef.FromString(pathlib.Path(path).read_bytes())
    function = graph_def.library.function.add()
    function.signature.name = "F"
    function.node_def.add(name="again", op="F")
    graph_def.node.add(name="call", op="F")
    pathlib.Path("calls.pb").write_bytes(graph_def.SerializeToString())
    with pytest.raises(UsageError, match=r"refused, .*: F \('call'\)"):
        base_graph.load("calls.pb", base)

    path, base = net_of(lambda images: mean(images) + tf.constant(1.0, name="big"))
    graph_def = tf.GraphDef.FromString(pathlib.Path(path).read_bytes())
    (big,) = (node for node in graph_def.node if node.name == "big")
    big.attr["value"].tensor.tensor_shape.dim.add(size=10**9)
    pathlib.Path("big.pb").write_bytes(graph_def.SerializeToString())
    with pytest.raises(UsageError, match="its constants would take 40000000.. bytes"):
        base_graph.load("big.pb", base)


def test_a_preparation_that_fills_the_memory_with_a_large_picture_is_refused():
    """It fits for the small test picture."""
    with tf.Graph().as_default() as graph:
        contents = tf.placeholder(tf.string, (), "DecodeJpeg/contents")
        tiled = tf.tile(tf.cast(tf.image.decode_jpeg(contents, 3), tf.float32), [30, 1, 1])
        images = tf.image.resize_bilinear(tiled[None], [12, 12], name="Mul")
        tf.reduce_mean(images, [1, 2], name="pool_3")
    pathlib.Path("net.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(UsageError, match=r"too much memory: 'Tile' takes 1509949440 bytes"):
        base_graph.load("net.pb", tiny.BASE)


def test_a_preparation_that_crops_what_it_is_given_is_no_danger():
    """Its sizes depend on the picture's; its assertions do not run."""
    with tf.Graph().as_default() as graph:
        contents = tf.placeholder(tf.string, (), "DecodeJpeg/contents")
        cropped = tf.image.central_crop(tf.image.decode_jpeg(contents, 3), 0.5)
        images = tf.image.resize_bilinear(cropped[None], [12, 12], name="Mul")
        tf.reduce_mean(images, [1, 2], name="pool_3")
    pathlib.Path("net.pb").write_bytes(graph.as_graph_def().SerializeToString())
    frozen = base_graph.load("net.pb", tiny.BASE)
    decoded = np.zeros((8, 8, 3), np.uint8)
    decoded[2:6, 2:6] = 7
    np.testing.assert_array_equal(run(frozen, "bottlenecks", {"decoded": decoded}), [[7, 7, 7]])


def test_files_and_graphs_beyond_any_net_are_refused(monkeypatch):
    with pathlib.Path("large.pb").open("wb") as stream:
        stream.truncate(3 << 30)  # sparse, takes no disk space
    with pytest.raises(UsageError, match=r"large\.pb: .*3221225472 bytes are more than"):
        base_graph.load("large.pb", tiny.BASE)
    monkeypatch.setattr(base_graph.graph_checks, "MOST_NODES", 5)
    with pytest.raises(UsageError, match=r"base\.pb: .* nodes are more than 5"):
        base_graph.load(tiny.write_graph("base.pb"), tiny.BASE)


@pytest.mark.parametrize(
    "build",
    [
        lambda images: tf.reshape(images, [1, -1]),
        lambda images: tf.reshape(images, [-1]),
        lambda images: tf.reshape(tf.nn.relu(images), [1, tiny.SIZE**2 * 3]),
    ],
)
@pytest.mark.parametrize("first_call", ["enable_control_flow_v2", "disable_control_flow_v2"])
def test_a_base_of_one_picture_at_a_time_is_given_them_one_by_one(build, first_call):
    was_enabled = tf.control_flow_v2_enabled()
    try:
        getattr(tf, first_call)()
        frozen = base_graph.load(*net_of(build))
        assert frozen.batch_size is None
        pictures = np.random.default_rng(0).random((5, tiny.SIZE, tiny.SIZE, 3), np.float32)
        vectors = run(frozen, "bottlenecks", {"images": pictures})
    finally:
        (tf.enable_control_flow_v2 if was_enabled else tf.disable_control_flow_v2)()
    np.testing.assert_array_equal(vectors, pictures.reshape(5, -1))


@pytest.mark.parametrize(("times", "batch_size"), [(1, 16), (60, 10), (132, 2), (400, 2)])
def test_a_base_is_given_fewer_pictures_the_larger_its_tensors(times, batch_size):
    """A picture of 12x12x3 float32 numbers is tiled to 2 KB, 6, 30 and 276 MB; 67 MB are given."""
    frozen = base_graph.load(*net_of(lambda images: mean(tf.tile(images, [1, times, times, 1]))))
    assert frozen.batch_size == batch_size


def test_a_base_that_fails_on_a_picture_is_blamed_itself():
    """Noise gives finite values, a black picture does not."""
    frozen = base_graph.load(*net_of(lambda images: tf.log(mean(images) + 0.9)))
    black = np.full((tiny.SIZE, tiny.SIZE, 3), -1, np.float32)
    with (
        bottlenecks.Extractor(frozen) as extractor,
        pytest.raises(UsageError, match=r"the base '.*net\.pb' gives values .*--base_graph"),
    ):
        extractor.bottlenecks([black])


def test_batch_normalization_as_keras_2_writes_it_is_taken():
    """One of its outputs, used by the gradient on a GPU, has an unknown shape."""

    def normalized(images):
        zeros, ones = tf.zeros(3), tf.ones(3)
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=images, scale=2 * ones, offset=ones, mean=zeros, variance=ones, is_training=False,
            epsilon=0.0,
        )  # fmt: skip
        return mean(outputs.y)

    pictures = np.random.default_rng(0).random((2, tiny.SIZE, tiny.SIZE, 3), np.float32)
    found = run(base_graph.load(*net_of(normalized)), "bottlenecks", {"images": pictures})
    np.testing.assert_allclose(found, 2 * pictures.mean((1, 2)) + 1, rtol=1e-5)


def test_a_device_that_is_not_there_does_not_matter():
    def elsewhere(images):
        with tf.device("/job:worker/task:3/device:GPU:7"):
            return mean(images)

    pictures = np.ones((2, tiny.SIZE, tiny.SIZE, 3), np.float32)
    frozen = base_graph.load(*net_of(elsewhere))
    np.testing.assert_allclose(run(frozen, "bottlenecks", {"images": pictures}), np.ones((2, 3)))


def test_make_base_reads_weights_of_every_layout(tmp_path):
    """For the net alone, and for a model with the net as a layer, as fine-tuning builds it."""
    keras = make_base.tf2.keras
    keras.utils.set_random_seed(3)
    net = keras.applications.MobileNetV2((32, 32, 3), 0.35, include_top=False, weights=None)
    inputs = keras.Input((32, 32, 3))
    distort = keras.Sequential([keras.layers.RandomFlip("horizontal")])
    pooled = keras.layers.GlobalAveragePooling2D()(net(distort(inputs)))
    tutorial = keras.Model(inputs, keras.layers.Dense(1)(pooled))
    net.save_weights("alone.weights.h5")
    tutorial.save_weights("tutorial.weights.h5")
    tutorial.save("tutorial.keras")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    expected = net(images, training=False).numpy()
    for path in ("alone.weights.h5", "tutorial.weights.h5", "tutorial.keras"):
        read = make_base.keras_net("MobileNetV2", 32, 0.35, path)
        np.testing.assert_array_equal(read(images, training=False).numpy(), expected)
