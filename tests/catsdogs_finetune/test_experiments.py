"""Learners' first experiments, the graph in TensorBoard, and the content of checkpoints."""

import json
import pathlib
import shutil
import signal
import types

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from catsdogs_finetune import best, export, mobilenet_v2, photo_input, predict, pretrained, train
from catsdogs_finetune.trained import TrainedNet
from tests import painted
from tests.catsdogs_finetune import tiny_net
from tests.edited import edited
from tests.saved import variables
from tutorial_support import event_files, programs, runs

TWO = {"cats": (40, 40, 200), "dogs": (200, 90, 40)}
STEPS = 6  # of an epoch: 12 images in batches of 2


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mobilenet_v2, "_STAGES", tiny_net.STAGES)
        yield


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """The flags of a short training: two epochs of the head, one of fine-tuning."""
    folder = tmp_path_factory.mktemp("catsdogs")
    tiny_net.write_weights(folder / "tiny.h5")
    painted.write_pictures(folder / "photos" / "train", 6, TWO)
    painted.write_pictures(folder / "photos" / "validation", 8, TWO)
    data = ["--data_dir", folder / "photos", "--bottleneck_dir", folder / "kept"]
    base = ["--weights", folder / "tiny.h5", "--image_size", 32, "--fine_tune_at", 12]
    epochs = ["--initial_epochs", 2, "--fine_tune_epochs", 1, "--batch_size", 2]
    return [str(flag) for flag in [*data, *base, *epochs, "--train_dir", "run"]]


@pytest.fixture(scope="module")
def run(flags, tmp_path_factory):
    """The folder of such a run."""
    folder = tmp_path_factory.mktemp("done") / "run"
    assert train.main([*flags, "--train_dir", str(folder)]) == 0
    return folder


INPUTS = "        inputs = dropout(bottlenecks)\n"
HIDDEN = """        hidden = tf.get_variable("hidden", [1280, 1280])
        inputs = dropout(tf.nn.relu(tf.matmul(inputs, hidden)))
"""
STAGES = f"ALPHAS = (0.35,)\n_STAGES = {tiny_net.STAGES}\n"
EXPERIMENTS = {
    "another activation": [("tf.nn.relu6(inputs)", "tf.nn.leaky_relu(inputs)")],
    "a layer less": [('        net = _relu6(layers, net, f"{prefix}expand_relu")\n', "")],
    "a layer more, of equal width": [(INPUTS, INPUTS + HIDDEN)],
    "a layer of another width": [(INPUTS, INPUTS + HIDDEN.replace("1280])", "16])"))],
    "another summary": [
        (
            "        net = net + inputs\n",
            '        net = net + inputs\n    tf.summary.scalar("mine", tf.reduce_mean(net))\n',
        )
    ],
    "another optimizer": [
        (
            "tf.train.AdamOptimizer(learning_rate, epsilon=_OPTIMIZER_EPSILON)",
            "tf.train.MomentumOptimizer(learning_rate, 0.9, use_nesterov=True)",
        )
    ],
}


@pytest.mark.usefixtures("pictures_not_drawn")
@pytest.mark.parametrize(
    ("name", "more"),
    # A summary of the base needs the photos even if bottlenecks are fed.
    [*((name, []) for name in EXPERIMENTS), ("another summary", ["--no_augmentation"])],
)
def test_experiments_touch_one_file(name, more, flags):
    stages = ("# The layers built so far", STAGES + "# The layers built so far")
    with edited(mobilenet_v2, stages, *EXPERIMENTS[name]):
        assert train.main([*flags, *more, "--learning_rate", "0.01"]) == 0
        with TrainedNet.find("run").opened() as (sess, tensors):
            logits = sess.run(tensors.logits, {tensors.images: np.zeros((2, 32, 32, 3))})
    assert logits.shape == (2, 2)
    scalars = event_files.scalars("run")
    assert scalars["loss"][0] == [10]
    if name == "another summary":
        assert scalars["base/block_1/mine"][0] == [10]
    if name.startswith("a layer more"):
        # Phase 1 also trains the new layer.
        at_first, later = (
            tf.train.load_variable(f"run/model.ckpt-{step}", "prediction/hidden")
            for step in (STEPS, 2 * STEPS)
        )
        assert not np.array_equal(at_first, later)


