"""Builds the graph of MobileNetV2 and of a classifier on it, one function for each stage.

    features()    from images to what the net sees where: the net without its top
    bottlenecks() from features to what the net sees in the whole picture
    inference()   from bottlenecks to logits: the new head
    loss()        from logits and labels to the number that training lowers
    training()    from the loss to the op that takes one step
    evaluation()  from logits and labels to the number of correct predictions

A variable's name in a checkpoint is its name in Keras' h5 files of weights (`Conv1/kernel`,
`bn_Conv1/gamma`, ..., `Conv_1_bn/moving_variance`), so that a name tells where a weight comes from.
The net: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
"""

import collections
import itertools
from collections.abc import Callable

import tensorflow as tf2
import tensorflow.compat.v1 as tf

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # the widths for which Keras offers weights
EPSILON = 1e-3  # Keras' batch normalization divides by sqrt(variance + EPSILON)
_OPTIMIZER_EPSILON = 1e-7  # Keras' default; TensorFlow's are 1e-8 and 1e-10
# Of each stage of blocks: expansion, channels at alpha 1, number of blocks, stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

Block = collections.namedtuple("Block", "prefix inputs expansion channels stride")
Block.__doc__ = """An inverted residual: its names' prefix, channels in, expansion, channels out."""

# The layers that have been built, as Keras counts them: an activation and a padding are layers too,
# without variables. From a layer's name to its variables, and from theirs to the variable.
Layers = dict[str, dict[str, tf.Variable]]


def blocks(alpha: float) -> list[Block]:
    """Returns the net's 17 `Block`s; `alpha` as of `features`."""
    found: list[Block] = []
    inputs = _channels(32 * alpha)
    for expansion, channels, count, first_stride in _STAGES:
        channels = _channels(channels * alpha)
        for stride in [first_stride] + [1] * (count - 1):
            prefix = f"block_{len(found)}_" if found else "expanded_conv_"
            found.append(Block(prefix, inputs, expansion, channels, stride))
            inputs = channels
    return found


def features(images: tf.Tensor, alpha: float = 1.0) -> tuple[tf.Tensor, Layers]:
    """Adds the net without its top.

    Args:
        images: float32 [batch, height, width, 3] in [-1, 1].
        alpha: the width: how many channels, as a share of the published net's.

    Returns:
        (features, float32 [batch, height / 32, width / 32, channels] in [0, 6]; the net's layers).
    """
    layers: Layers = {"input": {}}
    # A variable scope puts its name in front of what get_variable makes, a name scope does not.
    # So TensorBoard draws the net as one box, and in it a box for each block with its variables.
    with tf.variable_scope("base"):
        with tf.variable_scope("stem"):
            channels = _channels(32 * alpha)
            net = _convolution(layers, images, channels, 3, "Conv1", "bn_Conv1", stride=2)
            net = _relu6(layers, net, "Conv1_relu")
        for block in blocks(alpha):
            with tf.variable_scope(block.prefix.rstrip("_")):
                net = _inverted_residual(layers, net, block)
        with tf.variable_scope("last"):
            net = _convolution(layers, net, bottleneck_size(alpha), 1, "Conv_1", "Conv_1_bn")
            net = _relu6(layers, net, "out_relu")
    return net, layers


def bottlenecks(features: tf.Tensor) -> tf.Tensor:
    """Adds the mean over the picture: float32 [batch, channels]; `features` from `features`."""
    with tf.name_scope("pooling"):
        return tf.reduce_mean(features, axis=[1, 2])


def bottleneck_size(alpha: float) -> int:
    """Returns how many numbers a bottleneck has."""
    return _channels(1280 * max(1.0, alpha))


