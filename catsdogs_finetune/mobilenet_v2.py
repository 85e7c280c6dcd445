"""Builds the graph of MobileNetV2 and of a classifier on it, one function a stage.

    features()    from images to what the net sees where: the net without its top
    bottlenecks() from features to what the net sees in the whole picture
    inference()   from bottlenecks to logits: the new head
    loss()        from logits and labels to the number that training lowers
    training()    from the loss to the op that takes one step
    evaluation()  from logits and labels to the number of correct predictions

Every variable of the net has the name that it has in Keras' h5 files of weights (`Conv1/kernel`,
`bn_Conv1/gamma`, ..., `Conv_1_bn/moving_variance`), so that a name tells where a weight comes from.
The net: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
"""

import collections

import tensorflow.compat.v1 as tf

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # the widths for which Keras offers weights
HEAD = "prediction"
EPSILON = 1e-3  # Keras' batch normalisation divides by sqrt(variance + EPSILON)
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


def blocks(alpha):
    """Returns the net's 17 `Block`s; `alpha` as of `features`."""
    found, inputs = [], _channels(32 * alpha)
    for expansion, channels, count, first_stride in _STAGES:
        channels = _channels(channels * alpha)
        for stride in [first_stride] + [1] * (count - 1):
            prefix = f"block_{len(found)}_" if found else "expanded_conv_"
            found.append(Block(prefix, inputs, expansion, channels, stride))
            inputs = channels
    return found


def features(images, alpha=1.0):
    """Adds the net without its top.

    Args:
        images: float32 [batch, height, width, 3] in [-1, 1].
        alpha: float, the width: how many channels, as a share of the published net's.

    Returns:
        float32 [batch, height / 32, width / 32, channels] in [0, 6].
    """
    net = tf.nn.relu6(_convolution(images, _channels(32 * alpha), 3, "Conv1", "bn_Conv1", stride=2))
    for block in blocks(alpha):
        net = _inverted_residual(net, block)
    return tf.nn.relu6(_convolution(net, bottleneck_size(alpha), 1, "Conv_1", "Conv_1_bn"))


def bottlenecks(features):
    """Adds the mean over the picture: float32 [batch, channels]; `features` from `features`."""
    return tf.reduce_mean(features, axis=[1, 2])


def bottleneck_size(alpha):
    """Returns how many numbers a bottleneck has."""
    return _channels(1280 * max(1.0, alpha))


