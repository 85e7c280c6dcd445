"""Bases: frozen graphs that turn a picture into a bottleneck, a vector that describes its content.

A frozen graph is a GraphDef whose variables have become constants. It needs neither code nor a
checkpoint: `tf.import_graph_def` adds it to the default graph, where any of its tensors can be fed
or fetched by name.
"""

import argparse
import dataclasses
import difflib
import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import graph_checks
from tutorial_support import archives, files
from tutorial_support.programs import LOG, UsageError, number, reason

LARGEST_SIZE = 2048  # pixels


@dataclasses.dataclass(frozen=True)
class Base:
    """The inputs and the output of a frozen graph.

    Attributes:
        jpeg_input: name of the string tensor that takes the bytes of one JPEG; None if the graph
            takes only decoded pictures.
        image_input: name of the tensor that takes a batch of prepared pictures, float32
            [n, height, width, 3].
        bottleneck: name of the tensor with the batch's bottlenecks, float32 [n, k] or [n, 1, 1, k].
        size: height and width of a prepared picture, in pixels.
        mean: what preparation subtracts from a pixel in [0, 255].
        scale: the factor that then multiplies the difference. A graph with a JPEG input prepares
            pictures itself.

    Raises:
        ValueError: a value is of the wrong type or out of range.
    """

    jpeg_input: str | None
    image_input: str
    bottleneck: str
    size: int
    mean: float
    scale: float

    def __post_init__(self) -> None:
        texts = (self.image_input, self.bottleneck, self.jpeg_input or "")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"the names of tensors must be strings, not {texts}")
        if type(self.size) is not int or not 1 <= self.size <= LARGEST_SIZE:
            raise ValueError(f"size must be from 1 to {LARGEST_SIZE}, not {self.size!r}")
        numbers = (self.mean, self.scale)
        if not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
            raise ValueError(f"mean and scale must be finite numbers, not {numbers}")


@dataclasses.dataclass(frozen=True)
class FrozenGraph:
    """A base read from a file: its description, its GraphDef and its name.

    Attributes:
        name: "inception_2015" or "cifar10"; for any other graph its absolute path.
        digest: 16 hexadecimal digits that identify the file and its description.
        batch_size: the number of pictures per run; None if it takes only single pictures.
    """

    base: Base
    graph_def: tf.GraphDef
    name: str
    digest: str
    batch_size: int | None = graph_checks.MOST_PICTURES

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about its base to save with a run."""
        described = dataclasses.asdict(self.base)
        return {"base": described, "base_graph": self.name, "base_digest": self.digest}

    def __str__(self) -> str:
        return "the shipped CIFAR-10 net" if self.name == CIFAR10_NAME else f"'{self.name}'"


@dataclasses.dataclass(frozen=True)
class AttachedBase:
    """The tensors of a base in the default graph.

    Attributes:
        contents: string scalar placeholder for the bytes of one JPEG.
        decoded: uint8 [height, width, 3]; can be fed instead of `contents`.
        prepared: float32 [1, size, size, 3], the picture prepared for the net.
        images: float32 [n, size, size, 3], a placeholder whose default is `prepared`.
        bottlenecks: float32 [n, k].
    """

    contents: tf.Tensor
    decoded: tf.Tensor
    prepared: tf.Tensor
    images: tf.Tensor
    bottlenecks: tf.Tensor


# Inception-v3 of December 2015. Its graph resizes a picture to 299x299 pixels, subtracts 128 and
# multiplies by 1/128. `pool_3/_reshape:0` is `pool_3:0` of one picture as a vector.
INCEPTION_2015 = Base("DecodeJpeg/contents:0", "Mul:0", "pool_3:0", 299, 128.0, 1 / 128)
INCEPTION_NAME = "inception_2015"
INCEPTION_ARCHIVE = files.RemoteFile(
    "inception-2015-12-05.tgz",
    88_931_400,
    None,  # no checksum is published; the size and the archive's CRC-32 are checked
    (
        "https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/"
        "inception-2015-12-05.tgz",
    ),
)

# The net of the CIFAR-10 tutorial, as cifar10_cnn.export writes it.
CIFAR10 = Base("DecodeJpeg/contents:0", "images:0", "bottleneck:0", 32, 0.0, 1.0)
CIFAR10_NAME = "cifar10"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name the base and describe its tensors."""
    group = parser.add_argument_group("base")
    add = group.add_argument
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--base",
        choices=[INCEPTION_NAME, CIFAR10_NAME],
        help="inception_2015 is downloaded once; cifar10 ships with the package. By default "
        "inception_2015, or cifar10 for the sample or if the download fails.",
    )
    own = "A frozen graph of your own, or one from make_base."
    one.add_argument("--base_graph", metavar="FILE", help=own)
    jpeg = "The tensor that takes the bytes of one JPEG; 'none' if the graph has none."
    add("--jpeg_tensor", metavar="NAME", help=jpeg)
    prepared = "The tensor that takes a batch of prepared pictures."
    add("--image_tensor", metavar="NAME", help=prepared)
    bottlenecks = "The tensor that holds the bottlenecks."
    add("--bottleneck_tensor", metavar="NAME", help=bottlenecks)
    add(
        "--image_size",
        type=number(int, 1, LARGEST_SIZE),
        help="Height and width of pictures, in pixels. This flag and the next two are for graphs "
        "without a JPEG input.",
    )
    add("--image_mean", type=number(float), help="Subtract this from each pixel, 0 to 255.")
    add("--image_scale", type=number(float), help="Then multiply by this.")


