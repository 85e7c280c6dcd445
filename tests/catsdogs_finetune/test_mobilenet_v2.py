"""MobileNetV2 from low-level ops against Keras' own, with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, pretrained


@pytest.fixture(autouse=True)
def random():
    """A generator for this test; it also fixes Keras' initial weights."""
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0)


def keras_net(alpha, size, seed=0):
    """Keras' net with weights and statistics that make every variable matter."""
    model = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), include_top=False, weights=None, alpha=alpha
    )
    random = np.random.default_rng(seed)
    model.set_weights(
        [
            random.uniform(0.5, 1.5, weight.shape)
            if variable.path.endswith(("gamma", "moving_variance"))
            else weight + random.normal(0, 0.05, weight.shape)
            for variable, weight in zip(model.weights, model.get_weights(), strict=True)
        ]
    )
    return model


def by_name(variables, values):
    """Keras' values by the names in its h5 files; Keras 3 renamed one kind of variable."""
    names = [v.path.replace("depthwise/kernel", "depthwise/depthwise_kernel") for v in variables]
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("alpha", "size"), [(0.35, 96), (0.5, 160), (1.0, 224), (1.4, 96), (0.35, 75)]
)
def test_names_and_features_are_keras(alpha, size, random):
    model = keras_net(alpha, size)
    weights = by_name(model.weights, model.get_weights())
    images = random.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    expected = model(images, training=False).numpy()
    with tf.Graph().as_default(), tf.Session() as sess:
        features, layers = mobilenet_v2.features(tf.constant(images), alpha)
        variables = mobilenet_v2.weights(layers)
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        assert shapes == {name: value.shape for name, value in weights.items()}
        assert mobilenet_v2.names_in_checkpoints(layers) == variables
        sess.run(tf.global_variables_initializer(), pretrained.initial_values(variables, weights))
        found = sess.run(features)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert list(layers)[1:] == [layer.name for layer in model.layers][1:]


def test_counts_of_the_published_tutorial():
    with tf.Graph().as_default():
        features, layers = mobilenet_v2.features(tf.zeros([1, 160, 160, 3]))
        assert features.shape == (1, 5, 5, 1280)
        sizes = [v.shape.num_elements() for v in tf.global_variables()]
        assert (len(sizes), sum(sizes)) == (260, 2_257_984)
        bottlenecks = mobilenet_v2.bottlenecks(features)
        assert bottlenecks.shape == (1, mobilenet_v2.bottleneck_size(1.0))
        mobilenet_v2.inference(bottlenecks, 2)
        assert len(layers) == 154
        for layer, tensors, parameters in ((154, 2, 1281), (100, 56, 1_862_721)):
            variables = mobilenet_v2.variables_from(layer, layers)
            assert len(variables) == tensors
            assert sum(v.shape.num_elements() for v in variables) == parameters


def test_layers_are_trained_from_the_very_one_that_is_named():
    """Keras' first layers: 0 the input, 1 Conv1, 2 its normalization, 3 its ReLU, 4 depthwise."""
    with tf.Graph().as_default():
        _, layers = mobilenet_v2.features(tf.zeros([1, 32, 32, 3]), 0.35)
        names = {variable.ref(): name for name, variable in mobilenet_v2.weights(layers).items()}
        first = [names[mobilenet_v2.variables_from(layer, layers)[0].ref()] for layer in range(6)]
    depthwise = "expanded_conv_depthwise"
    assert first == [
        "Conv1/kernel",
        "Conv1/kernel",
        "bn_Conv1/gamma",
        f"{depthwise}/depthwise_kernel",
        f"{depthwise}/depthwise_kernel",
        f"{depthwise}_BN/gamma",
    ]


def keras_steps(model, images, labels, num_classes, layer, optimizer):
    """One step in Keras: (loss, gradients and changed weights by name)."""
    outputs = 1 if num_classes == 2 else num_classes
    pooled = keras.layers.GlobalAveragePooling2D()(model(model.inputs[0], training=False))
    whole = keras.Model(model.inputs, keras.layers.Dense(outputs, name="prediction")(pooled))
    for place, part in enumerate(model.layers):
        part.trainable = place >= layer
    if num_classes == 2:
        objective = keras.losses.BinaryCrossentropy(from_logits=True)
        targets = labels[:, None].astype(np.float32)
    else:
        objective = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        targets = labels
    before = by_name(whole.weights, whole.get_weights())
    with tf2.GradientTape() as tape:
        loss = objective(targets, whole([images]))
    gradients = tape.gradient(loss, whole.trainable_variables)
    optimizer.apply_gradients(zip(gradients, whole.trainable_variables, strict=True))
    gradients = by_name(whole.trainable_variables, [g.numpy() for g in gradients])
    return before, loss.numpy(), gradients, by_name(whole.weights, whole.get_weights())


def head_alone():
    return 154, mobilenet_v2.adam(1e-4), keras.optimizers.Adam(1e-4)


def fine_tuning():
    return 100, mobilenet_v2.RMSPropOptimizer(1e-5), keras.optimizers.RMSprop(1e-5)


