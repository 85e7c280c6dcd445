"""porting.inspect on files made by plain TensorFlow 1 code, by Keras and by hand."""

import json
import re
import shutil
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from tensorflow.python.framework import op_def_registry

from porting import inspect
from porting.kinds import effects, snippets, tflite
from porting.kinds.description import Tensor


def net(images):
    """Two variables, one output: images [n, 4] times weights [4, 3], plus biases."""
    with tf.variable_scope("layer"):
        weights = tf.get_variable("weights", initializer=WEIGHTS)
        biases = tf.get_variable("biases", initializer=BIASES)
        return tf.add(images @ weights, biases, name="logits")


WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
BIASES = np.array([1, 2, 3], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def trained(folder):
    """A complete training graph, saved in both formats."""
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        images = tf.placeholder(tf.float32, [None, 4], "images")
        labels = tf.placeholder(tf.int64, [None], "labels")
        loss = tf.losses.sparse_softmax_cross_entropy(labels, net(images))
        tf.summary.scalar("loss", loss)
        step = tf.train.get_or_create_global_step()
        tf.train.AdamOptimizer().minimize(loss, global_step=step)
        tf.identity(loss, "final_loss")
        sess.run(tf.global_variables_initializer())
        v1, v2 = folder / "v1", folder / "v2"
        v1.mkdir(), v2.mkdir()
        tf.train.Saver(write_version=tf.train.SaverDef.V1).save(sess, str(v1 / "model.ckpt"), 7)
        tf.train.Saver().save(sess, str(v2 / "model.ckpt"), 7)
        frozen = tf.graph_util.convert_variables_to_constants(
            sess, graph.as_graph_def(), ["layer/logits"]
        )
        tf.io.write_graph(frozen, str(folder), "frozen.pb", as_text=False)
        tf.io.write_graph(frozen, str(folder), "frozen.pbtxt", as_text=True)
        with tf.summary.FileWriter(str(folder / "events"), graph) as writer:
            for at in range(3):
                value = tf.Summary.Value(tag="loss", simple_value=at)
                writer.add_summary(tf.Summary(value=[value]), 10 * at)
    return folder


def described(path):
    found = inspect.describe(str(path))
    json.dumps([one.as_dict() for one in found])  # all of it is plain
    assert all(one.as_text() for one in found)
    return found


def run(code):
    """Runs printed lines unchanged and returns `outputs`."""
    names = {}
    exec(compile(code, "printed", "exec"), names)
    return names.get("outputs", names.get("value"))


def shapes(tensors):
    return {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors}


# Graphs


@pytest.mark.parametrize("name", ["frozen.pb", "frozen.pbtxt"])
def test_frozen_graph(trained, name):
    (found,) = described(trained / name)
    assert "frozen graph" in found.kind and ("text" in found.kind) == name.endswith("txt")
    assert shapes(found.inputs) == {"images:0": ("float32", (None, 4))}
    assert [tensor.name for tensor in found.outputs] == ["layer/logits:0"]
    assert shapes(found.variables)["layer/weights"] == ("float32", (4, 3))
    assert found.ops["MatMul"] == 1 and found.ops["Placeholder"] == 1
    assert not found.unknown_ops and not found.effects
    (logits,) = run(found.code)
    np.testing.assert_array_equal(logits, [BIASES])


def test_names_make_no_difference(trained, tmp_path):
    shutil.copy(trained / "frozen.pb", tmp_path / "model.h5")
    (found,) = described(tmp_path / "model.h5")
    assert "frozen graph" in found.kind


def test_meta_and_checkpoint(trained):
    checkpoint, graph = described(trained / "v2")
    assert checkpoint.kind == "a checkpoint in V2 format"
    assert shapes(checkpoint.variables)["layer/weights/Adam"] == ("float32", (4, 3))
    assert shapes(checkpoint.variables)["global_step"] == ("int64", ())
    assert graph.written_by == f"TensorFlow {tf.__version__}"
    assert shapes(graph.inputs) == {
        "images:0": ("float32", (None, 4)),
        "labels:0": ("int64", (None,)),
    }
    assert [tensor.name for tensor in graph.outputs] == ["final_loss:0"]
    assert {effect.split()[0] for effect in graph.effects} >= {"SaveV2", "RestoreV2"}
    (loss,) = run(graph.code)
    expected = -np.log(np.exp(1) / np.exp(BIASES).sum())
    assert loss == pytest.approx(expected, rel=1e-5)


def test_v1_checkpoint(trained):
    found, _ = described(trained / "v1" / "model.ckpt-7")
    assert found.kind == "a checkpoint in V1 format"
    assert shapes(found.variables)["layer/biases"] == ("float32", (3,))
    assert sum(v.size for v in found.variables) == 3 * 4 * (12 + 3) + 4 + 4 + 8


def test_checkpoint_alone(trained, tmp_path):
    for path in (trained / "v2").glob("model.ckpt-7.[di]*"):
        shutil.copy(path, tmp_path)
    (found,) = described(tmp_path / "model.ckpt-7.index")
    value = run(found.code)
    np.testing.assert_array_equal(value, WEIGHTS)


def test_partitioned_checkpoint(tmp_path):
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.get_variable("divided", [7, 5], partitioner=tf.fixed_size_partitioner(3))
        tf.get_variable("words", initializer=["a", "bcd"])
        sess.run(tf.global_variables_initializer())
        tf.train.Saver(sharded=True).save(sess, str(tmp_path / "model"))
    found, graph = described(tmp_path)
    assert "partitioned" in found.kind
    assert {v.name: v.note for v in found.variables} == {"divided": "in 3 parts", "words": ""}
    assert shapes(found.variables)["divided"] == ("float32", (7, 5))
    assert len(run(graph.code)) == 4  # three parts and the words


def test_object_based_checkpoint(tmp_path):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, name="head")])
    tf2.train.Checkpoint(model=model, seen=tf2.Variable(5, name="seen")).save(tmp_path / "ck")
    (found,) = described(tmp_path)
    assert "object-based" in found.kind
    notes = {v.note for v in found.variables}
    assert "named seen" in notes and any(note.endswith("head/kernel") for note in notes)
    assert run(found.code).shape == (4, 3)


