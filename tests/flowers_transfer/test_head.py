"""The head against Keras, in every mode of TensorFlow, and changed as learners change it."""

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from flowers_transfer import head, retrain
from tests import modes, painted
from tests.edited import edited
from tests.flowers_transfer import tiny
from tests.saved import variables
from tutorial_support import summaries

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(30, 7)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, 30)


def test_names_shapes_and_initial_values():
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        bottlenecks, labels = head.placeholder_inputs(2048)
        head.training(head.loss(head.inference(bottlenecks, 5), labels), 0.01)
        assert bottlenecks.name == "BottleneckInputPlaceholder:0"
        assert labels.name == "GroundTruthInput:0"
        names = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
        assert names == {
            "final_training_ops/weights": [2048, 5],
            "final_training_ops/biases": [5],
            "global_step": [],
        }
        with tf.Session(graph=graph) as sess:
            sess.run(tf.global_variables_initializer())
            weights, biases = sess.run(tf.trainable_variables())
    assert not biases.any()
    assert weights.std() == pytest.approx(0.00088, rel=0.05)  # 0.001, cut off at two deviations
    assert np.abs(weights).max() <= 0.002


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_against_keras(momentum):
    weights, biases = RANDOM.normal(size=(7, 4)), RANDOM.normal(size=4)
    model = tf2.keras.Sequential(
        [tf2.keras.Input((7,)), tf2.keras.layers.Dense(4, kernel_regularizer=None)]
    )
    model.set_weights([weights, biases])
    optimizer = tf2.keras.optimizers.SGD(0.1, momentum=momentum)
    cross_entropy = tf2.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = []
    for _ in range(3):
        with tf2.GradientTape() as tape:
            value = cross_entropy(LABELS, model(VECTORS))
            objective = value + 0.3 * tf2.nn.l2_loss(model.trainable_variables[0])
        losses.append(float(value))
        gradients = tape.gradient(objective, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    trained, predictions = model.get_weights(), model(VECTORS).numpy().argmax(axis=1)

    with tf.Graph().as_default() as graph:
        bottleneck_input, ground_truth = head.placeholder_inputs(7)
        logits = head.inference(bottleneck_input, 4)
        loss = head.loss(logits, ground_truth)
        train_op = head.training(loss + head.weight_decay(0.3), 0.1, momentum)
        correct = head.evaluation(logits, ground_truth)
        feed = {bottleneck_input: VECTORS, ground_truth: LABELS}
        with tf.Session(graph=graph) as sess:
            sess.run(tf.global_variables_initializer())
            for variable, value in zip(tf.trainable_variables(), (weights, biases), strict=True):
                variable.load(value, sess)
            found = [sess.run([loss, train_op], feed)[0] for _ in range(3)]
            np.testing.assert_allclose(found, losses, rtol=1e-5)
            for value, expected in zip(sess.run(tf.trainable_variables()), trained, strict=True):
                np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
            assert sess.run(tf.train.get_global_step()) == 3
            assert sess.run(correct, feed) == (predictions == LABELS).sum()


def trained(steps=3, optimizer=None, **flags):
    """Builds the head and takes steps on VECTORS; returns the variables' values, and the ops."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        bottleneck_input, ground_truth = head.placeholder_inputs(7)
        logits = head.inference(bottleneck_input, 4)
        loss = head.loss(logits, ground_truth)
        objective = loss + head.weight_decay(flags.pop("weight_decay", 0.0))
        train_op = head.training(objective, 0.1, optimizer=optimizer, **flags)
        head.evaluation(logits, ground_truth)
        summary = tf.summary.merge([tf.summary.merge_all(), summaries.merged_details()])
        feed = {bottleneck_input: VECTORS, ground_truth: LABELS}
        with tf.Session(graph=graph) as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(steps):
                sess.run(train_op, feed)
            values = {v.op.name: sess.run(v) for v in tf.trainable_variables()}
            tags = {v.tag for v in tf.Summary.FromString(sess.run(summary, feed)).value}
    return values, tags, graph


def test_weight_decay_makes_weights_smaller():
    """Each step of gradient descent also subtracts rate times strength times the weights."""
    start = trained(0)[0]["final_training_ops/weights"]
    plain, decayed = (
        trained(1, weight_decay=w)[0]["final_training_ops/weights"] for w in (0.0, 2.0)
    )
    np.testing.assert_allclose(plain - decayed, 0.1 * 2.0 * start, rtol=1e-4, atol=1e-7)


def test_another_optimizer_takes_the_place_of_gradient_descent():
    with tf.Graph().as_default():
        adam = tf.train.AdamOptimizer(0.1)
    start, adapted = trained(0)[0], trained(1, optimizer=adam)[0]
    for name, value in adapted.items():  # Adam's first step is the rate, whatever the gradient
        np.testing.assert_allclose(np.abs(value - start[name]), 0.1, rtol=1e-2, err_msg=name)


LAYER = "    with tf.variable_scope(SCOPE):\n        weights"
ONE_MORE = """    for name in ("hidden1", "hidden2"):
        with tf.variable_scope(name):
            size = bottlenecks.shape.as_list()[1]
            weights = tf.get_variable("weights", [size, 9])
            tf.add_to_collection(tf.GraphKeys.WEIGHTS, weights)
            bottlenecks = tf.nn.relu(tf.matmul(bottlenecks, weights))
            bottlenecks = tf.nn.dropout(bottlenecks, rate=0.5)
            tf.summary.scalar("mean_activation", tf.reduce_mean(bottlenecks))
"""


def test_a_learners_layers_summaries_and_activation_need_no_other_file():
    with edited(head, (LAYER, ONE_MORE + LAYER)):
        values, tags, graph = trained(weight_decay=0.1)
        assert values["hidden1/weights"].shape == (7, 9)
        assert values["hidden2/weights"].shape == (9, 9)
        assert values["final_training_ops/weights"].shape == (9, 4)
        assert {"hidden1/mean_activation", "variables/hidden1/weights"} <= tags
        decayed = [op for op in graph.get_operations() if op.type == "L2Loss"]
        assert len(decayed) == 3
        draws = [op for op in graph.get_operations() if op.type == "RandomUniform"]
        assert len({(op.get_attr("seed"), op.get_attr("seed2")) for op in draws}) == 4
    activation = (
        "tf.matmul(bottlenecks, weights) + biases",
        "tf.tanh(tf.matmul(bottlenecks, weights))",
    )
    with edited(head, activation):
        assert trained()[0].keys() == {"final_training_ops/weights", "final_training_ops/biases"}
    assert trained()[1] >= {"loss/train", "accuracy/train", "activations/logits"}


def test_the_graph_is_there_to_be_looked_at():
    _, _, graph = trained(momentum=0.9, weight_decay=0.1)
    boxes = {op.name.partition("/")[0] for op in graph.get_operations()}
    assert len(boxes) <= 20, sorted(boxes)
    assert {"BottleneckInputPlaceholder", "final_training_ops", "cross_entropy", "train"} <= boxes


@pytest.mark.slow
@modes.each
def test_every_mode_of_tensorflow_trains_the_same(mode, program_environment, tmp_path):
    painted.write_pictures(tmp_path / "photos", count=6)
    tiny.write_graph("base.pb")
    flags = ["--image_dir", "photos", "--base_graph", "base.pb", "--flip_left_right"]
    flags += ["--how_many_training_steps", "2", "--momentum", "0.5", "--weight_decay", "0.1"]
    program = f"""
from flowers_transfer import evaluate, export, label_image, retrain
run = ["--checkpoint", "run"]
codes = [
    retrain.main([*{flags!r}, "--train_dir", "run"]),
    evaluate.main(run),
    label_image.main(["photos/red/000.jpg", *run]),
    export.main(run),
]
sys.exit(sum(codes))
"""
    modes.run(mode, program, env=program_environment, cwd=tmp_path)
    assert retrain.main([*flags, "--train_dir", "plain"]) == 0
    for name, value in variables("plain").items():
        np.testing.assert_array_equal(variables("run")[name], value)