def test_top_level_of_the_graph_can_be_read(run):
    (path,) = run.glob("*tfevents*")
    graphs = [event.graph_def for event in tf.train.summary_iterator(str(path)) if event.graph_def]
    names = [node.name for node in tf.GraphDef.FromString(graphs[0]).node]
    boxes = {name.partition("/")[0] for name in names}
    assert len(boxes) <= 25, sorted(boxes)
    assert {"input", "base", "bottlenecks", "prediction", "dropout_rate"} <= boxes
    with tf.Graph().as_default() as graph, edited(mobilenet_v2):  # with all stages
        mobilenet_v2.features(tf.zeros([1, 32, 32, 3]), 0.35)
        names = [op.name for op in graph.get_operations()]
    inside = {name.split("/")[1] for name in names if name.startswith("base/")}
    assert inside == {"stem", "expanded_conv", *(f"block_{i}" for i in range(1, 17)), "last"}


def test_names_in_checkpoints_are_keras_and_those_of_earlier_versions(run):
    names = variables(run).keys()
    net = {
        f"{layer}/{name}"
        for convolution, normalization, kernel in (
            ("Conv1", "bn_Conv1", "kernel"),
            ("expanded_conv_depthwise", "expanded_conv_depthwise_BN", "depthwise_kernel"),
            ("expanded_conv_project", "expanded_conv_project_BN", "kernel"),
            ("block_1_expand", "block_1_expand_BN", "kernel"),
            ("block_1_depthwise", "block_1_depthwise_BN", "depthwise_kernel"),
            ("block_1_project", "block_1_project_BN", "kernel"),
            ("Conv_1", "Conv_1_bn", "kernel"),
        )
        for layer, variables_of in (
            (convolution, [kernel]),
            (normalization, ["gamma", "beta", "moving_mean", "moving_variance"]),
        )
        for name in variables_of
    }
    head = {"prediction/kernel", "prediction/bias"}
    of_adam = {f"{name}/{slot}" for name in head for slot in ("Adam", "Adam_1")}
    trained = head | {
        name
        for name in net
        # Keras' layer 12 is the activation of the expansion; the layers after it are fine-tuned.
        if name.startswith(("block_1_depthwise", "block_1_project", "Conv_1"))
        and "moving" not in name
    }
    of_rmsprop = {f"{name}/{slot}" for name in trained for slot in ("RMSProp", "RMSProp_1")}
    others = {"global_step", "epoch_totals", "beta1_power", "beta2_power"}
    assert names == net | head | of_adam | of_rmsprop | others
    assert variables(run / "best").keys() == names  # training could resume from it


def test_best_checkpoint_has_the_higher_accuracy_and_then_the_lower_loss(run):
    saved = []

    class Saver:
        def save(self, sess, path, global_step, **options):
            saved.append(global_step)

    shutil.copytree(run, "copy")
    pathlib.Path("copy/best/best.json").unlink()
    keeper = best.BestCheckpoint(types.SimpleNamespace(path=pathlib.Path("copy")), Saver())
    results = [(0.7, 0.5), (0.9, 0.6), (0.1, 0.5), (0.8, 0.6), (0.8, 0.6), (0.85, 0.6), (2.0, 0.7)]
    for step, found in enumerate(results):
        keeper.keep(None, *found, step)
    assert saved == [0, 1, 3, 6]
    record = json.loads(pathlib.Path("copy/best/best.json").read_text())
    assert record == {"step": 6, "accuracy": 0.7, "loss": 2.0}


def test_loss_that_is_not_finite_ends_the_training(flags, capsys):
    assert train.main([*flags, "--learning_rate", "1e38", "--dropout", "0"]) == 1
    assert "the loss is not finite at step" in capsys.readouterr().err
    assert not list(pathlib.Path("run").glob("model.ckpt-*"))