def test_pipeline_is_fed(tmp_path):
    """If the graph has no placeholder, the output of the iterator is fed."""
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        rows = tf.data.Dataset.from_tensors((np.zeros([2, 4], np.float32), np.int32(1)))
        images, label = tf.data.make_one_shot_iterator(rows).get_next()
        tf.identity(net(images), "answer")
        tf.identity(label * 2, "twice")
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, str(tmp_path / "model"))
        tf.train.export_meta_graph(str(tmp_path / "model.meta"), graph=graph)
    _, found = described(tmp_path)
    assert shapes(found.inputs) == {
        "IteratorGetNext:0": ("float32", (2, 4)),
        "IteratorGetNext:1": ("int32", ()),
    }
    answer, twice = run(found.code)
    np.testing.assert_array_equal(answer, [BIASES, BIASES])
    assert twice == 0


def test_queue_is_fed(tmp_path):
    with tf.Graph().as_default() as graph:
        queue = tf.queue.FIFOQueue(10, [tf.float32, tf.string], [[4], []])
        rows, names = queue.dequeue_many(5)
        tf.identity(tf.reduce_sum(rows, axis=1), "sums")
        tf.identity(names, "names")
        tf.io.write_graph(graph.as_graph_def(), str(tmp_path), "graph.pb", as_text=False)
    (found,) = described(tmp_path / "graph.pb")
    assert [(t.dtype, t.shape) for t in found.inputs] == [
        ("float32", (5, 4)),
        ("string", (5,)),
    ]
    sums, names = run(found.code)
    assert sums.tolist() == [0] * 5 and names.tolist() == [b""] * 5


def test_lookup_tables_are_filled(tmp_path):
    with tf.Graph().as_default() as graph:
        keys = tf.placeholder(tf.string, [None], "keys")
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [7]), 3)
        tf.identity(table.lookup(keys), "values")
        tf.io.write_graph(graph, str(tmp_path), "g.pb", as_text=False)
    (found,) = described(tmp_path / "g.pb")
    np.testing.assert_array_equal(run(found.code)[0], [3])