DESCRIBING_FLAGS = (  # a run saves the Base that results from them
    "jpeg_tensor",
    "image_tensor",
    "bottleneck_tensor",
    "image_size",
    "image_mean",
    "image_scale",
)


def find(flags: argparse.Namespace, kept: Mapping[str, Any], sample: bool = False) -> FrozenGraph:
    """Returns the base that the flags name, or else that of the run that is resumed.

    Args:
        flags: must include those of `add_flags`.
        kept: flags and facts saved with the run; empty for a new one.
        sample: whether the images are the shipped sample, whose default is the shipped base.

    Raises:
        UsageError: the base is missing or cannot be used.
    """
    if flags.base_graph:
        return load(flags.base_graph, _overridden(described(flags.base_graph), flags))
    # A resumed run keeps its base: its head has learned from these bottlenecks.
    if flags.base is None and kept.get("base_digest"):
        return find_kept(kept)
    name = flags.base or (CIFAR10_NAME if sample else INCEPTION_NAME)
    if name == INCEPTION_NAME:
        try:
            return load(_inception_2015(), INCEPTION_2015, name)
        except files.DownloadError as error:
            if flags.base:
                raise UsageError(
                    f"--base {name}: {error}; go online, or name a frozen graph with --base_graph"
                ) from error
            LOG.warning(
                "using the shipped CIFAR-10 net as the base, a weak one that sees 32x32 pixels, "
                "because %s",
                error,
            )
    return load(_cifar10(), CIFAR10, CIFAR10_NAME)