def _channels(wanted: float) -> int:
    """Returns the multiple of 8 nearest to `wanted`, but never below 90% of it."""
    nearest = max(8, int(int(wanted) + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * int(wanted) else nearest


def _inverted_residual(layers: Layers, inputs: tf.Tensor, block: Block) -> tf.Tensor:
    """Adds a block: expand to more channels, filter each by itself, project to few."""
    net, prefix = inputs, block.prefix
    if block.expansion != 1:
        expanded = block.expansion * block.inputs
        net = _convolution(layers, net, expanded, 1, f"{prefix}expand", f"{prefix}expand_BN")
        net = _relu6(layers, net, f"{prefix}expand_relu")
    if block.stride == 2:
        layers[f"{prefix}pad"] = {}  # Keras pads in a layer of its own, TensorFlow's op does it
    net = _depthwise(layers, net, block.stride, f"{prefix}depthwise", f"{prefix}depthwise_BN")
    net = _relu6(layers, net, f"{prefix}depthwise_relu")
    # No activation here: among so few channels, a ReLU would throw too much away.
    net = _convolution(layers, net, block.channels, 1, f"{prefix}project", f"{prefix}project_BN")
    if block.stride == 1 and block.inputs == block.channels:
        layers[f"{prefix}add"] = {}
        net = net + inputs
    return net


def _relu6(layers: Layers, inputs: tf.Tensor, name: str) -> tf.Tensor:
    """Adds a ReLU that is cut off at 6."""
    layers[name] = {}
    return tf.nn.relu6(inputs)


def _convolution(
    layers: Layers,
    inputs: tf.Tensor,
    channels: int,
    size: int,
    name: str,
    normalization: str,
    stride: int = 1,
) -> tf.Tensor:
    """Adds a convolution and its batch normalization, in the scopes of these names."""
    with tf.variable_scope(name):
        kernel = tf.get_variable("kernel", [size, size, inputs.shape.as_list()[-1], channels])
    layers[name] = {"kernel": kernel}
    scale, shift = _normalization(layers, channels, normalization)
    net = tf.nn.conv2d(inputs, kernel * scale, strides=stride, padding="SAME")
    return tf.nn.bias_add(net, shift)


def _depthwise(
    layers: Layers, inputs: tf.Tensor, stride: int, name: str, normalization: str
) -> tf.Tensor:
    """Adds a filter for each channel by itself, and its batch normalization."""
    channels = inputs.shape.as_list()[-1]
    with tf.variable_scope(name):
        kernel = tf.get_variable("depthwise_kernel", [3, 3, channels, 1])
    layers[name] = {"depthwise_kernel": kernel}
    scale, shift = _normalization(layers, channels, normalization)
    strides = [1, stride, stride, 1]
    net = tf.nn.depthwise_conv2d(inputs, kernel * scale[:, None], strides, "SAME")
    return tf.nn.bias_add(net, shift)


def _normalization(layers: Layers, channels: int, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds the variables of a batch normalization by the moving mean and variance.

    It never takes the batch's own mean and variance: updating them with the few photos of a new
    task would spoil what the layers behind it have learned to expect. So it is linear, and need not
    pass over the images: the convolution before it takes the factor into its kernel.

    Returns:
        (factor, what is added), two tensors, float32 [channels].
    """
    shape, zeros, ones = [channels], tf.zeros_initializer(), tf.ones_initializer()
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", shape, initializer=ones)
        beta = tf.get_variable("beta", shape, initializer=zeros)
        mean = tf.get_variable("moving_mean", shape, initializer=zeros, trainable=False)
        variance = tf.get_variable("moving_variance", shape, initializer=ones, trainable=False)
        layers[name] = {
            "gamma": gamma,
            "beta": beta,
            "moving_mean": mean,
            "moving_variance": variance,
        }
        scale = gamma * tf.rsqrt(variance + EPSILON)
        return scale, beta - mean * scale


def weights(layers: Layers) -> dict[str, tf.Variable]:
    """Returns the variables of layers by the names that they have in Keras' files, in order."""
    return {
        f"{layer}/{name}": variable
        for layer, variables in layers.items()
        for name, variable in variables.items()
    }


def names_in_checkpoints(layers: Layers) -> dict[str, tf.Variable]:
    """Returns all variables of the graph by their names in checkpoints, as a Saver takes them.

    The scopes that only group the layers (`base/block_1/` before `block_1_expand/kernel`) stand in
    no checkpoint, neither before a weight nor before what an optimizer keeps for it.
    """
    groups = {variable.op.name.removesuffix(name) for name, variable in weights(layers).items()}

    def without_group(name: str) -> str:
        return name.removeprefix(next((g for g in groups if g and name.startswith(g)), ""))

    return {without_group(variable.op.name): variable for variable in tf.global_variables()}


def variables_from(layer: int, layers: Layers) -> list[tf.Variable]:
    """Returns the variables to train: the head's, and those of the net from a layer on.

    Args:
        layer: the number of the first layer to train, as Keras counts them (`fine_tune_at`); the
            number of all layers, or more, for the head alone.
        layers: from `features`.
    """
    frozen = {variable.ref() for name in list(layers)[:layer] for variable in layers[name].values()}
    return [variable for variable in tf.trainable_variables() if variable.ref() not in frozen]


def dropout(rate: tf.Tensor, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that adds a dropout layer; each layer has masks of its own.

    Which units a step drops depends on the seed, the layer and `global_step` alone. So a run that
    is stopped and resumed drops the same ones.

    Args:
        rate: float32 scalar, the share that is dropped.
        seed: below 2**31.
    """
    global_step = tf.train.get_or_create_global_step()
    numbers = itertools.count()

    def layer(inputs: tf.Tensor) -> tf.Tensor:
        of_layer = tf.constant(seed + (next(numbers) << 32), tf.int64)
        return tf2.nn.experimental.stateless_dropout(
            inputs, rate, seed=tf.stack([of_layer, global_step])
        )

    return layer


def inference(
    bottlenecks: tf.Tensor,
    num_classes: int,
    dropout: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """Adds the head: dropout and a dense layer.

    Args:
        bottlenecks: float32 [batch, channels].
        num_classes: at least 2.
        dropout: from `dropout`, for training.

    Returns:
        logits: float32 [batch, 1] for two classes, positive for the second; for more of them
        [batch, num_classes].
    """
    outputs = 1 if num_classes == 2 else num_classes
    with tf.variable_scope("prediction"):
        inputs = dropout(bottlenecks)
        shape = [inputs.shape.as_list()[-1], outputs]
        kernel = tf.get_variable("kernel", shape, initializer=tf.glorot_uniform_initializer())
        bias = tf.get_variable("bias", [outputs], initializer=tf.zeros_initializer())
        logits = tf.matmul(inputs, kernel) + bias
    # At the end, because an op's random seed depends on how many ops were made before it.
    tf.summary.histogram("values/prediction/kernel", kernel)
    tf.summary.histogram("values/prediction/bias", bias)
    return logits


def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds the mean cross entropy of the batch, a float32 scalar in nats, and its summary.

    Args:
        logits: from `inference`.
        labels: int32 [batch].
    """
    with tf.name_scope("cross_entropy"):
        if logits.shape.as_list()[-1] == 1:
            targets = tf.cast(labels[:, None], tf.float32)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        else:
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(entropy)
    tf.summary.scalar("loss", loss)
    return loss


def training(
    loss: tf.Tensor, optimizer: tf.train.Optimizer, variables: list[tf.Variable]
) -> tf.Operation:
    """Adds the op that takes one step.

    Args:
        loss: float32 scalar.
        optimizer: of the phase, `adam` or `RMSPropOptimizer` in the original.
        variables: what it may change, from `variables_from`.

    Returns:
        train_op: running it changes the variables once and adds 1 to `global_step`.
    """
    step = tf.train.get_or_create_global_step()
    # The gradients of the other variables are not even computed: a step of the head alone does
    # not go back through the base.
    return optimizer.minimize(loss, global_step=step, var_list=variables)


def adam(learning_rate: float) -> tf.train.Optimizer:
    """Returns the optimizer of the first phase."""
    return tf.train.AdamOptimizer(learning_rate, epsilon=_OPTIMIZER_EPSILON)


class RMSPropOptimizer(tf.train.RMSPropOptimizer):
    """The optimizer of the second phase: TensorFlow's, but starting from the state of Keras'.

    TensorFlow's mean of the squared gradients starts at 1, Keras' at 0. Gradients are far below 1:
    so TensorFlow's first steps are tiny, where Keras' are as long as all later ones.
    """

    def __init__(self, learning_rate: float) -> None:
        """Takes the learning rate; the rest is Keras' default."""
        super().__init__(learning_rate, decay=0.9, epsilon=_OPTIMIZER_EPSILON)

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "rms", self._name)
            self._zeros_slot(variable, "momentum", self._name)


def class_logits(logits: tf.Tensor) -> tf.Tensor:
    """Returns a logit for each class, float32 [batch, num_classes]; softmax gives probabilities.

    Args:
        logits: from `inference`. A single one stands beside a 0 for the first class: of these
            two, softmax gives what the sigmoid gives of the one.
    """
    if logits.shape.as_list()[-1] != 1:
        return logits
    with tf.name_scope(f"{logits.op.name.rpartition('/')[0]}/class_logits/"):
        return tf.concat([tf.zeros_like(logits), logits], axis=1)


def evaluation(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds the number of correct predictions, an int32 scalar.

    Args:
        logits: from `inference`.
        labels: int32 [batch].
    """
    with tf.name_scope("evaluation"):
        predictions = tf.argmax(class_logits(logits), axis=1, output_type=tf.int32)
        return tf.reduce_sum(tf.cast(tf.equal(predictions, labels), tf.int32))


def totals(
    logits: tf.Tensor, labels: tf.Tensor, loss: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Operation]:
    """Adds what a mean over several batches, or over an epoch of training, needs.

    Args:
        logits: from `inference`.
        labels: int32 [batch].
        loss: the mean of the batch, from `loss`.

    Returns:
        of_batch: float32 [3]: the sum of the losses, the correct predictions, the images.
        of_epoch: their sums since the epoch began; fetching it adds the batch.
        begin_epoch: the op that sets them to 0.
    """
    with tf.name_scope("totals"):
        # The size of the batch is known when it is run: the last one of an epoch may be smaller.
        size = tf.cast(tf.size(labels), tf.float32)
        correct = tf.cast(evaluation(logits, labels), tf.float32)
        of_batch = tf.stack([loss * size, correct, size])
        # In a variable, because checkpoints hold variables: so a run that is stopped in mid-epoch
        # and resumed still tells the whole epoch's loss. No optimizer changes it.
        epoch_totals = tf.get_variable("epoch_totals", initializer=tf.zeros([3]), trainable=False)
        return of_batch, epoch_totals.assign_add(of_batch), epoch_totals.initializer
