"""Builds the graph of MobileNetV2 and of a classifier on top of it, one function per stage.

    features()    images -> feature maps: MobileNetV2 without its top
    bottlenecks() feature maps -> one vector per image
    inference()   bottlenecks -> logits: the new head
    loss()        logits, labels -> mean cross entropy
    training()    loss -> the op that takes one training step
    evaluation()  logits, labels -> number of correct predictions

Checkpoints use the names of Keras' h5 files of weights (`Conv1/kernel`, `bn_Conv1/gamma`, ...,
`Conv_1_bn/moving_variance`).
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
# For each stage: expansion, channels at alpha 1, number of blocks, stride of the first block.
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
Block.__doc__ = """A block: prefix of its names, channels in, expansion, channels out, stride."""

# The layers built so far: {layer name: {variable name: variable}}. As in Keras, activations and
# paddings count as layers; they have no variables.
Layers = dict[str, dict[str, tf.Variable]]


def blocks(alpha: float) -> list[Block]:
    """Returns the 17 blocks of the net; `alpha` is that of `features`."""
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
        alpha: the width multiplier: the number of channels relative to the published net's.

    Returns:
        (feature maps, float32 [batch, height / 32, width / 32, channels] in [0, 6]; the layers).
    """
    layers: Layers = {"input": {}}
    # A variable scope prefixes the names that get_variable makes; a name scope does not. So
    # TensorBoard draws the net as one box, which holds one box per block with its variables.
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
    """Adds global average pooling: from the feature maps of `features` to [batch, channels]."""
    # The mean over height and width leaves one value per channel.
    with tf.name_scope("pooling"):
        return tf.reduce_mean(features, axis=[1, 2])


def bottleneck_size(alpha: float) -> int:
    """Returns the number of values in a bottleneck."""
    return _channels(1280 * max(1.0, alpha))