def _channels(wanted):
    """Returns the multiple of 8 nearest to `wanted`, but never below 90% of it."""
    nearest = max(8, int(int(wanted) + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * int(wanted) else nearest


def _inverted_residual(inputs, block):
    """Adds a block: expand to more channels, filter each by itself, project to few."""
    net, prefix = inputs, block.prefix
    if block.expansion != 1:
        expanded = block.expansion * block.inputs
        net = _convolution(net, expanded, 1, f"{prefix}expand", f"{prefix}expand_BN")
        net = tf.nn.relu6(net)
    net = _depthwise(net, block.stride, f"{prefix}depthwise", f"{prefix}depthwise_BN")
    net = tf.nn.relu6(net)
    net = _convolution(net, block.channels, 1, f"{prefix}project", f"{prefix}project_BN")
    return net + inputs if _has_shortcut(block) else net


def _has_shortcut(block):
    return block.stride == 1 and block.inputs == block.channels


def _convolution(inputs, channels, size, name, normalisation, stride=1):
    """Adds a convolution and its batch normalisation, in the scopes of these names."""
    with tf.variable_scope(name):
        kernel = tf.get_variable("kernel", [size, size, inputs.shape[-1], channels])
    scale, shift = _normalisation(channels, normalisation)
    net = tf.nn.conv2d(inputs, kernel * scale, strides=stride, padding="SAME")
    return tf.nn.bias_add(net, shift)


def _depthwise(inputs, stride, name, normalisation):
    """Adds a filter for each channel by itself, and its batch normalisation."""
    channels = inputs.shape[-1]
    with tf.variable_scope(name):
        kernel = tf.get_variable("depthwise_kernel", [3, 3, channels, 1])
    scale, shift = _normalisation(channels, normalisation)
    strides = [1, stride, stride, 1]
    net = tf.nn.depthwise_conv2d(inputs, kernel * scale[:, None], strides, "SAME")
    return tf.nn.bias_add(net, shift)


def _normalisation(channels, name):
    """Adds the variables of a batch normalisation by the moving mean and variance.

    It never takes the batch's own mean and variance. So it is linear, and need not pass over the
    images: the convolution before it takes the factor into its kernel.

    Returns:
        (factor, what is added), two tensors, float32 [channels].
    """
    shape, zeros, ones = [channels], tf.zeros_initializer(), tf.ones_initializer()
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", shape, initializer=ones)
        beta = tf.get_variable("beta", shape, initializer=zeros)
        mean = tf.get_variable("moving_mean", shape, initializer=zeros, trainable=False)
        variance = tf.get_variable("moving_variance", shape, initializer=ones, trainable=False)
        scale = gamma * tf.rsqrt(variance + EPSILON)
        return scale, beta - mean * scale


def layer_names(alpha):
    """Returns the names of Keras' layers in their order: a name's place is its layer's number."""
    names = ["input", "Conv1", "bn_Conv1", "Conv1_relu"]
    for block in blocks(alpha):
        parts = []
        if block.expansion != 1:
            parts += ["expand", "expand_BN", "expand_relu"]
        parts += ["pad"] * (block.stride == 2)
        parts += ["depthwise", "depthwise_BN", "depthwise_relu", "project", "project_BN"]
        parts += ["add"] * _has_shortcut(block)
        names += [block.prefix + part for part in parts]
    return [*names, "Conv_1", "Conv_1_bn", "out_relu"]


def variables_from(layer, alpha):
    """Returns the trainable variables of the head, and of the net from a layer on.

    Args:
        layer: int, the number of the first layer to train, as Keras counts them
            (`fine_tune_at`); the number of all layers, or more, for the head alone.
        alpha: as of `features`.
    """
    trained = {*layer_names(alpha)[layer:], HEAD}
    return [v for v in tf.trainable_variables() if v.op.name.partition("/")[0] in trained]


def inference(bottlenecks, num_classes, dropout=tf.identity):
    """Adds the head: dropout and a dense layer.

    Args:
        bottlenecks: float32 [batch, channels].
        num_classes: int, at least 2.
        dropout: function of float32 [batch, channels], what training does to the bottlenecks.

    Returns:
        logits: float32 [batch, 1] for two classes, positive for the second; for more of them
        [batch, num_classes].
    """
    inputs = dropout(bottlenecks)
    outputs = 1 if num_classes == 2 else num_classes
    with tf.variable_scope(HEAD):
        initializer = tf.glorot_uniform_initializer()
        kernel = tf.get_variable("kernel", [inputs.shape[-1], outputs], initializer=initializer)
        bias = tf.get_variable("bias", [outputs], initializer=tf.zeros_initializer())
        return tf.matmul(inputs, kernel) + bias


def loss(logits, labels):
    """Adds the mean cross entropy of the batch, a float32 scalar in nats.

    Args:
        logits: from `inference`.
        labels: int32 [batch].
    """
    if logits.shape[-1] == 1:
        targets = tf.cast(labels[:, None], tf.float32)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    else:
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(entropy, name="cross_entropy")


def training(loss, optimizer, variables):
    """Adds the op that takes one step.

    Args:
        loss: float32 scalar.
        optimizer: tf.train.Optimizer.
        variables: what it may change, from `variables_from`.

    Returns:
        train_op: running it changes the variables once and adds 1 to `global_step`.
    """
    step = tf.train.get_or_create_global_step()
    return optimizer.minimize(loss, global_step=step, var_list=variables)


def class_logits(logits):
    """Returns a logit a class, float32 [batch, num_classes], of which softmax is the probabilities.

    Args:
        logits: from `inference`. A single one stands beside a 0 for the first class: of these
        two, softmax gives what the sigmoid gives of the one.
    """
    if logits.shape[-1] == 1:
        return tf.concat([tf.zeros_like(logits), logits], axis=1)
    return logits


def evaluation(logits, labels):
    """Adds the number of correct predictions, an int32 scalar.

    Args:
        logits: from `inference`.
        labels: int32 [batch].
    """
    predictions = tf.argmax(class_logits(logits), axis=1, output_type=tf.int32)
    return tf.reduce_sum(tf.cast(tf.equal(predictions, labels), tf.int32))