def test_shape_of_a_placeholder_in_an_old_graph(tmp_path):
    """Until graph version 21, a Placeholder did not store its shape; the MetaGraph did."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, 4], "images")
        tf.reduce_sum(images, axis=1, name="sums")
        tf.reduce_sum(tf.placeholder(tf.float32, name="any"), name="sum")
        meta = tf.train.export_meta_graph(graph=graph)
    for node in meta.graph_def.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.Clear()
    meta.graph_def.versions.producer = 10
    del meta.graph_def.node[-1].attr["_output_shapes"]
    (tmp_path / "old.meta").write_bytes(meta.SerializeToString())
    (found,) = described(tmp_path / "old.meta")
    assert shapes(found.inputs)["images:0"] == ("float32", (None, 4))
    assert "does not say the shape of 'any:0'" in found.code


def test_inside_of_a_loop_is_no_output(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.disable_control_flow_v2()  # loops of TensorFlow 1, from Switch, Merge and Exit
        try:
            count = tf.placeholder(tf.int32, [], "count")
            end = tf.while_loop(lambda i: i < count, lambda i: i + tf.constant(1), [0])
            tf.identity(end, "end")
        finally:
            tf.enable_control_flow_v2()
        tf.io.write_graph(graph.as_graph_def(), str(tmp_path), "graph.pb", as_text=False)
    (found,) = described(tmp_path / "graph.pb")
    assert found.ops["LoopCond"] == 1
    assert [tensor.name for tensor in found.outputs] == ["end:0"]
    assert run(found.code) == [0]


def test_pictures_and_examples_are_fed(tmp_path):
    with tf.Graph().as_default() as graph:
        contents = tf.placeholder(tf.string, (), "contents")
        picture = tf.image.decode_jpeg(contents, channels=3)
        tf.reduce_mean(
            tf.image.resize_bilinear(tf.cast(picture, tf.float32)[None], [8, 8]), name="mean"
        )
        serialized = tf.placeholder(tf.string, [None], "serialized")
        parsed = tf.io.parse_example(
            serialized,
            {
                "x": tf.io.FixedLenFeature([3], tf.float32),
                "n": tf.io.FixedLenFeature([], tf.int64, default_value=9),
            },
        )
        tf.reduce_sum(parsed["x"], name="sum")
        tf.identity(parsed["n"], name="n")
        tf.io.write_graph(graph.as_graph_def(), str(tmp_path), "graph.pb", as_text=False)
    (found,) = described(tmp_path / "graph.pb")
    assert "the bytes of a picture" in found.as_text()
    outputs = dict(zip([t.name for t in found.outputs], run(found.code), strict=True))
    assert outputs["mean:0"] == 0 and outputs["sum:0"] == 0


def test_what_is_more_than_computing(tmp_path):
    with tf.Graph().as_default() as graph:
        path = tf.placeholder(tf.string, (), "path")
        tf.io.write_file(path, tf.io.read_file(path))
        tf.py_func(np.sin, [tf.zeros([2])], tf.float32)
        graph_def = graph.as_graph_def()
        odd = graph_def.node.add(name="odd", op="OpOfTomorrow")
        odd.input.append("path")
        graph_def.node.add(name="gone", op="ThePastOp")
    (tmp_path / "graph.pb").write_bytes(graph_def.SerializeToString())
    (found,) = described(tmp_path / "graph.pb")
    kinds = {name.split()[0]: name for name in found.effects}
    assert set(kinds) == {"ReadFile", "WriteFile", "PyFunc"}
    assert "writes files" in kinds["WriteFile"] and "runs Python" in kinds["PyFunc"]
    assert found.unknown_ops == {"OpOfTomorrow": ["odd"], "ThePastOp": ["gone"]}
    assert not found.code  # it could not be imported


def test_ops_that_name_files_are_known():
    """Every registered op with an argument named like a file is reported."""
    about_files = re.compile(r"(^|_)(filenames?|file|files|file_prefix|logdir|pathname)(_|$)")
    no_files = {
        # These ops make or handle names, or summarize records in memory.
        "ShardedFilename",
        "ShardedFilespec",
        "TensorSliceDataset",
        "FileSystemSetConfiguration",
    }
    missed = []
    for name in dir(tf.raw_ops):
        op_def = op_def_registry.get(name)
        if op_def is None or op_def.name in no_files:
            continue
        names = [a.name for a in op_def.input_arg] + [a.name for a in op_def.attr]
        if any(about_files.search(n) for n in names) and not effects.effect_of(name):
            missed.append(name)
    assert not missed


def test_huge_constant_is_not_made(tmp_path):
    graph_def = tf.GraphDef()
    node = graph_def.node.add(name="bomb", op="Const")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0.0, shape=[]))
    node.attr["value"].tensor.tensor_shape.dim.add().size = 10**12
    after = graph_def.node.add(name="after", op="Identity", input=["bomb"])
    after.attr["T"].type = tf.float32.as_datatype_enum
    (tmp_path / "bomb.pb").write_bytes(graph_def.SerializeToString())
    (found,) = described(tmp_path / "bomb.pb")
    assert shapes(found.variables) == {"bomb": ("float32", (10**12,))}
    assert any("'bomb' would take 4.0 TB" in note for note in found.notes)


def test_versions_cannot_write_to_the_terminal(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["keras_version"] = b"2\x1b[31m\n"
    (found,) = described(tmp_path / "w.h5")
    assert "\x1b" not in found.as_text() and r"2\x1b[31m\n" in found.as_text()


def test_names_cannot_write_to_the_terminal(tmp_path):
    graph_def = tf.GraphDef()
    graph_def.node.add(name="x", op="Evil\x1b[2J")
    (tmp_path / "graph.pb").write_bytes(graph_def.SerializeToString())
    (found,) = described(tmp_path / "graph.pb")
    assert "\x1b" not in found.as_text()


# SavedModels


def test_saved_model_of_tensorflow_1(tmp_path):
    target = tmp_path / "model"
    with tf.Graph().as_default(), tf.Session() as sess:
        images = tf.placeholder(tf.float32, [None, 4], "images")
        logits = net(images)
        sess.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(sess, str(target), {"pixels": images}, {"scores": logits})
    (found,) = described(target)
    assert "TensorFlow 1" in found.kind and "serve" in found.kind
    signature = found.signatures["serving_default"]
    assert shapes(signature.inputs.values()) == {"images:0": ("float32", (None, 4))}
    assert shapes(signature.outputs.values()) == {"layer/logits:0": ("float32", (None, 3))}
    assert shapes(found.variables)["layer/weights"] == ("float32", (4, 3))
    in_session, in_tf2 = found.code.split("# Or, in TensorFlow 2, without a session:")
    for code in (in_session, in_tf2):
        np.testing.assert_array_equal(np.asarray(run(code)["scores"]), [BIASES])


def test_saved_model_of_two_graphs_and_one_with_sparse_inputs(tmp_path):
    builder = tf.saved_model.Builder(str(tmp_path / "two"))
    for tags in (["serve"], ["serve", "gpu"]):
        with tf.Graph().as_default(), tf.Session() as sess:
            x = tf.placeholder(tf.float32, [None], "x")
            y = x * tf.get_variable("v", initializer=2.0)
            sess.run(tf.global_variables_initializer())
            signatures = {
                "serving_default": tf.saved_model.predict_signature_def({"x": x}, {"y": y})
            }
            if len(tags) == 1:
                builder.add_meta_graph_and_variables(sess, tags, signatures)
            else:
                builder.add_meta_graph(tags, signatures)
    builder.save()
    (found,) = described(tmp_path / "two")
    for part in found.parts:
        np.testing.assert_array_equal(run(part.code)["y"], [0])

    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.sparse_placeholder(tf.float32, [None, 3])
        y = tf.sparse.to_dense(x)
        tf.saved_model.simple_save(sess, str(tmp_path / "sparse"), {"x": x}, {"y": y})
    (found,) = described(tmp_path / "sparse")
    assert not found.code and "SparseTensorValue" in found.notes[-1]


def test_saved_model_of_tensorflow_2(tmp_path):
    class Twice(tf2.Module):
        def __init__(self):
            super().__init__()
            self.factor = tf2.Variable(2.0, name="factor")

        @tf2.function(input_signature=[tf2.TensorSpec([None], tf2.float32, "numbers")])
        def __call__(self, numbers):
            return {"doubled": self.factor * numbers + 1}

    tf2.saved_model.save(Twice(), str(tmp_path / "model"))
    (found,) = described(tmp_path / "model" / "saved_model.pb")
    assert "TensorFlow 2" in found.kind
    assert found.written_by == f"TensorFlow {tf.__version__}"
    in_session, in_tf2 = found.code.split("# Or, in TensorFlow 2, without a session:")
    for code in (in_session, in_tf2):
        np.testing.assert_array_equal(np.asarray(run(code)["doubled"]), [1.0])


# Keras


@pytest.fixture(scope="module")
def keras_files(folder):
    inputs = keras.Input([4], name="pixels")
    outputs = keras.layers.Dense(3, name="head", bias_initializer="ones")(inputs)
    model = keras.Model(inputs, outputs)
    for name in ("model.keras", "model.h5"):
        model.save(folder / name)
    model.save_weights(folder / "model.weights.h5")
    return folder


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_model(keras_files, name):
    (found,) = described(keras_files / name)
    assert "whole Keras model" in found.kind and keras.__version__ in found.written_by
    assert shapes(found.inputs) == {"pixels": ("float32", (None, 4))}
    assert found.ops["Dense"] == 1
    assert sorted(v.shape for v in found.variables) == [(3,), (4, 3)]
    np.testing.assert_array_equal(run(found.code), np.ones([1, 3]))


@pytest.mark.parametrize("name", ["nested.keras", "nested.h5"])
def test_models_in_keras_models(tmp_path, name):
    inner, pixels = keras.Input([4], name="inner"), keras.Input([4], name="pixels")
    one = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    other = keras.Model(inner, keras.layers.Dense(3)(inner))
    outputs = keras.layers.Add()([one(pixels), other(pixels)])
    is_h5 = name.endswith("h5")  # its layers do not name their module, so it cannot hold ops
    outputs = outputs if is_h5 else keras.ops.relu(outputs)
    keras.Model(pixels, outputs).save(tmp_path / name)
    (found,) = described(tmp_path / name)
    assert shapes(found.inputs) == {"pixels": ("float32", (None, 4))}
    assert not found.unknown_ops and found.ops["Dense"] == 2 and is_h5 != ("Relu" in found.ops)
    np.testing.assert_array_equal(run(found.code), np.zeros([1, 3]))


@pytest.mark.parametrize("name", ["text.keras", "text.h5"])
def test_keras_model_with_an_input_of_text(tmp_path, name):
    words, numbers = keras.Input([1], dtype="string", name="w"), keras.Input([1], name="n")
    found = keras.layers.StringLookup(vocabulary=["a", "b"])(words)
    outputs = keras.layers.Add()([keras.layers.Rescaling(1.0)(found), numbers])
    keras.Model([words, numbers], outputs).save(tmp_path / name)
    (found,) = described(tmp_path / name)
    np.testing.assert_array_equal(run(found.code), [[0]])


def test_subclassed_keras_model_needs_its_class(tmp_path):
    class Mine(keras.Model):
        def call(self, inputs):
            return inputs

    model = Mine()
    model(np.zeros([1, 2]))
    model.save(tmp_path / "m.keras")
    (found,) = described(tmp_path / "m.keras")
    assert list(found.unknown_ops) == ["Mine"] and "custom_objects" in found.notes[0]
    assert not found.code


def test_keras_1_lists_the_layers_of_a_nested_model(tmp_path):
    dense = {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 4]}}
    nested = {"class_name": "Sequential", "config": [dense]}
    with h5py.File(tmp_path / "model.h5", "w") as file:
        config = {"class_name": "Sequential", "config": [nested, dense]}
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"1.2.2"
    (found,) = described(tmp_path / "model.h5")
    assert found.ops == {"Dense": 2, "Sequential": 1} and not found.unknown_ops
    assert shapes(found.inputs) == {"d": ("float32", (None, 4))}


def test_keras_weights(keras_files):
    (found,) = described(keras_files / "model.weights.h5")
    assert "Keras 3" in found.kind and "no model" in found.notes[0]
    assert {v.note for v in found.variables} == {"of head"}
    assert run(found.code).shape == (4, 3)


def test_weights_of_keras_2(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"Conv1"]
        file.attrs["keras_version"] = b"2.2.4"
        file["Conv1/Conv1/kernel:0"] = np.zeros([3, 3, 3, 8], np.float32)
    (found,) = described(tmp_path / "w.h5")
    assert "Keras 2" in found.kind and found.written_by == "Keras 2.2.4"
    assert shapes(found.variables) == {"Conv1/Conv1/kernel:0": ("float32", (3, 3, 3, 8))}


def test_lambda_layers_and_strange_layers_are_told(keras_files, tmp_path):
    with zipfile.ZipFile(keras_files / "model.keras") as packed:
        config = json.loads(packed.read("config.json"))
        for layer, kind in zip(config["config"]["layers"][1:], ["Lambda"], strict=True):
            layer["class_name"] = kind
        config["config"]["layers"].append({"class_name": "MyOwn", "config": {"name": "mine"}})
        with zipfile.ZipFile(tmp_path / "m", "w") as other:
            other.writestr("config.json", json.dumps(config))
            other.writestr("metadata.json", packed.read("metadata.json"))
            other.writestr("model.weights.h5", packed.read("model.weights.h5"))
    (found,) = described(tmp_path / "m")
    assert found.effects == {"Lambda (runs Python from the file)": ["head"]}
    assert found.unknown_ops == {"MyOwn": ["mine"]} and not found.code


# Others


def test_tflite(tmp_path):
    class Twice(tf2.Module):
        @tf2.function(input_signature=[tf2.TensorSpec([None, 3], tf2.float32, "numbers")])
        def __call__(self, numbers):
            return 2 * numbers + 1

    module = Twice()
    converter = tf2.lite.TFLiteConverter.from_concrete_functions(
        [module.__call__.get_concrete_function()], module
    )
    (tmp_path / "model").write_bytes(converter.convert())
    (found,) = described(tmp_path / "model")
    assert found.kind.startswith("a TFLite model")
    assert found.ops == {"MUL": 1, "ADD": 1} and [v.size for v in found.variables] == [4, 4]
    assert [(t.dtype, t.shape) for t in found.inputs] == [("float32", (None, 3))]
    np.testing.assert_array_equal(run(found.code), [np.ones([1, 3])])


def test_every_type_of_a_tflite_tensor_has_a_name():
    numbers = [n for name, n in vars(tflite.schema.TensorType).items() if not name.startswith("_")]
    assert {tflite._TYPES[n] for n in numbers} >= {"float32", "int4", "bool", "string", "resource"}


@pytest.mark.parametrize("dtype", ["bool", "int8", "int4", "bfloat16", "float8_e5m2", "qint8", ""])
def test_printed_values_are_valid(dtype):
    made = eval(snippets.value(Tensor("x", dtype, (None, 2))), {"np": np, "tf": tf})
    assert made.shape == (1, 2) and (not dtype or made.dtype == tf.as_dtype(dtype).as_numpy_dtype)


def test_event_file(trained, capsys):
    (found,) = described(trained / "events")
    assert "brain.Event:2" in found.written_by
    assert found.tags == {"scalar": ["loss"]}
    assert any("steps 0 to 20" in note for note in found.notes)
    assert found.parts[0].ops["Placeholder"] == 2
    run(found.code)
    assert capsys.readouterr().out.splitlines() == ["0 loss 0.0", "10 loss 1.0", "20 loss 2.0"]


# Bad input


def failing(path, capsys):
    assert inspect.main([str(path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def test_data_file_that_is_cut_off(trained, tmp_path, capsys):
    for path in (trained / "v2").glob("model.ckpt-7.*"):
        shutil.copy(path, tmp_path)
    data = tmp_path / "model.ckpt-7.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    assert "is incomplete" in failing(tmp_path / "model.ckpt-7", capsys)
    assert inspect.main([str(tmp_path)]) == 0  # the graph in its .meta can still be described
    captured = capsys.readouterr()
    assert "is incomplete" in captured.err and "images" in captured.out
    data.unlink()
    assert "is missing" in failing(tmp_path / "model.ckpt-7", capsys)


@pytest.mark.parametrize("keep", [0, 5, 100])
def test_index_that_is_cut_off(trained, tmp_path, capsys, keep):
    for path in (trained / "v2").glob("model.ckpt-7.[di]*"):
        shutil.copy(path, tmp_path)
    index = tmp_path / "model.ckpt-7.index"
    index.write_bytes(index.read_bytes()[:keep])
    assert str(tmp_path) in failing(tmp_path / "model.ckpt-7", capsys)


def test_v1_checkpoint_that_is_cut_off(trained, tmp_path, capsys):
    content = (trained / "v1" / "model.ckpt-7").read_bytes()
    (tmp_path / "model.ckpt-7").write_bytes(content[: len(content) // 2])
    assert "unknown format, or is truncated" in failing(tmp_path / "model.ckpt-7", capsys)


@pytest.mark.parametrize(
    "start", [b"", b"TFL3", b"\x89HDF\r\n\x1a\n", b"PK\3\4", b"\n\5\n\3abc", b"Hello\n"]
)
def test_unknown_and_broken_files(tmp_path, capsys, start):
    (tmp_path / "file").write_bytes(start + bytes(range(64)) * bool(start))
    failing(tmp_path / "file", capsys)


def test_broken_tflite(tmp_path, capsys):
    (tmp_path / "file").write_bytes(struct.pack("<I4s", 8, b"TFL3") + bytes(64))
    assert "cannot be read" in failing(tmp_path / "file", capsys)


def test_empty_folder_and_no_file(tmp_path, capsys):
    assert "holds no model file of a known format" in failing(tmp_path, capsys)
    assert "there is no file" in failing(tmp_path / "none", capsys)


def test_json(trained, capsys):
    assert inspect.main(["--json", str(trained / "frozen.pb")]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["inputs"][0]["name"] == "images:0" and "sess.run" in found["code"]


def test_graph_as_text_with_other_text_first(trained, tmp_path):
    graph_def = tf.GraphDef.FromString((trained / "frozen.pb").read_bytes())
    text = "# a comment\n" + text_format.MessageToString(graph_def)
    (tmp_path / "graph").write_text(text)
    assert "text" in described(tmp_path / "graph")[0].kind


def test_folder_of_a_graph_alone_is_described(trained, tmp_path, capsys):
    meta = trained / "v2" / "model.ckpt-7.meta"
    (tmp_path / "alone").mkdir()
    shutil.copy(meta, tmp_path / "alone" / "model.meta")
    assert inspect.main([str(tmp_path / "alone")]) == 0
    assert "images" in capsys.readouterr().out


def test_folder_whose_last_checkpoint_has_no_graph(trained, tmp_path):
    for path in (trained / "v2").glob("model.ckpt-7.*"):
        shutil.copy(path, tmp_path)
        if path.suffix != ".meta":
            shutil.copy(path, tmp_path / path.name.replace("-7", "-8"))
    kinds = [found.kind for found in described(tmp_path)]
    assert len(kinds) == 3 and ["V2" in kind for kind in kinds] == [True, True, False]


def test_damaged_model_hides_no_other_in_its_folder(trained, tmp_path, capsys):
    folder = tmp_path / "both"
    folder.mkdir()
    index = trained / "v2" / "model.ckpt-7.index"
    (folder / "model.ckpt-1.index").write_bytes(index.read_bytes()[:-20])
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"\n')
    shutil.copy(trained / "v2" / "model.ckpt-7.meta", folder / "graph.meta")
    assert inspect.main([str(folder)]) == 0
    captured = capsys.readouterr()
    assert "images" in captured.out and "model.ckpt-1' cannot be read" in captured.err