def find_kept(kept: Mapping[str, Any], moved_to: str | None = None) -> FrozenGraph:
    """Returns the base that a run was trained on.

    Args:
        kept: flags and facts saved with the run.
        moved_to: the new path of the base, from --base_graph; None if it has not moved.

    Raises:
        UsageError: the base is missing or is another graph, or the run does not name its base.
    """
    try:
        base, digest = Base(**kept["base"]), str(kept["base_digest"])
        name = moved_to or str(kept["base_graph"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"the run's flags.json does not name the base that it was trained on ({error}); train "
            "again with --fresh"
        ) from error
    if name == CIFAR10_NAME or (not moved_to and _digest(_cifar10(), base) == digest):
        path, name = _cifar10(), CIFAR10_NAME  # an update of the package may move it
    elif name == INCEPTION_NAME:
        try:
            path = _inception_2015()
        except files.DownloadError as error:
            raise UsageError(f"the base of this run: {error}; name it with --base_graph") from error
    else:
        path = pathlib.Path(name)
    found = load(path, base, name)
    if found.digest != digest:
        raise UsageError(
            f"'{path}' is not the graph that this run was trained on; name the right one with "
            "--base_graph, or train again with --fresh"
        )
    return found


def _inception_2015() -> pathlib.Path:
    folder = files.cache_folder(INCEPTION_NAME)
    return archives.fetch_unpacked(INCEPTION_ARCHIVE, folder, "classify_image_graph_def.pb")


def _cifar10() -> pathlib.Path:
    return files.sample_folder("cifar10_cnn") / "frozen_graph.pb"


def described(path: str | pathlib.Path) -> Base:
    """Returns the Base described in the .json file beside a frozen graph, or INCEPTION_2015.

    Args:
        path: the frozen graph; `make_base` writes its description to the same name with .json.

    Raises:
        UsageError: the description is damaged.
    """
    path = pathlib.Path(path).with_suffix(".json")
    if not path.exists():
        return INCEPTION_2015
    remedy = (
        "it does not describe a base; write it again with python -m flowers_transfer.make_base, "
        "or move it away"
    )
    with files.reading(path, remedy):
        return Base(**json.loads(files.read_text(path, remedy)))


def _overridden(base: Base, flags: argparse.Namespace) -> Base:
    jpeg = None if flags.jpeg_tensor == "none" else flags.jpeg_tensor or base.jpeg_input
    given = {
        "image_input": flags.image_tensor,
        "bottleneck": flags.bottleneck_tensor,
        "size": flags.image_size,
        "mean": flags.image_mean,
        "scale": flags.image_scale,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(base, jpeg_input=jpeg, **given)


def load(path: str | pathlib.Path, base: Base, name: str | None = None) -> FrozenGraph:
    """Reads a frozen graph and checks that it is safe to run and has the base's tensors.

    Args:
        path: the file.
        base: its description.
        name: its name; by default its absolute path.

    Raises:
        UsageError: the file is not a GraphDef, holds ops that are not allowed, lacks a tensor,
            needs too much memory, or does not fit its description.
    """
    # A GraphDef is a program, and this one may come from the internet: check it before running it.
    graph_def = graph_checks.read(path)
    names = {node.name for node in graph_def.node}
    for tensor in (base.jpeg_input, base.image_input, base.bottleneck):
        if tensor is not None and _op(tensor) not in names:
            raise UsageError(_missing(path, tensor, names))
    try:
        batch_size = graph_checks.batch_size(graph_def, base)
    except Exception as error:  # TensorFlow rejects graphs with many types of exceptions
        raise _unusable(path, base, error) from error
    name = name or str(pathlib.Path(path).resolve())
    return FrozenGraph(base, graph_def, name, _digest(path, base), batch_size)


def _unusable(path: str | pathlib.Path, base: Base, error: Exception) -> UsageError:
    return UsageError(
        f"{path}: cannot be used: {reason(error)} (assumed {base}); describe it with "
        "--jpeg_tensor, --image_tensor, --bottleneck_tensor and --image_size, or freeze another"
    )


def _op(tensor: str) -> str:
    # "Mul:0" is the first output of the op "Mul".
    return tensor.partition(":")[0]


def _missing(path: str | pathlib.Path, tensor: str, names: set[str]) -> str:
    nearest = difflib.get_close_matches(_op(tensor), sorted(names), n=3, cutoff=0.3)
    hint = ", ".join(f"{name}:0" for name in nearest) or "none"
    return (
        f"{path}: has no tensor '{tensor}'; similar names: {hint}; name the right ones "
        "with --jpeg_tensor, --image_tensor and --bottleneck_tensor"
    )


def _digest(path: str | pathlib.Path, base: Base) -> str:
    # The description counts as well: another size or mean gives other bottlenecks.
    content = hashlib.sha256(pathlib.Path(path).read_bytes())
    content.update(json.dumps(dataclasses.asdict(base), sort_keys=True).encode())
    return content.hexdigest()[:16]


def attach(frozen: FrozenGraph) -> AttachedBase:
    """Imports a base into the default graph, whose op names must not clash with the base's.

    The graph is imported in two parts, because decoding and preparing handle one picture at a time,
    while the net takes a batch. With `contents` fed, both run for one picture.

    Raises:
        UsageError: the graph does not fit its description.
    """
    base = frozen.base
    try:
        if base.jpeg_input is None:
            contents, decoded, prepared = preparation(base.size, base.mean, base.scale)
        else:
            contents, decoded, prepared = _own_preparation(frozen.graph_def, base)
        # A placeholder with a default passes the prepared picture on unless a batch is fed.
        shape = [None, *prepared.shape.as_list()[1:3], 3]
        images = tf.placeholder_with_default(prepared, shape, "prepared")
        # Import only the ops that the bottleneck needs, not the base's own classifier.
        net = graph_checks.part(frozen.graph_def, base.bottleneck, {base.image_input})

        def imported(pictures: tf.Tensor) -> tf.Tensor:
            # Importing adds the graph's ops to ours with the prefix `name`. The input map replaces
            # the base's input tensor with our placeholder.
            (bottlenecks,) = tf.import_graph_def(
                net, {base.image_input: pictures}, [base.bottleneck], name="base"
            )
            return bottlenecks

        if frozen.batch_size is not None:
            bottlenecks = imported(images)
        else:  # a loop inside the graph that gives the net one picture at a time
            bottlenecks = tf.map_fn(
                lambda picture: tf.reshape(imported(picture[None]), [-1]),
                images,
                parallel_iterations=1,
            )
        shape = bottlenecks.shape.as_list()[1:]
        if not shape or None in shape:
            raise ValueError(f"'{base.bottleneck}' has the shape {bottlenecks.shape}")
    except Exception as error:  # TensorFlow rejects graphs with many types of exceptions
        raise _unusable(frozen.name, base, error) from error
    vectors = tf.reshape(bottlenecks, [-1, int(np.prod(shape))], "base/as_vectors")
    return AttachedBase(contents, decoded, prepared, images, vectors)


def _own_preparation(graph_def: tf.GraphDef, base: Base) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Imports the ops from the JPEG input to the image input, with unchanged names."""
    assert base.jpeg_input is not None
    decoder = graph_checks.decoder(graph_def, base.jpeg_input)
    # Keep only the nodes that the prepared picture depends on, and so leave the net out.
    pruned = tf.graph_util.extract_sub_graph(graph_def, [_op(base.image_input)])
    if _op(base.jpeg_input) not in {node.name for node in pruned.node}:
        raise ValueError(f"'{base.image_input}' does not depend on '{base.jpeg_input}'")
    # name="" adds no prefix, so an exported graph has the tensor names of 2015.
    contents, decoded, prepared = tf.import_graph_def(
        pruned, return_elements=[base.jpeg_input, decoder, base.image_input], name=""
    )
    if prepared.shape.rank != 4:
        raise ValueError(f"'{base.image_input}' has the shape {prepared.shape}, not [n, h, w, 3]")
    return contents, decoded, prepared


def preparation(size: int, mean: float, scale: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Adds the ops from a JPEG's bytes to a prepared picture, as in the 2015 graph.

    Args:
        size: height and width of the prepared picture, in pixels.
        mean, scale: as in Base.

    Returns:
        (contents, decoded, prepared), as in AttachedBase.
    """
    # The same ops and names as in the graph of 2015, so programs for that graph can use this one.
    # The bytes of a JPEG are one string, a scalar, so the placeholder has the shape ().
    contents = tf.placeholder(tf.string, (), "DecodeJpeg/contents")
    decoded = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
    picture = tf.expand_dims(tf.cast(decoded, tf.float32, "Cast"), 0, "ExpandDims")
    # The resize op takes a batch, so ExpandDims makes the picture a batch of one.
    resized = tf.image.resize_bilinear(picture, [size, size], name="ResizeBilinear")
    centred = tf.subtract(resized, np.float32(mean), "Sub")
    return contents, decoded, tf.multiply(centred, np.float32(scale), "Mul")
