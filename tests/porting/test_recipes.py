"""The recipes of PORTING.md: "before" fails as the guide says, "after" gives right results."""

import functools
import gzip
import importlib
import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from porting import presets, remedies
from tests.conftest import REPOSITORY

GUIDE = (REPOSITORY / "PORTING.md").read_text(encoding="utf-8")
RECIPES = REPOSITORY / "porting" / "recipes"


def sections_of(text):
    """The sections of a page by their anchors."""
    return {
        re.sub(r"[^\w -]", "", section.splitlines()[0].lower()).replace(" ", "-"): section
        for section in re.split(r"^#+ ", text, flags=re.M)
        if section
    }


SECTIONS = sections_of(GUIDE)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 2)).astype(np.float32)


def recipe(name):
    return importlib.import_module(f"porting.recipes.{name}")


# The failure of each "before": how to call it, and the start of the message in the guide.
FAILURES = {
    "sessions": (lambda r: r.run([1]), "module 'tensorflow' has no attribute 'placeholder'"),
    "names": (
        lambda r: r.multiply(1, 2),
        "module 'tensorflow.compat.v1' has no attribute 'mul'",
    ),
    "contrib": (None, "No module named 'tensorflow.contrib'"),
    "layers": (
        lambda r: r.net(tf2.zeros([1, 8, 8, 1]), True),
        "`conv2d` is not available with Keras 3.",
    ),
    "cells": (
        lambda r: r.run_lstm(tf2.zeros([1, 2, 3]), 4),
        "`BasicLSTMCell` is not available with Keras 3.",
    ),
    "estimators": (
        lambda r: r.train_and_predict(X, X, 1, "model"),
        "module 'tensorflow.compat.v1' has no attribute 'estimator'",
    ),
    "mnist": (None, "No module named 'tensorflow.examples'"),
    "flags": (None, "module 'tensorflow' has no attribute 'app'"),
    "gfile": (lambda r: r.copy_lines("."), "module 'tensorflow' has no attribute 'gfile'"),
    "keras": (
        lambda r: r.hidden_activations(None, X),
        "module 'keras._tf_keras.keras.backend' has no attribute 'get_session'",
    ),
    "queues": (
        lambda r: r.batches(["a"], 1),
        "module 'tensorflow._api.v2.train' has no attribute 'string_input_producer'",
    ),
    "variables": (lambda r: r.run(X), "module 'tensorflow' has no attribute 'variable_scope'"),
    "frozen_graphs": (
        lambda r: r.run("a.pb", 1),
        "module 'tensorflow' has no attribute 'GraphDef'",
    ),
    "hooks": (lambda r: r.train(".", 1), "module 'tensorflow' has no attribute 'get_variable'"),
    "saved_models": (
        lambda r: r.load("a", X),
        "module 'tensorflow' has no attribute 'Session'",
    ),
    "speed": (
        lambda r: r.sum_of_squares(3),
        "module 'tensorflow' has no attribute 'ConfigProto'",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_before_fails_as_the_guide_says(name):
    use, message = FAILURES[name]
    with pytest.raises((AttributeError, ImportError), match=re.escape(message)):
        module = recipe(f"before_{name}")
        use(module)
    section = next(text for text in SECTIONS.values() if f"before_{name}.py" in text)
    assert message in section


def test_guide_shows_every_recipe():
    for path in RECIPES.iterdir():
        if path.name.startswith(("before_", "after_")):
            assert f"(porting/recipes/{path.name})" in GUIDE, path.name
    for path, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", GUIDE):
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        assert not anchor or anchor in sections_of(text), (path, anchor)


def test_guide_lists_the_presets():
    named = set(re.findall(r"^\| `(\w+)` \|", SECTIONS[remedies.CHECKPOINTS], flags=re.M))
    assert named == set(presets.PRESETS)


def test_every_remedy_has_a_section():
    anchors = {
        name: value
        for name, value in vars(remedies).items()
        if name[0].isupper() and name.isupper()
    }
    del anchors["GUIDE"]
    anchors = {value for value in anchors.values() if isinstance(value, str)}
    used = {anchor for _, anchor in remedies._REMEDIES.values()}
    assert used <= anchors <= set(SECTIONS)
    for anchor in re.findall(r"\]\(#([^)]+)\)", GUIDE):
        assert anchor in SECTIONS


def test_python_2(tmp_path):
    code = (RECIPES / "before_python_2.txt").read_text(encoding="utf-8")
    with pytest.raises(SyntaxError) as failed:
        compile(code, "before", "exec")
    assert f"SyntaxError: {failed.value.msg}" in SECTIONS[remedies.PYTHON]
    after = recipe("after_python_2")
    labels = np.array([3, 1, 2, 3, 1, 9, 0], np.uint8)
    (tmp_path / "labels").write_bytes(np.array([2049, 7], ">u4").tobytes() + labels.tobytes())
    assert after.read_labels(tmp_path / "labels") == labels.tolist()
    assert after.batches(labels.tolist(), 3) == labels[:6].reshape(2, 3).tolist()
    assert after.classes(labels.tolist()) == np.unique(labels).tolist()


def test_glorot_normal_is_nearly_xavier():
    """The standard deviation before truncation, by contrib's formula: sqrt(1.3 / mean fan)."""
    initializer = tf.glorot_normal_initializer(seed=1)
    values = initializer([400, 600]).numpy()
    truncated = 0.87962566  # of the standard normal distribution, truncated at 2
    assert values.std() == pytest.approx(np.sqrt(1.3 / 500) * truncated, rel=0.01)


def test_keras_3_refuses_what_the_guide_says():
    for build, name, value in [
        (tf2.keras.optimizers.Adam, "lr", 0.1),
        (functools.partial(tf2.keras.layers.Dense, 1), "batch_input_shape", (1, 2)),
    ]:
        with pytest.raises(ValueError, match=name):
            build(**{name: value})
        assert f"`{name}=`" in SECTIONS[remedies.KERAS]


def test_sessions():
    assert recipe("after_sessions").run([1, 2, 3]) == 14
    # With only the import changed, the next failure is the one in the guide.
    code = (RECIPES / "before_sessions.py").read_text(encoding="utf-8")
    scope = {"__name__": "ported"}
    exec(code.replace("import tensorflow as tf", "import tensorflow.compat.v1 as tf"), scope)
    message = "tf.placeholder() is not compatible with eager execution."
    with pytest.raises(RuntimeError, match=re.escape(message)):
        scope["run"]([1])
    with pytest.raises(AssertionError) as nested, tf.Graph().as_default():
        tf.reset_default_graph()
    section = SECTIONS[remedies.SESSIONS]
    assert message in section and str(nested.value).partition(".tf")[0][:40] in section


def test_what_needs_the_default_graph(tmp_path):
    """Also the remedy of the guide, in a process of its own."""
    graph = tf.Graph()
    with graph.as_default():
        variable, saver = tf.get_variable("v", [2]), tf.train.Saver()
        init = tf.global_variables_initializer()
    with tf.Session(graph=graph) as sess:
        sess.run(init)
    sess = tf.Session(graph=graph)
    sess.run(init)
    with pytest.raises(ValueError, match="when executing eagerly"):
        saver.save(sess, str(tmp_path / "a"))
    with pytest.raises(RuntimeError, match="not compatible with eager"):
        tf.summary.FileWriter(str(tmp_path / "events"))
    with graph.as_default():
        saver.save(sess, str(tmp_path / "a"))
        tf.summary.FileWriter(str(tmp_path / "events")).close()
        assert variable.eval(session=sess).shape == (2,)
    code = (
        "import sys, tensorflow.compat.v1 as tf\ntf.disable_eager_execution()\n"
        "v = tf.get_variable('v', [2])\nsaver = tf.train.Saver()\nsess = tf.Session()\n"
        "sess.run(tf.global_variables_initializer())\nsaver.save(sess, sys.argv[1] + '/b')\n"
        "tf.summary.FileWriter(sys.argv[1], sess.graph).close()\n"
        "sv = tf.train.Supervisor(logdir=sys.argv[1])\n"
        "with sv.managed_session() as s: s.run(v)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_graph_needs_no_disable_v2_behavior():
    with tf.Graph().as_default():
        assert not tf.executing_eagerly()
        assert isinstance(tf.get_variable("v", [2, 3]).shape[0], int)


def test_names():
    before, after = recipe("before_names"), recipe("after_names")
    a, b = np.float32([[1, 2]]), np.float32([[3, 4]])
    assert (after.multiply(a, b).numpy() == a * b).all()
    assert (after.join(a, b).numpy() == np.concatenate([a, b], axis=1)).all()
    assert after.width(tf2.constant(a)) == 2
    with pytest.raises(TypeError, match="Cannot convert"):
        before.join(a, b)
    with pytest.raises(AttributeError, match="'int' object has no attribute 'value'"):
        before.width(tf2.constant(a))
    logits, labels = np.float32([[2, 0, 1]]), np.float32([[0, 1, 0]])
    right = np.log(np.exp(logits).sum()) - 0
    assert after.cross_entropy(logits, labels).numpy() == pytest.approx([right], rel=1e-6)
    assert before.cross_entropy(logits, labels).numpy() != pytest.approx([right], rel=0.1)


def convolved(images, kernel):
    """VALID, stride 1, by the definition."""
    size = kernel.shape[0]
    rows, columns = images.shape[1] - size + 1, images.shape[2] - size + 1
    return sum(
        images[:, i : i + rows, j : j + columns] @ kernel[i, j]
        for i in range(size)
        for j in range(size)
    )


def pooled(images):
    n, rows, columns, channels = images.shape
    cut = images[:, : rows // 2 * 2, : columns // 2 * 2]
    return cut.reshape(n, rows // 2, 2, columns // 2, 2, channels).max(axis=(2, 4))


IMAGES = RANDOM.normal(size=(3, 8, 8, 2)).astype(np.float32)


def test_contrib():
    after = recipe("after_contrib")
    with tf.Graph().as_default(), tf.Session() as session:
        logits = after.net(tf.constant(IMAGES), is_training=True)
        loss = after.regularization_loss()
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        session.run(tf.global_variables_initializer())
        v = {v.op.name: session.run(v) for v in tf.global_variables()}
        result, decay = session.run([logits, loss])
        session.run(updates)
        moved = session.run(tf.global_variables("conv1/BatchNorm/moving_mean"))[0]
    assert sorted(v) == [
        "conv1/BatchNorm/beta",
        "conv1/BatchNorm/moving_mean",
        "conv1/BatchNorm/moving_variance",
        "conv1/weights",
        "logits/biases",
        "logits/weights",
    ]
    x = convolved(np.pad(IMAGES, [(0, 0), (1, 1), (1, 1), (0, 0)]), v["conv1/weights"])
    mean = x.mean(axis=(0, 1, 2))
    x = np.maximum((x - mean) / np.sqrt(x.var(axis=(0, 1, 2)) + 0.001), 0)
    expected = pooled(x).reshape(3, -1) @ v["logits/weights"]
    np.testing.assert_allclose(result, expected, atol=1e-4)
    np.testing.assert_allclose(decay, 0.01 * (v["logits/weights"] ** 2).sum() / 2, rtol=1e-5)
    np.testing.assert_allclose(moved, 0.001 * mean, atol=1e-6)
    limit = np.sqrt(6 / (2 * 9 + 4 * 9))  # of xavier
    assert 0.8 * limit < np.abs(v["conv1/weights"]).max() <= limit


def layers_numbers():
    values = {
        "conv1/kernel": RANDOM.normal(size=(3, 3, 2, 4)),
        "conv1/bias": RANDOM.normal(size=4),
        "logits/kernel": RANDOM.normal(size=(36, 10)),
        "logits/bias": RANDOM.normal(size=10),
    }
    values = {name: value.astype(np.float32) for name, value in values.items()}
    x = np.maximum(convolved(IMAGES, values["conv1/kernel"]) + values["conv1/bias"], 0)
    x = pooled(x).reshape(3, -1)
    return values, x @ values["logits/kernel"] + values["logits/bias"]


def test_layers():
    values, expected = layers_numbers()
    with tf.Graph().as_default(), tf.Session() as session:
        logits = recipe("after_layers").net(tf.constant(IMAGES), is_training=False)
        for variable in tf.global_variables():
            variable.load(values[variable.op.name], session)
        np.testing.assert_allclose(session.run(logits), expected, atol=1e-4)


needs_tf_keras = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="the package tf_keras is not installed"
)


@needs_tf_keras
def test_layers_with_keras_2(tmp_path):
    """In a separate process: the switch must be set before the first import of TensorFlow."""
    values, expected = layers_numbers()
    np.savez(tmp_path / "in.npz", images=IMAGES, **values)
    program = (
        "import numpy as np; from porting.recipes import after_layers_with_keras_2 as recipe;"
        "data = dict(np.load('in.npz')); images = data.pop('images');"
        "np.save('out.npy', recipe.run(images, data))"
    )
    path = os.pathsep.join([str(REPOSITORY), *sys.path])
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cells():
    inputs = RANDOM.normal(size=(2, 5, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        outputs, state = recipe("after_cells").run_lstm(tf.constant(inputs), 4)
        session.run(tf.global_variables_initializer())
        v = {v.op.name: session.run(v) for v in tf.global_variables()}
        outputs, state = session.run([outputs, state])
    assert sorted(v) == ["rnn/basic_lstm_cell/bias", "rnn/basic_lstm_cell/kernel"]
    kernel, bias = v["rnn/basic_lstm_cell/kernel"], v["rnn/basic_lstm_cell/bias"]
    c = h = np.zeros((2, 4))
    for step in range(5):
        gates = np.concatenate([inputs[:, step], h], axis=1) @ kernel + bias
        i, j, f, o = np.split(gates, 4, axis=1)
        c = c * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        np.testing.assert_allclose(outputs[:, step], h, atol=1e-5)
    np.testing.assert_allclose(state.c, c, atol=1e-5)


def test_estimators(tmp_path):
    y = X @ np.float32([[1], [-2]])
    w = np.zeros((2, 1))
    for _ in range(5):
        w -= 0.1 * 2 * X.T @ (X @ w - y) / len(X)
    train = recipe("after_estimators").train_and_predict
    train(X, y, 3, str(tmp_path / "model"))
    predictions = train(X, y, 5, str(tmp_path / "model"))  # resumes at step 3
    np.testing.assert_allclose(predictions, X @ w, atol=1e-5)


def test_mnist():
    folder = REPOSITORY / "data" / "mnist"
    images, labels = recipe("after_mnist").first_batch(str(folder))
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 784)
    assert images.shape == (50, 784) and labels.shape == (50, 10)
    known = {row.tobytes() for row in pixels}
    assert all((row * 255).round().astype(np.uint8).tobytes() in known for row in images)


def test_flags(capsys):
    recipe("after_flags").main(["--learning_rate", "0.5"])
    assert capsys.readouterr().out == "logs 0.5\n"
    program = "import tensorflow.compat.v1 as tf; tf.flags.DEFINE_string; tf.app.run"
    exec(program)  # as the guide says, both are there


def test_gfile(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    assert recipe("after_gfile").copy_lines(str(tmp_path)) == b"one\ntwo\n"
    for name in ["Exists", "MakeDirs", "Glob", "Copy", "FastGFile"]:
        assert hasattr(tf.gfile, name)


def test_keras():
    hidden = tf2.keras.layers.Dense(3, activation="relu")
    model = tf2.keras.Sequential([tf2.keras.Input((2,)), hidden, tf2.keras.layers.Dense(1)])
    kernel, bias = hidden.get_weights()
    recipe("after_keras").limit_gpu_memory()
    result = recipe("after_keras").hidden_activations(model, X)
    np.testing.assert_allclose(result, np.maximum(X @ kernel + bias, 0), atol=1e-6)


def test_queues(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n3,4\n5,6\n")
    (tmp_path / "b.csv").write_text("7,8\n9,10\n")
    files = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    expected = [[[1, 3], [2, 4]], [[5, 7], [6, 8]]]
    after = recipe("after_queues")
    assert np.array(after.batches(files, 2)).tolist() == expected
    with pytest.raises(tf.errors.OutOfRangeError):
        after.batches(files, 3)
    # As the guide says, the queues themselves still run in a graph.
    code = (RECIPES / "before_queues.py").read_text(encoding="utf-8")
    scope = {}
    exec(code.replace("import tensorflow as tf", "import tensorflow.compat.v1 as tf"), scope)
    with tf.Graph().as_default():
        assert np.array(scope["batches"](files, 2)).tolist() == expected


def test_variables():
    y, y_of_averages = recipe("after_variables").run(tf.constant([[1.0, 1.0]]).numpy())
    assert y.tolist() == [[6]]  # w is 3 after the step
    assert y_of_averages.tolist() == [[4]]  # 0.5 * 1 + 0.5 * 3 is 2


def test_checkpoints(tmp_path):
    kernel, bias = np.float32([[1, 2], [3, 4], [5, 6]]), np.float32([7, 8])
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("hidden/weights", initializer=kernel)
        tf.get_variable("hidden/biases", initializer=bias)
        session.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    with pytest.raises(tf.errors.NotFoundError, match="Key dense/bias not found in checkpoint"):
        recipe("before_checkpoints").restore(path)
    assert "Key dense/bias not found in checkpoint" in SECTIONS[remedies.CHECKPOINTS]
    restored = recipe("after_checkpoints").restore(path)
    assert (restored[0] == kernel).all() and (restored[1] == bias).all()
    layer = tf2.keras.layers.Dense(2)
    layer.build((None, 3))
    recipe("after_checkpoints").into_keras(path, layer)
    x = np.float32([[1, 0, 2]])
    np.testing.assert_allclose(layer(x), x @ kernel + bias)


def test_frozen_graphs(tmp_path):
    after = recipe("after_frozen_graphs")
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        w = tf.get_variable("w", initializer=np.float32([[2], [3]]))
        tf.matmul(x, w, name="y")
        session.run(tf.global_variables_initializer())
        frozen = after.freeze(session, "y")
    (tmp_path / "a.pb").write_bytes(frozen.SerializeToString())
    expected = X @ np.float32([[2], [3]])
    np.testing.assert_allclose(after.run(str(tmp_path / "a.pb"), X), expected, rtol=1e-5)
    np.testing.assert_allclose(after.as_function(str(tmp_path / "a.pb"))(X), expected, rtol=1e-5)
    with pytest.raises(AttributeError, match="no attribute 'convert_variables_to_constants'"):
        recipe("before_frozen_graphs").freeze(session, "y")


def test_hooks(tmp_path):
    w = 0
    for _ in range(3):
        value = w  # fetched in the step, before the update
        w -= 0.25 * 2 * (w - 1)
    result = recipe("after_hooks").train(str(tmp_path), 3)
    assert result == pytest.approx(w, abs=1e-6) or result == pytest.approx(value, abs=1e-6)
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-3")
    assert tf.train.load_variable(str(tmp_path), "w") == pytest.approx(w)


def test_saved_models(tmp_path):
    after = recipe("after_saved_models")
    folder = str(tmp_path / "v1")
    after.save(folder)
    expected = X.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after.load(folder, X), expected, rtol=1e-5)
    np.testing.assert_allclose(after.load_without_session(folder, X), expected, rtol=1e-5)

    module = tf2.Module()
    module.call = tf2.function(
        lambda x: {"y": tf2.reduce_sum(x, axis=1, keepdims=True)},
        input_signature=[tf2.TensorSpec([None, 2], name="x")],
    )
    folder = str(tmp_path / "v2")
    tf2.saved_model.save(module, folder, signatures=module.call)
    np.testing.assert_allclose(after.load(folder, X), expected, rtol=1e-5)


def test_seeds():
    before, after = recipe("before_seeds"), recipe("after_seeds")
    assert before.initial_values(False).tolist() != before.initial_values(True).tolist()
    assert before.initial_values(True).tolist() == before.initial_values(True).tolist()
    values = after.initial_values(False)
    assert values.tolist() == after.initial_values(True).tolist()
    of_version_1_15_5 = np.float32([-1.0467793, 0.8397046, 1.2358364])
    assert (values == of_version_1_15_5).all()


def test_speed():
    assert recipe("after_speed").sum_of_squares(5) == 0 + 1 + 4 + 9 + 16
