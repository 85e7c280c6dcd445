"""Makes a base, a frozen graph with Inception-v3's tensor names, from a Keras net's weights.

    python -m flowers_transfer.make_base --net MobileNetV2 --size 224 --weights mobilenet.h5 base.pb
    python -m flowers_transfer.make_base --net InceptionV3 --weights imagenet inception.pb
    python -m flowers_transfer.make_base --size 320 --mirror --root base.pb

The graph takes one JPEG at `DecodeJpeg/contents:0`, or a batch of prepared pictures at `Mul:0`, and
gives bottlenecks at `pool_3:0` ([n, 1, 1, k]) and `pool_3/_reshape:0` ([n, k]). A .json file of the
same name describes it to `retrain`.
"""

import dataclasses
import json
import pathlib
import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

import tensorflow as tf2
import tensorflow.compat.v1 as tf
from tensorflow.python.eager import context  # neither this nor the next is in a public module
from tensorflow.python.framework import convert_to_constants

from flowers_transfer import base_graph
from tutorial_support import files, h5_weights
from tutorial_support.programs import ArgumentParser, UsageError, number, reason

SIZES = {"InceptionV3": 299, "MobileNetV2": 224}  # pixels, by net
# Both nets take pixels in [-1, 1].
MEAN, SCALE = 127.5, 1 / 127.5


def keras_net(name: str, size: int, alpha: float, weights: str) -> tf2.keras.Model:
    """Returns the Keras model without its top, with weights.

    Args:
        name: one of SIZES.
        size: height and width of its pictures, in pixels.
        alpha: width multiplier of MobileNetV2; InceptionV3 ignores it.
        weights: "imagenet", which Keras downloads; "random"; or a file: any layout that
            `h5_weights` reads for MobileNetV2, an .h5 file without the top for InceptionV3.

    Raises:
        UsageError: the weights cannot be read or downloaded, or do not fit the net.
    """
    options = {"alpha": alpha} if name == "MobileNetV2" else {}
    build = getattr(tf2.keras.applications, name)
    # The layers of InceptionV3 have no fixed names in files, so Keras matches them by order.
    is_read_here = name == "MobileNetV2" and weights not in ("imagenet", "random")
    try:
        # Keras 3 needs eager execution, which the calling program may have disabled.
        with context.eager_mode():
            net = build(
                input_shape=(size, size, 3),
                include_top=False,
                weights=None if weights == "random" or is_read_here else weights,
                **options,
            )
    except Exception as error:  # Keras raises many types, a bare Exception for a failed download
        raise UsageError(
            f"--weights {weights}: cannot be used for {name} at {size} pixels"
            f"{f', alpha {alpha}' if options else ''} ({reason(error)}); name "
            "an .h5 file of this net without its top, or random"
        ) from error
    if is_read_here:
        _assign(net, weights, f"--weights takes a file of {name}'s weights of the same --alpha")
    return net


def _assign(net: tf2.keras.Model, path: str, remedy: str) -> None:
    """Loads the weights in a file into MobileNetV2; raises UsageError if they do not fit."""
    names = [
        getattr(variable, "path", variable.name)
        .removesuffix(":0")
        .replace("depthwise/kernel", "depthwise/depthwise_kernel")  # its name in Keras 2
        for variable in net.weights
    ]
    shapes = {name: list(value.shape) for name, value in zip(names, net.weights, strict=True)}
    values = h5_weights.read(path, shapes, remedy)
    with context.eager_mode():
        for name, variable in zip(names, net.weights, strict=True):
            variable.assign(values[name])


def frozen(model: tf2.keras.Model) -> tuple[tf.GraphDef, str, str]:
    """Freezes a Keras model; returns (GraphDef, name of the input tensor, of the output tensor)."""
    call = tf2.function(lambda images: model(images, training=False))
    signature = tf2.TensorSpec([None, *model.input_shape[1:]], tf2.float32)
    # Tracing the function gives a graph. Freezing replaces the variables in it by constants.
    with context.eager_mode():
        concrete = call.get_concrete_function(signature)
        function = convert_to_constants.convert_variables_to_constants_v2(concrete)
    (images,), (features,) = function.inputs, function.outputs
    return function.graph.as_graph_def(), images.name, features.name


def base_graph_def(model: tf2.keras.Model, mirror: bool = False, root: bool = False) -> tf.GraphDef:
    """Returns the GraphDef of a base.

    Args:
        model: a Keras model from pixels in [-1, 1], float32 [n, size, size, 3], to features >= 0,
            float32 [n, h, w, k].
        mirror: average the bottlenecks of the picture and of its mirror image.
        root: take the square root of the bottleneck, which keeps a few strong features from
            dominating the many weak ones.
    """
    graph_def, image_input, output = frozen(model)
    # Decoding and preparing come before the Keras net in this graph, and pooling after it.
    with tf.Graph().as_default() as graph:
        _, _, prepared = base_graph.preparation(model.input_shape[1], MEAN, SCALE)

        def pooled(images: tf.Tensor, name: str) -> tf.Tensor:
            (features,) = tf.import_graph_def(graph_def, {image_input: images}, [output], name=name)
            return tf.reduce_mean(features, axis=[1, 2], keepdims=True)

        bottleneck = pooled(prepared, "net")
        # Importing the graph again copies its constants: a mirrored base is twice as large.
        if mirror:
            bottleneck = (bottleneck + pooled(tf.reverse(prepared, [2]), "mirrored_net")) / 2
        # The features come from a ReLU, so none is negative and the root exists.
        if root:
            bottleneck = tf.sqrt(bottleneck)
        # The identity op only gives the tensor its name.
        bottleneck = tf.identity(bottleneck, "pool_3")
        tf.reshape(bottleneck, [-1, bottleneck.shape.as_list()[-1]], name="pool_3/_reshape")
    return graph.as_graph_def()


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and writes the frozen graph and its description."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("graph", help="The file to write; its name must end in .pb.")
    add = parser.add_argument_group("net").add_argument
    add("--net", choices=list(SIZES), default="MobileNetV2", help="The Keras net to freeze.")
    weights = "An .h5 or .keras file; or imagenet, which is downloaded; or random."
    add("--weights", default="imagenet", help=weights)
    add("--alpha", type=number(float, 0.01), default=1.0, help="The width of MobileNetV2.")
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="Seed for random weights.")
    add = parser.add_argument_group("bottlenecks").add_argument
    pixels = "Height and width of pictures, in pixels; by default 224, or 299 for InceptionV3."
    add("--size", type=number(int, 32), help=pixels)
    add("--mirror", action="store_true", help="Average over the picture and its mirror image.")
    root = "Take the square root of each feature, so that a few strong ones do not dominate."
    add("--root", action="store_true", help=root)
    flags = parser.parse_args(argv)
    path = pathlib.Path(flags.graph)
    if path.suffix != ".pb":
        raise UsageError(f"'{path}' does not end in .pb; name a .pb file to write")

    tf2.keras.utils.set_random_seed(flags.seed)
    size = flags.size or SIZES[flags.net]
    model = keras_net(flags.net, size, flags.alpha, flags.weights)
    base = dataclasses.replace(base_graph.INCEPTION_2015, size=size, mean=MEAN, scale=SCALE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        graph_def = base_graph_def(model, flags.mirror, flags.root)
        temporary.write_bytes(graph_def.SerializeToString(deterministic=True))
    files.write_text(path.with_suffix(".json"), json.dumps(dataclasses.asdict(base), indent=2))
    print(f"Wrote '{path}': {model.output_shape[-1]} values a bottleneck, {size}x{size} pixels.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