def test_weights_that_are_not_finite_are_not_saved_on_a_signal(flags, monkeypatch, capsys):
    """The loss before the step was finite, so only the Saver can detect it."""
    monkeypatch.setattr(runs.StopSignals, "requested", True)
    monkeypatch.setattr(runs.StopSignals, "exit_code", 128 + signal.SIGTERM)
    optimizer = "tf.train.AdamOptimizer(learning_rate, epsilon=_OPTIMIZER_EPSILON)"
    stages = ("# The layers built so far", STAGES + "# The layers built so far")
    broken = (optimizer, "tf.train.GradientDescentOptimizer(float('nan'))")
    with edited(mobilenet_v2, stages, broken):
        assert train.main(flags) == 1
    assert "a variable is not finite at step 1" in capsys.readouterr().err
    assert not list(pathlib.Path("run").glob("model.ckpt-*"))


@pytest.mark.slow
def test_retention_holds_across_resumes_and_in_best(flags, capsys):
    for epochs in ("1", "2"):
        more = ["--fine_tune_epochs", epochs, "--keep_checkpoints", "2"]
        assert train.main([*flags, *more]) == 0
    kept = sorted(path.stem for path in pathlib.Path("run").glob("*.index"))
    assert kept == [f"model.ckpt-{3 * STEPS}", f"model.ckpt-{4 * STEPS}"]
    assert 1 <= len(list(pathlib.Path("run/best").glob("*.index"))) <= 2


def test_tflite_model_gives_the_same_predictions(run, flags, capsys):
    assert export.main(["--checkpoint", str(run), "--output_dir", "out", "--tflite"]) == 0
    lite = tf2.lite.Interpreter("out/model.tflite")
    folder = pathlib.Path(flags[1], "validation")
    paths = [folder / "cats" / "001.jpg", folder / "dogs" / "002.jpg", folder / "dogs" / "003.jpg"]
    with TrainedNet.find(run).opened() as (sess, tensors):
        images = np.stack([TrainedNet.find(run).prepare(sess, tensors, path) for path in paths])
    found = lite.get_signature_runner("serving_default")(images=images)
    capsys.readouterr()
    names = [str(path) for path in paths]
    assert predict.main(["--checkpoint", str(run), "--top", "2", "--json", *names]) == 0
    for place, picture in enumerate(json.loads(capsys.readouterr().out)):
        scores = {label["label"]: label["score"] for label in picture["labels"]}
        expected = [scores["cats"], scores["dogs"]]
        np.testing.assert_allclose(found["probabilities"][place], expected, rtol=1e-3)
        assert found["classes"][place] == np.argmax(expected)


def parsed(*arguments):
    parser = programs.ArgumentParser("")
    train.add_flags(parser)
    return parser.parse_args(arguments)


def test_a_resumed_run_takes_its_own_data_and_weights(tmp_path, monkeypatch):
    """A run saves the names of shipped files, and finds them again if the project moves."""
    monkeypatch.setattr(mobilenet_v2, "_STAGES", all_stages())
    first = parsed("--sample")
    images, facts = photo_input.load(first, {})
    _, digest = pretrained.load(first, {})
    kept = vars(first) | facts
    assert (first.weights, first.data_dir, kept["class_names"]) == (
        "cifar10", None, ["drawn_cats", "drawn_dogs"]
    )  # fmt: skip
    before = {  # as version 0.1.0 kept it, in a project that has moved
        "data_dir": "/gone/data/drawn_cats_and_dogs",
        "sample": True,
        "weights": "/gone/data/mobilenet_v2/cifar10_0.35.weights.h5",
    }
    for known in (kept, kept | before):
        again = parsed()
        assert photo_input.load(again, known)[1] == facts
        assert pretrained.load(again, known) == (pretrained.shipped(), digest)
        assert (again.sample, again.weights, again.alpha) == (True, "cifar10", 0.35)
    painted.write_pictures(tmp_path / "photos", 12, TWO)
    named = parsed("--data_dir", "photos")
    photo_input.load(named, kept)
    assert not named.sample and named.data_dir == str(tmp_path / "photos")
    resumed = parsed()
    photo_input.load(resumed, vars(named))
    assert resumed.data_dir == str(tmp_path / "photos")


def all_stages():
    """The stages of the whole net."""
    with edited(mobilenet_v2):
        return mobilenet_v2._STAGES
