"""The readers that `benchmarks.fuzz` tests: for each, small valid files and a call that reads them.

A reader gets a folder in which one file may be damaged. It must raise UsageError or return a right
result. Only content with a checksum can be checked: it must be unchanged.
"""

import bz2
import contextlib
import dataclasses
import functools
import gzip
import io
import json
import lzma
import pathlib
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable

import h5py
import keras
import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from PIL import Image

from catsdogs_finetune import photo_input
from cifar10_cnn import cifar10_input
from flowers_transfer import base_graph
from mnist_mechanics import input_data
from porting import inspect, names, sources
from tutorial_support import (
    archives,
    checkpoints,
    event_files,
    feature_store,
    h5_weights,
    image_lists,
    pictures,
    programs,
    runs,
)
from tutorial_support.programs import UsageError


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader under test.

    Attributes:
        make: writes valid files into an empty folder.
        read: reads the folder; raises AssertionError if the result is wrong.
        mutate: changes the content of a file and corrects its checksums, given its path, a
            generator, and a function that changes bytes; returns whether it did. Or None.
    """

    make: Callable
    read: Callable
    mutate: Callable | None = None


def _mutate_inside(path, random, mutated):
    """Changes the content of an archive, and packs it again with correct checksums."""
    if packer := _PACKERS.get(path.suffix):
        path.write_bytes(packer.compress(mutated(packer.decompress(path.read_bytes()), random)))
    elif path.suffix in (".zip", ".keras"):
        with zipfile.ZipFile(path) as packed:
            entries = {name: packed.read(name) for name in packed.namelist()}
        chosen = random.choice(list(entries))
        with zipfile.ZipFile(path, "w") as packed:
            for name, body in entries.items():
                packed.writestr(name, mutated(body, random) if name == chosen else body)
    else:
        return False
    return True


_PACKERS = {".gz": gzip, ".bz2": bz2, ".xz": lzma}


def _read_all(found, read):
    """Calls `read` for each of `found`; raises the last UsageError once all have been read."""
    refused = None
    for one in found:
        try:
            read(one)
        except UsageError as error:
            refused = error
    if refused:
        raise refused


def _noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# idx


def _make_idx(folder):
    images = struct.pack(">4I", 2051, 5, 28, 28) + _noise(5 * 28 * 28).tobytes()
    labels = struct.pack(">2I", 2049, 5) + bytes(range(5))
    (folder / "images").write_bytes(images)
    (folder / "labels").write_bytes(labels)
    (folder / "images.gz").write_bytes(gzip.compress(images))
    (folder / "labels.gz").write_bytes(gzip.compress(labels))


def _read_idx(folder):
    for name in ("images", "images.gz"):
        if (folder / name).exists():
            images = input_data.read_images(folder / name)
            assert images.dtype == np.uint8 and images.shape[1:] == (28, 28)
    for name in ("labels", "labels.gz"):
        if (folder / name).exists():
            labels = input_data.read_labels(folder / name)
            assert labels.ndim == 1 and labels.max() < 10


# CIFAR


def _make_cifar(folder):
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        records = _noise(3, cifar10_input.RECORD_BYTES)
        records[:, 0] = [0, 1, 2]
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("sea lion\ncat\n\u82b1\n", encoding="utf-8")


def _read_cifar(folder):
    for records in (cifar10_input.training_records(folder), cifar10_input.test_records(folder)):
        assert records.labels.max() < len(records.class_names)
        assert records.images([0, records.num_examples - 1]).shape == (2, 32, 32, 3)
        assert all(name and "\n" not in name for name in records.class_names)


# Archives


def _make_archives(folder):
    content = {"wanted/a.txt": b"text " * 50, "wanted/b/c.bin": bytes(range(256)), "other": b"x"}
    for ending in ("gz", "bz2", "xz"):
        with tarfile.open(folder / f"a.tar.{ending}", f"w:{ending}") as tar:
            for name, body in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(folder / "a.tar.gz", "wanted/inner.gz")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in content.items():
            packed.writestr(name, body)


def _read_archives(folder):
    for archive in sorted(folder.glob("a.*")):
        unpacked = archives.unpack(archive, folder / f"to-{archive.name}", "wanted")
        assert unpacked.exists()
    assert {path.name for path in folder.iterdir()} <= {
        *(path.name for path in folder.glob("a.*")),
        *(path.name for path in folder.glob("to-*")),
    }


# Weights

_WANTED = {
    "Conv1/kernel": [3, 3, 3, 4],
    "bn_Conv1/gamma": [4],
    "bn_Conv1/beta": [4],
    "bn_Conv1/moving_mean": [4],
    "bn_Conv1/moving_variance": [4],
    "Conv2/kernel": [1, 1, 4, 2],
}
_NUMBERED = {
    "layers/conv2d/vars/0": "Conv1/kernel",
    "layers/batch_normalization/vars/0": "bn_Conv1/gamma",
    "layers/batch_normalization/vars/1": "bn_Conv1/beta",
    "layers/batch_normalization/vars/2": "bn_Conv1/moving_mean",
    "layers/batch_normalization/vars/3": "bn_Conv1/moving_variance",
    "layers/conv2d_1/vars/0": "Conv2/kernel",
}


def _make_weights(folder):
    random = np.random.default_rng(0)
    values = {name: random.random(shape, np.float32) for name, shape in _WANTED.items()}
    with h5py.File(folder / "keras2.h5", "w") as file:
        for name, value in values.items():
            layer, _, variable = name.partition("/")
            file.create_dataset(f"{layer}/{layer}/{variable}:0", data=value)
            file[layer].attrs["weight_names"] = [f"{layer}/{variable}:0".encode()]
    with h5py.File(folder / "keras3.weights.h5", "w") as file:
        for key, name in _NUMBERED.items():
            file.create_dataset(key, data=values[name], compression="gzip")
    with zipfile.ZipFile(folder / "whole.keras", "w") as packed:
        packed.writestr("config.json", "{}")
        packed.write(folder / "keras3.weights.h5", "model.weights.h5")


def _read_weights(folder):
    for path in sorted(folder.iterdir()):
        h5_weights.shapes(path, "name another")
        values = h5_weights.read(path, _WANTED, "name another")
        assert {name: list(value.shape) for name, value in values.items()} == _WANTED
        assert all(np.isfinite(value).all() for value in values.values())


# Frozen graphs

_BASE = dataclasses.replace(base_graph.INCEPTION_2015, size=8)


def _make_graph(folder):
    with tf.Graph().as_default() as graph:
        _, _, images = base_graph.preparation(8, 128.0, 1 / 128)
        kernel = tf.constant(np.random.default_rng(0).random([3, 3, 3, 4], np.float32))
        features = tf.nn.relu(tf.nn.conv2d(images, kernel, strides=2, padding="SAME"))
        features = tf.nn.max_pool(features, 2, 2, "SAME")
        both = tf.concat([features, tf.tile(features, [1, 1, 1, 2])], 3)
        both += tf.fill([12], 0.5)
        pooled = tf.reduce_mean(tf.pad(both, [[0, 0], [1, 1], [0, 0], [0, 0]]), [1, 2], True)
        tf.reshape(tf.identity(pooled, "pool_3"), [-1, 12], name="pool_3/_reshape")
    (folder / "base.pb").write_bytes(graph.as_graph_def().SerializeToString(deterministic=True))
    (folder / "base.json").write_text(json.dumps(dataclasses.asdict(_BASE)))


def _read_graph(folder):
    base = base_graph.described(folder / "base.pb")
    frozen = base_graph.load(folder / "base.pb", base)
    with tf.Graph().as_default():
        base_graph.attach(frozen)


_ODD_NUMBERS = (0, 1, -1, 2, 3, 1000, 10**6, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**62))


def _mutate_graph(path, random, mutated):
    """Changes nodes; the file is still a GraphDef."""
    if path.suffix != ".pb":
        return False
    graph_def = tf.GraphDef.FromString(path.read_bytes())
    nodes = graph_def.node
    for _ in range(random.integers(1, 4)):
        node = nodes[random.integers(len(nodes))]
        what = random.integers(6)
        if what == 0:
            node.op = random.choice(base_graph.graph_checks._ALLOWED_OPS.split())
        elif what == 1 and node.input:
            other = nodes[random.integers(len(nodes))].name
            prefix, suffix = random.choice(["", "^"]), random.choice(["", ":0", ":1", ":7"])
            node.input[random.integers(len(node.input))] = f"{prefix}{other}{suffix}"
        elif what == 2:
            node.input.append(nodes[random.integers(len(nodes))].name)
        elif what == 3 and node.attr:
            name = random.choice(sorted(node.attr))
            _mutate_attribute(node.attr[name], random)
        elif what == 4 and node.op == "Const":
            value = node.attr["value"].tensor
            array = np.array(tf.make_ndarray(value))
            if array.size and array.dtype != object:
                array.flat[random.integers(array.size)] = random.choice(_ODD_NUMBERS[:9])
                value.CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
        elif what == 5:
            nodes.add().CopyFrom(node)
            nodes[-1].name = node.name + random.choice(["", "_1"])
    path.write_bytes(graph_def.SerializeToString())
    return True


def _mutate_attribute(value, random):
    field = value.WhichOneof("value")
    number = int(random.choice(_ODD_NUMBERS))
    if field == "i":
        value.i = number
    elif field == "list" and value.list.i:
        value.list.i[random.integers(len(value.list.i))] = number
    elif field == "shape":
        value.shape.dim.add(size=number)
    elif field == "tensor":
        value.tensor.tensor_shape.dim.add(size=number)
    elif field == "type":
        value.type = int(random.integers(0, 26))
    elif field == "s":
        value.s = random.choice([b"", b"NCHW", b"VALID", b"SAME", b"EXPLICIT"])
    else:
        value.b = not value.b


# Run folders


@functools.cache
def _saved():
    """Returns a checkpoint's files by name, and its values."""
    values = {"weights": np.float32(_noise(4, 3)), "biases": np.float32([1, 2]), "global_step": 7}
    folder = pathlib.Path(_scratch(), "saved")
    folder.mkdir()
    with tf.Graph().as_default(), tf.Session() as sess:
        for name, value in values.items():
            tf.get_variable(name, initializer=value)
        sess.run(tf.global_variables_initializer())
        for step in (5, 7):
            checkpoints.Saver().save(sess, str(folder / "model.ckpt"), step, write_meta_graph=False)
        saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
        saver.save(sess, str(folder / "old.ckpt"), write_meta_graph=False, write_state=False)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return files, values