def _channels(wanted: float) -> int:
    """Returns the multiple of 8 nearest to `wanted`, but never below 90% of it."""
    nearest = max(8, int(int(wanted) + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * int(wanted) else nearest


def _inverted_residual(layers: Layers, inputs: tf.Tensor, block: Block) -> tf.Tensor:
    """Adds a block: expand to more channels, filter each channel separately, project to few."""
    net, prefix = inputs, block.prefix
    if block.expansion != 1:
        expanded = block.expansion * block.inputs
        net = _convolution(layers, net, expanded, 1, f"{prefix}expand", f"{prefix}expand_BN")
        net = _relu6(layers, net, f"{prefix}expand_relu")
    if block.stride == 2:
        layers[f"{prefix}pad"] = {}  # Keras pads in a separate layer, TensorFlow inside the op
    net = _depthwise(layers, net, block.stride, f"{prefix}depthwise", f"{prefix}depthwise_BN")
    net = _relu6(layers, net, f"{prefix}depthwise_relu")
    # No activation here: with so few channels, a ReLU would lose too much information.
    net = _convolution(layers, net, block.channels, 1, f"{prefix}project", f"{prefix}project_BN")
    if block.stride == 1 and block.inputs == block.channels:
        layers[f"{prefix}add"] = {}
        net = net + inputs
    return net


def _relu6(layers: Layers, inputs: tf.Tensor, name: str) -> tf.Tensor:
    """Adds a ReLU with a maximum of 6."""
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
    """Adds a convolution and its batch normalization, in scopes with these names."""
    with tf.variable_scope(name):
        # Pretrained values will replace the random initial ones. Zeros would take fewer ops, but
        # the number of ops decides the seed of the next initializer, and so the head's values.
        kernel = tf.get_variable("kernel", [size, size, inputs.shape.as_list()[-1], channels])
    layers[name] = {"kernel": kernel}
    scale, shift = _normalization(layers, channels, normalization)
    # The scale broadcasts over the last dimension of the kernel, the output channels. With SAME
    # padding, the output has ceil(height / stride) x ceil(width / stride) pixels.
    net = tf.nn.conv2d(inputs, kernel * scale, strides=stride, padding="SAME")
    return tf.nn.bias_add(net, shift)


def _depthwise(
    layers: Layers, inputs: tf.Tensor, stride: int, name: str, normalization: str
) -> tf.Tensor:
    """Adds a depthwise convolution (one filter per channel) and its batch normalization."""
    channels = inputs.shape.as_list()[-1]
    with tf.variable_scope(name):
        kernel = tf.get_variable("depthwise_kernel", [3, 3, channels, 1])
    layers[name] = {"depthwise_kernel": kernel}
    scale, shift = _normalization(layers, channels, normalization)
    # A depthwise kernel is [height, width, channels, multiplier]; the scale is per channel.
    strides = [1, stride, stride, 1]
    net = tf.nn.depthwise_conv2d(inputs, kernel * scale[:, None], strides, "SAME")
    return tf.nn.bias_add(net, shift)


def _normalization(layers: Layers, channels: int, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds the variables of a batch normalization in inference mode.

    It always uses the moving mean and variance, never the batch's. Updating them on the few photos
    of a new task would change the inputs of all later layers. With fixed statistics it is linear,
    so the convolution before it absorbs the scale, and the images need no extra pass.

    Returns:
        (scale, shift), both float32 [channels].
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
    """Returns the variables of the layers by their names in Keras' files, in order."""
    return {
        f"{layer}/{name}": variable
        for layer, variables in layers.items()
        for name, variable in variables.items()
    }


def names_in_checkpoints(layers: Layers) -> dict[str, tf.Variable]:
    """Returns all variables of the graph by their names in checkpoints, for a Saver.

    Checkpoints leave out the scopes that only group layers (`base/block_1/` in
    `base/block_1/block_1_expand/kernel`), for weights and for optimizers' slots alike.
    """
    groups = {variable.op.name.removesuffix(name) for name, variable in weights(layers).items()}

    def without_group(name: str) -> str:
        return name.removeprefix(next((g for g in groups if g and name.startswith(g)), ""))

    return {without_group(variable.op.name): variable for variable in tf.global_variables()}


def variables_from(layer: int, layers: Layers) -> list[tf.Variable]:
    """Returns the variables to train: those of the head, and of the net from a layer on.

    Args:
        layer: the index of the first layer to train, as in Keras (`fine_tune_at`); len(layers) or
            more trains only the head.
        layers: from `features`.
    """
    frozen = {variable.ref() for name in list(layers)[:layer] for variable in layers[name].values()}
    return [variable for variable in tf.trainable_variables() if variable.ref() not in frozen]


def dropout(rate: tf.Tensor, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that adds a dropout layer; each layer draws different masks.

    The mask depends only on the seed, the layer and `global_step`, so a resumed run drops the same
    units as an uninterrupted one.

    Args:
        rate: float32 scalar in [0, 1), the share of units to drop.
        seed: int in 0 .. 2**31 - 1.
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
        dropout: from the function `dropout`, for training.

    Returns:
        logits: float32 [batch, 1] for two classes, positive for the second; [batch, num_classes]
        for more than two.
    """
    outputs = 1 if num_classes == 2 else num_classes
    with tf.variable_scope("prediction"):
        inputs = dropout(bottlenecks)
        shape = [inputs.shape.as_list()[-1], outputs]
        kernel = tf.get_variable("kernel", shape, initializer=tf.glorot_uniform_initializer())
        bias = tf.get_variable("bias", [outputs], initializer=tf.zeros_initializer())
        logits = tf.matmul(inputs, kernel) + bias
    # Histograms of the head's weights show whether they still change.
    tf.summary.histogram("values/prediction/kernel", kernel)
    tf.summary.histogram("values/prediction/bias", bias)
    return logits


def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds the mean cross entropy of the batch, a float32 scalar in nats, and its summary.

    Args:
        logits: from `inference`.
        labels: int32 [batch], in 0 .. num_classes - 1.
    """
    with tf.name_scope("cross_entropy"):
        # Sigmoid and softmax are inside these ops, which is numerically stable for large logits.
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
        optimizer: the phase's; as in the original, `adam` and then `RMSPropOptimizer`.
        variables: the variables that it may change, from `variables_from`.

    Returns:
        train_op: running it changes the variables once and adds 1 to `global_step`.
    """
    step = tf.train.get_or_create_global_step()
    # minimize() adds gradients only for `variables`, so phase 1 has no backward pass through the
    # base.
    return optimizer.minimize(loss, global_step=step, var_list=variables)


def adam(learning_rate: float) -> tf.train.Optimizer:
    """Returns the optimizer of phase 1, with Keras' epsilon."""
    return tf.train.AdamOptimizer(learning_rate, epsilon=_OPTIMIZER_EPSILON)


class RMSPropOptimizer(tf.train.RMSPropOptimizer):
    """The optimizer of phase 2: TensorFlow's RMSProp, started from Keras' initial state.

    The moving average of squared gradients starts at 1 in TensorFlow and at 0 in Keras. Gradients
    are far below 1, so TensorFlow's first steps are tiny, while Keras' are of full length.
    """

    def __init__(self, learning_rate: float) -> None:
        """Sets the learning rate; decay and epsilon are Keras' defaults."""
        super().__init__(learning_rate, decay=0.9, epsilon=_OPTIMIZER_EPSILON)

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "rms", self._name)
            self._zeros_slot(variable, "momentum", self._name)


def class_logits(logits: tf.Tensor) -> tf.Tensor:
    """Returns one logit per class, float32 [batch, num_classes]; softmax gives probabilities.

    Args:
        logits: from `inference`. A single logit x becomes (0, x), whose softmax is the sigmoid of x
            for the second class.
    """
    if logits.shape.as_list()[-1] != 1:
        return logits
    # A scope name that ends in "/" is absolute: these ops go into the scope of the logits.
    *scopes, _ = logits.op.name.split("/")
    with tf.name_scope("/".join([*scopes, "class_logits", ""])):
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
    """Adds the sums that give the mean loss and accuracy of several batches, or of an epoch.

    Args:
        logits: from `inference`.
        labels: int32 [batch].
        loss: the mean loss of the batch, from `loss`.

    Returns:
        of_batch: float32 [3]: sum of losses, number of correct predictions, number of images.
        of_epoch: the same sums since the start of the epoch; fetching it adds the batch.
        begin_epoch: the op that resets these sums to 0.
    """
    with tf.name_scope("totals"):
        # tf.size gives the batch size at run time: the last batch of an epoch may be smaller.
        size = tf.cast(tf.size(labels), tf.float32)
        correct = tf.cast(evaluation(logits, labels), tf.float32)
        of_batch = tf.stack([loss * size, correct, size])
        # Checkpoints hold variables, so a run that stops in mid-epoch resumes with these sums. The
        # variable is not trainable: no optimizer changes it.
        epoch_totals = tf.get_variable("epoch_totals", initializer=tf.zeros([3]), trainable=False)
        return of_batch, epoch_totals.assign_add(of_batch), epoch_totals.initializer