@pytest.mark.parametrize(
    ("num_classes", "phase"), [(2, head_alone), (2, fine_tuning), (3, fine_tuning)]
)
def test_one_step_of_each_phase_equals_keras(num_classes, phase, random):
    layer, ours, theirs = phase()
    images = random.uniform(-1, 1, (4, 96, 96, 3)).astype(np.float32)
    labels = random.integers(0, num_classes, 4).astype(np.int32)
    before, expected_loss, expected_gradients, expected = keras_steps(
        keras_net(0.35, 96), images, labels, num_classes, layer, theirs
    )
    with tf.Graph().as_default(), tf.Session() as sess:
        features, layers = mobilenet_v2.features(tf.constant(images), 0.35)
        logits = mobilenet_v2.inference(mobilenet_v2.bottlenecks(features), num_classes)
        loss = mobilenet_v2.loss(logits, tf.constant(labels))
        variables = mobilenet_v2.names_in_checkpoints(layers)
        names = {variable.ref(): name for name, variable in variables.items()}
        trained = mobilenet_v2.variables_from(layer, layers)
        gradients = dict(
            zip([names[v.ref()] for v in trained], tf.gradients(loss, trained), strict=True)
        )
        train_op = mobilenet_v2.training(loss, ours, trained)
        sess.run(tf.global_variables_initializer(), pretrained.initial_values(variables, before))
        loss_value, gradient_values = sess.run([loss, gradients])
        sess.run(train_op)
        after = sess.run(mobilenet_v2.names_in_checkpoints(layers))
        assert sess.run(tf.train.get_global_step()) == 1
    assert loss_value == pytest.approx(expected_loss, rel=1e-4)
    assert gradient_values.keys() == expected_gradients.keys()
    for name, value in expected_gradients.items():
        # If rounding moves a value across the edge of a ReLU, the gradient of one pixel changes.
        np.testing.assert_allclose(
            gradient_values[name], value, rtol=1e-4, atol=1e-3 * np.abs(value).max(), err_msg=name
        )
    for name, value in expected.items():
        np.testing.assert_allclose(
            after[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max(), err_msg=name
        )


@pytest.mark.parametrize("phase", [head_alone, fine_tuning])
def test_optimizers_go_step_by_step_as_keras_do(phase, random):
    _, ours, theirs = phase()
    gradients = np.float32(random.normal(0, 1, (6, 5)) * 10.0 ** -np.arange(5))
    reference, expected = keras.Variable(np.zeros(5)), []
    for value in gradients:
        theirs.apply_gradients([(tf2.constant(value), reference)])
        expected.append(reference.numpy().copy())
    with tf.Graph().as_default(), tf.Session() as sess:
        variable = tf.get_variable("x", initializer=tf.zeros([5]))
        gradient = tf.placeholder(tf.float32, [5])
        step = ours.apply_gradients([(gradient, variable)])
        sess.run(tf.global_variables_initializer())
        for value, wanted in zip(gradients, expected, strict=True):
            sess.run(step, {gradient: value})
            np.testing.assert_allclose(sess.run(variable), wanted, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([[-1.0], [2.0], [0.5]], [0, 1, 1]), ([[3.0, 1, 2], [0, 1, 0], [0, 0, 9]], [0, 1, 2])],
)
def test_class_logits_and_evaluation(logits, expected):
    with tf.Graph().as_default(), tf.Session() as sess:
        logits = tf.constant(logits)
        class_logits = mobilenet_v2.class_logits(logits)
        assert list(sess.run(tf.argmax(class_logits, axis=1))) == expected
        assert sess.run(mobilenet_v2.evaluation(logits, tf.constant([0, 1, 0]))) == 2
        if logits.shape[-1] == 1:
            probabilities = sess.run(tf.nn.softmax(class_logits))
            np.testing.assert_allclose(probabilities[:, 1:], sess.run(tf.sigmoid(logits)), 1e-6)


def test_each_number_of_a_layer_is_keras():
    """For every `fine_tune_at`, including layers without variables."""
    model = keras.applications.MobileNetV2((96, 96, 3), 0.35, include_top=False, weights=None)
    with tf.Graph().as_default():
        _, layers = mobilenet_v2.features(tf.zeros([1, 96, 96, 3]), 0.35)
        names = {v.ref(): name for name, v in mobilenet_v2.weights(layers).items()}
        for number in range(len(layers) + 1):
            expected = [v for layer in model.layers[number:] for v in layer.trainable_variables]
            found = [names[v.ref()] for v in mobilenet_v2.variables_from(number, layers)]
            assert found == list(by_name(expected, expected)), number


def test_dropout_masks_differ_between_steps_layers_and_seeds_and_come_again():
    with tf.Graph().as_default(), tf.Session() as sess:
        ones, rate = tf.ones([20, 50]), tf.placeholder_with_default(0.25, ())
        dropout, other = mobilenet_v2.dropout(rate, 7), mobilenet_v2.dropout(rate, 8)
        again = mobilenet_v2.dropout(rate, 7)
        masks = [dropout(ones), dropout(ones), other(ones), again(ones)]
        step = tf.train.get_global_step()
        sess.run(tf.global_variables_initializer())
        first, second, of_other, repeated = sess.run(masks)
        step.load(1, sess)
        later = sess.run(masks[0])
        unused = sess.run(masks[0], {rate: 0.0})
    assert np.array_equal(first, repeated) and np.array_equal(unused, np.ones([20, 50]))
    for one in (second, of_other, later):
        assert not np.array_equal(first, one)
    assert set(np.unique(first)) == {0, np.float32(4 / 3)} and 0.2 < np.mean(first == 0) < 0.3