@functools.cache
def _scratch():
    return tempfile.mkdtemp()


def _make_run(folder):
    for name, content in _saved()[0].items():
        (folder / name).write_bytes(content)
    flags = {"program": "mnist_mechanics", "learning_rate": 0.1, "class_names": ["a", "b"]}
    (folder / "flags.json").write_text(json.dumps(flags, indent=2))


def _read_run(folder):
    assert isinstance(runs.read_flags(folder), dict)
    try:
        prefix = checkpoints.newest(folder)
        found = [prefix, folder / "old.ckpt"]
    except UsageError:
        found = [folder / "model.ckpt-5", folder / "model.ckpt-7", folder / "old.ckpt"]

    def read(prefix):
        for name, value in checkpoints.values(prefix).items():
            np.testing.assert_array_equal(value, _saved()[1][name])
        assert checkpoints.stored_step(prefix) == 7
        checkpoints.shapes(prefix)

    _read_all(filter(None, found), read)


# Event files


def _make_events(folder):
    with tf.Graph().as_default(), tf.Session() as sess:
        summaries = sess.run(
            tf.summary.merge([tf.summary.scalar("s", 0.5), tf.summary.histogram("h", [1.0, 2.0])])
        )
    content = [
        tf.Event(file_version="brain.Event:2").SerializeToString(),
        tf.Event(step=1, summary=tf.Summary.FromString(summaries)).SerializeToString(),
    ]
    for step in range(2, 12):
        value = tf.Summary.Value(tag="loss", simple_value=step)
        content.append(tf.Event(step=step, summary=tf.Summary(value=[value])).SerializeToString())
    with tf.io.TFRecordWriter(str(folder / "events.out.tfevents.1.host.0")) as writer:
        for record in content:
            writer.write(record)


def _read_events(folder):
    for tag in event_files.read(folder):
        assert tag.name in ("s", "h", "loss"), tag
        if tag.name == "loss":
            assert tag.values == [float(step) for step in tag.steps]
    lost = event_files.Records(folder / "events.out.tfevents.1.host.0")
    count = sum(1 for _ in lost)
    assert count <= 24  # a piece of the file may be in it twice


def _read_any_events(folder):
    for tag in event_files.read(folder):
        assert tag.values is None or len(tag.values) == len(tag.steps)
    event_files.scalars(folder)


def _mutate_event(path, random, mutated):
    """Changes the content of a record and corrects its checksum."""
    records = list(tf.io.tf_record_iterator(str(path)))
    chosen = random.integers(len(records))
    records[chosen] = mutated(records[chosen], random)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return True


# Stores


@functools.cache
def _stored():
    folder = pathlib.Path(_scratch(), "store")
    vectors = np.random.default_rng(0).random((12, 8), np.float32)
    with feature_store.FeatureStore(folder, 8) as store:
        store.append([f"a/{i}.jpg" for i in range(12)], [(i, i) for i in range(12)], vectors)
    return (folder / feature_store.DATABASE).read_bytes(), vectors


def _make_store(folder):
    (folder / feature_store.DATABASE).write_bytes(_stored()[0])


def _read_store(folder):
    with feature_store.FeatureStore(folder, 8) as store:
        for i, vector in enumerate(_stored()[1]):
            row = store.find(f"a/{i}.jpg", (i, i))
            if row is not None:
                np.testing.assert_array_equal(store.read([row])[0], vector)


# Pictures


def _make_pictures(folder):
    image = Image.fromarray(_noise(20, 24, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    image.save(folder / "exif.jpg", exif=exif)
    image.save(folder / "progressive.jpg", progressive=True)
    image.convert("P").save(folder / "x.png", transparency=3)
    Image.fromarray(np.uint16(_noise(9, 9)) * 256).save(folder / "deep.png")
    for ending in ("png", "gif", "bmp", "webp", "tif", "ppm"):
        image.save(folder / f"plain.{ending}")
    image.save(folder / "packed.tif", compression="tiff_lzw")


@functools.cache
def _decoding():
    sess = tf.Session(graph=tf.Graph())
    with sess.graph.as_default():
        contents = tf.placeholder(tf.string, ())
        return sess, photo_input.decode(contents, 8), contents


def _read_pictures(folder):
    sess, decoded, contents = _decoding()
    for path in pictures.find([str(folder)]):
        image = pictures.read(path)
        assert image.mode == "RGB" and max(image.size) <= 1024
        pixels = photo_input.run_on_picture(sess, decoded, contents, path)
        assert pixels.shape == (8, 8, 3) and np.isfinite(pixels).all()
        pictures.jpeg_or_pixels(path)


# Folders of classes


def _make_classes(folder):
    for name in ("a", "b"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(_noise(4, 4, 3)).save(folder / f"photos/{name}/{number}.jpg")
        Image.fromarray(_noise(4, 4, 3)).save(folder / f"photos/{name}/x.dat", "PNG")


def _read_classes(folder):
    images = image_lists.create(folder / "photos", 20, 20)
    good, bad = photo_input.readable(images)
    assert len(good.paths) + len(bad) == len(images.paths)


# Models and programs to port


@functools.cache
def _models():
    """Returns the files of a small model in the formats that porting.inspect reads."""
    folder = pathlib.Path(_scratch(), "models")
    folder.mkdir()
    head = keras.layers.Dense(3, kernel_initializer="ones", name="head")
    model = keras.Sequential([keras.Input([4]), head])
    for name in ("whole.keras", "whole.h5"):
        model.save(folder / name)
    model.save_weights(folder / "only.weights.h5")
    with contextlib.redirect_stdout(io.StringIO()):
        lite = tf2.lite.TFLiteConverter.from_keras_model(model).convert()
    (folder / "model.tflite").write_bytes(lite)
    tf2.train.Checkpoint(model=model).write(str(folder / "objects"))
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        images = tf.placeholder(tf.float32, [None, 4], "images")
        logits = images @ tf.get_variable("weights", initializer=np.ones([4, 3], np.float32))
        sess.run(tf.global_variables_initializer())
        inputs, outputs = {"images": images}, {"logits": logits}
        tf.saved_model.simple_save(sess, str(folder / "saved"), inputs, outputs)
        tf.train.Saver().export_meta_graph(str(folder / "graph.meta"))
        tf.io.write_graph(graph, str(folder), "graph.pb", as_text=False)
        tf.io.write_graph(graph, str(folder), "graph.pbtxt")
        saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
        saver.save(sess, str(folder / "v1"), write_meta_graph=False, write_state=False)
    with tf.Graph().as_default() as graph:
        tf.identity(tf.train.batch([tf.zeros([8])], 2), "batch_of_two")
        tf.io.write_graph(graph, str(folder), "queue.pb", as_text=False)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def _make_models(folder):
    for name, content in _models().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _read_models(folder):
    def read(path):
        for found in inspect.describe(str(path)):
            assert programs.printable(found.as_text()) == found.as_text()
            json.dumps(found.as_dict())

    _read_all((path for path in sorted(folder.rglob("*")) if path.is_file()), read)


def _mutate_models(path, random, mutated):
    return _mutate_inside(path, random, mutated) or (
        path.name in ("graph.pb", "queue.pb") and _mutate_graph(path, random, mutated)
    )


_PROGRAM = """import tensorflow as tf
from tensorflow.contrib import slim
class Net(object):
    def build(self, x, layers=tf.layers):
        if hasattr(tf, "placeholder"):
            x = tf.concat(1, [x, x]) if x.shape[0].value else layers.dense(x, 10)
        with tf.Session() as sess:
            print(sess.run(slim.flatten(x)))
"""


def _make_programs(folder):
    (folder / "program.py").write_text(_PROGRAM)
    cells = [{"cell_type": "code", "source": text} for text in (_PROGRAM, "%time f(x)\n!ls")]
    (folder / "book.ipynb").write_text(json.dumps({"cells": cells}))


def _read_programs(folder):
    for path in sources.find([str(folder)]):
        source = sources.read(path)
        assert source.problem or all(source.place(line)[1] >= 1 for line in source.left_out)
        names.uses_of(source.tree)


def clean(folder):
    """Empties a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


READERS = {
    "idx": Reader(_make_idx, _read_idx, _mutate_inside),
    "CIFAR and names": Reader(_make_cifar, _read_cifar),
    "tar and zip": Reader(_make_archives, _read_archives, _mutate_inside),
    "h5 and keras": Reader(_make_weights, _read_weights, _mutate_inside),
    "GraphDef and json": Reader(_make_graph, _read_graph, _mutate_graph),
    "checkpoint and flags": Reader(_make_run, _read_run),
    "event file": Reader(_make_events, _read_events),
    "event": Reader(_make_events, _read_any_events, _mutate_event),
    "store": Reader(_make_store, _read_store),
    "picture": Reader(_make_pictures, _read_pictures),
    "class folder": Reader(_make_classes, _read_classes),
    "model of any kind": Reader(_make_models, _read_models, _mutate_models),
    "program and notebook": Reader(_make_programs, _read_programs),
}
