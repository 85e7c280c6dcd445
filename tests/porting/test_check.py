"""`python -m porting.check` on small programs with known problems."""

import ast
import json
import textwrap

import pytest

from porting import check, findings, installed, names, project, sources, syntax, uses
from tests.conftest import REPOSITORY

# Programs, with the (line, name) of each finding. Other tests check the passed uses.
PROGRAMS = {
    "modern": ("import tensorflow as tf\ntf.reduce_sum(tf.constant([1.0]))", []),
    "v1": (
        "import tensorflow.compat.v1 as tf\nwith tf.Graph().as_default():\n tf.placeholder(1)",
        [],
    ),
    "placeholder_without_graph": (
        "import tensorflow.compat.v1 as tf\ntf.placeholder(tf.float32)",
        [(2, "tf.placeholder")],
    ),
    "session_as_default": (
        "import tensorflow.compat.v1 as tf\nsess = tf.Session()\nwith sess.as_default(): pass",
        [(2, "tf.Session")],
    ),
    "with_session_as_default": (
        "import tensorflow.compat.v1 as tf\nx = tf.constant(1)\n"
        "with tf.Session() as s, s.as_default(): pass",
        [(3, "tf.Session")],
    ),
    "interactive_session_of_graph": (
        "import tensorflow.compat.v1 as tf\ntf.InteractiveSession(graph=g)\ntf.placeholder(1)",
        [],
    ),
    "session_of_graph_by_position": ("import tensorflow.compat.v1 as tf\ntf.Session('', g)", []),
    "star": (
        "from tensorflow import *\nfrom math import *\nvariable_scope(float32)\nsqrt(floor(pi))\n"
        "Session(graph=g)\nundefined(1)",
        [(1, "import tensorflow")],
    ),
    "stars": (
        "from tensorflow.compat.v1 import *\nfrom tensorflow.compat.v1.nn import *\n"
        "from numpy import *\nzeros(3, order='F')\nrelu(1)",
        [],
    ),
    "star_of_contrib": (
        "from tensorflow.contrib.layers import *\nconv2d(1)",
        [(1, "tf.contrib.layers")],
    ),
    "imported_by_call": (
        "import importlib\ntf = importlib.import_module('tensorflow.compat.v1')\ntf.mul(1, 2)\n"
        "slim = importlib.import_module('tensorflow.contrib.slim')\n__import__('tensorflow').sub",
        [(3, "tf.mul"), (4, "tf.contrib.slim"), (5, "tf.sub")],
    ),
    "default_argument": (
        "import tensorflow.compat.v1 as tf\ndef f(x, layers=tf.layers, *, nn=tf.nn):\n"
        "  nn.relu(x)\n  layers.dense(x)",
        [(4, "tf.layers.dense")],
    ),
    "attribute_of_self": (
        "import tensorflow.compat.v1 as tf\nclass A:\n  def __init__(self):\n"
        "    self.layers = tf.layers\n    self.sess = tf.Session(graph=g)\n"
        "  def f(self):\n    self.layers.dense(1)",
        [(7, "tf.layers.dense")],
    ),
    "conditional_value": (
        "import tensorflow.compat.v1 as tf\nlayers = tf.layers if old else other\nlayers.dense(1)",
        [(3, "tf.layers.dense")],
    ),
    "layers_imported": (
        "from tensorflow.layers import dense",
        [(1, "import tensorflow.layers"), (1, "tf.layers.dense")],
    ),
    "axis_in_a_variable": (
        "import tensorflow.compat.v1 as tf\ntf.concat(axis, [a, b])\ntf.concat(values, axis)",
        [(2, "tf.concat")],
    ),
    "list_of_sizes": ("import tensorflow.compat.v1 as tf\ntf.split(x, [4, 15, 11], 1)", []),
    "self_of_another_class": (
        "import tensorflow.compat.v1 as tf\nclass A:\n  def __init__(self):\n"
        "    self.layers = tf.layers\nclass B(Base):\n  def f(self):\n    self.layers.append(1)",
        [],
    ),
    "self_assigned_twice": (
        "import tensorflow.compat.v1 as tf\nclass A:\n  def __init__(self):\n"
        "    self.layers = tf.layers\n    self.layers, self.b = f()\n    self.layers.append(1)",
        [],
    ),
    "default_that_may_be_replaced": (
        "import tensorflow.compat.v1 as tf\n"
        "def f(x, reduce=tf.reduce_mean, optimizer=tf.train.GradientDescentOptimizer):\n"
        "  optimizer(0.1, momentum=0.9)\n  return reduce(x, keep_dims=True)",
        [],
    ),
    "missing_default_is_found_once": (
        "import tensorflow.compat.v1 as tf\ndef f(init=tf.truncated_initializer):\n"
        "  if init is None:\n    return init\n  return init()",
        [(2, "tf.truncated_initializer")],
    ),
    "block_of_a_session": (
        "import tensorflow.compat.v1 as tf\nwith tf.Session(graph=g) as sess:\n"
        "  x = tf.placeholder(1)\nwith tf.Session() as sess:\n  y = tf.placeholder(1)",
        [],
    ),
    "input_layer": ("import keras\nkeras.layers.InputLayer(batch_input_shape=(1, 2))", []),
    "refused_by_keras_3": (
        "import keras\nfrom tensorflow.keras.optimizers import Adam\nAdam(lr=1)\n"
        "Adam(learning_rate=1)\nkeras.layers.Dense(3, batch_input_shape=(1, 2))",
        [
            (3, "tf.keras.optimizers.Adam(lr=)"),
            (5, "keras.layers.Dense(batch_input_shape=)"),
        ],
    ),
    "arguments_of_keras": (
        "from keras.layers import *\nimport keras\nDense(3, input_shape=(3,), output_dim=3)\n"
        "Conv2D(1, 2, border_mode='same')\nLSTM(3, time_major=True, implementation=1)\n"
        "LeakyReLU(alpha=1)\nkeras.Model(input=1, output=2)\nkeras.Model(inputs=1, outputs=2)\n"
        "Embedding(1, 2, input_length=3, weights=[1])",
        [
            (3, "keras.layers.Dense(output_dim=)"),
            (4, "keras.layers.Conv2D(border_mode=)"),
            (5, "keras.layers.LSTM(time_major=)"),
            (7, "keras.Model(input=)"),
            (7, "keras.Model(output=)"),
        ],
    ),
    "placeholder": (
        "import tensorflow as tf\ntf.placeholder(tf.float32)",
        [(1, "import tensorflow"), (2, "tf.placeholder")],
    ),
    "another_name": ("import tensorflow as T\nT.layers.dense", [(2, "tf.layers.dense")]),
    "no_alias": (
        "import tensorflow\ntensorflow.mul(1, 2)",
        [(2, "tf.mul")],
    ),
    "alias": (
        "import tensorflow.compat.v1 as tf\nlayers = tf.layers\ndense = layers.dense\ndense(1, 2)",
        [(3, "tf.layers.dense"), (4, "tf.layers.dense")],
    ),
    "getattr": (
        "import tensorflow.compat.v1 as tf\ngetattr(tf, 'contrib')\ngetattr(tf, 'add')\n"
        "getattr(tf, unknown)",
        [(2, "tf.contrib")],
    ),
    "slim": (
        "from tensorflow.contrib import slim\nslim.conv2d(1, 2, 3)",
        [(1, "tf.contrib.slim"), (2, "tf.contrib.slim.conv2d")],
    ),
    "mnist": (
        "from tensorflow.examples.tutorials.mnist import input_data",
        [(1, "tf.examples.tutorials.mnist.input_data")],
    ),
    "private": (
        "from tensorflow.python.framework import graph_util, ops\n"
        "graph_util.convert_variables_to_constants",
        [(2, "tf.python.framework.graph_util.convert_variables_to_constants")],
    ),
    "estimator": (
        "import tensorflow.compat.v1 as tf\ntf.estimator.Estimator(None)",
        [(2, "tf.estimator.Estimator")],
    ),
    "cell": (
        "import tensorflow.compat.v1 as tf\ntf.nn.rnn_cell.BasicLSTMCell(3)",
        [(2, "tf.nn.rnn_cell.BasicLSTMCell")],
    ),
    "keras": (
        "from keras import backend as K\nK.get_session()",
        [(2, "keras.backend.get_session")],
    ),
    "sentinel": (
        "import tensorflow.compat.v1 as tf\n"
        "tf.nn.softmax_cross_entropy_with_logits(logits, labels)\n"
        "tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)",
        [(2, "tf.nn.softmax_cross_entropy_with_logits")],
    ),
    "order_of_version_2": (
        "import tensorflow as tf\ntf.nn.sigmoid_cross_entropy_with_logits(labels, logits)",
        [],
    ),
    "concat": (
        "import tensorflow.compat.v1 as tf\ntf.concat(1, [a, b])\ntf.concat([a, b], 1)",
        [(2, "tf.concat")],
    ),
    "concat_of_values": (
        "import tensorflow.compat.v1 as tf\ntf.concat(1, values=[a, b])\n"
        "tf.split(0, 3, value=x)\ntf.concat([a], values=[b])\ntf.concat(values=[a], axis=1)",
        [(2, "tf.concat"), (3, "tf.split"), (4, "tf.concat")],
    ),
    "no_attribute_of_tf": (
        "import tensorflow as tf\nfrom tensorflow.python.framework import ops\n"
        "from tensorflow.core.framework import graph_pb2\n"
        "import tensorflow.python.ops.nn_ops as n\n"
        "ops.Graph\ngraph_pb2.GraphDef\nn.relu\ntf.python.framework.ops\n"
        "tf.python.training.x = 1\ntf.core.framework",
        [
            (8, "tf.python.framework.ops"),
            (9, "tf.python.training"),
            (10, "tf.core.framework"),
        ],
    ),
    "argument": (
        "import tensorflow.compat.v1 as tf\ntf.sqrt(x, keepdims=True)",
        [(2, "tf.sqrt(keepdims=)")],
    ),
    "shape": (
        "import tensorflow.compat.v1 as tf\nn = x.shape[1].value\nm = x.get_shape()[0].value\n"
        "shape = x.get_shape()\nk = shape[-1].value",
        [(2, "shape[i].value"), (3, "shape[i].value"), (5, "shape[i].value")],
    ),
    "shape_dims": (
        "import tensorflow.compat.v1 as tf\nn = x.shape.dims[0].value\n"
        "try:\n  m = x.shape[0].value\nexcept AttributeError:\n  m = x.shape[0]",
        [],
    ),
    "session": (
        "import tensorflow.compat.v1 as tf\ntf.placeholder(1)\nwith tf.Session(): pass",
        [(3, "tf.Session")],
    ),
    "graph_reset": (
        "import tensorflow.compat.v1 as tf\nx = tf.placeholder(1)\ntf.reset_default_graph()\n"
        "tf.Session()",
        [(3, "tf.reset_default_graph"), (4, "tf.Session")],
    ),
    "session_apart": (
        "import tensorflow.compat.v1 as tf\ndef f():\n  return tf.Session()",
        [],
    ),
    "session_in_program": (
        "import tensorflow.compat.v1 as tf\ndef f():\n  return tf.Session()\n"
        "if __name__ == '__main__':\n  f()",
        [(3, "tf.Session")],
    ),
    "session_in_graph": (
        "import tensorflow.compat.v1 as tf\nwith tf.Graph().as_default():\n  tf.Session()",
        [],
    ),
    "session_of_graph": ("import tensorflow.compat.v1 as tf\ntf.Session(graph=graph)", []),
    "newer": (
        "import tensorflow as tf\ntf.summary.FileWriter(1)\ntf.Session(graph=g)\n"
        "tf.random.set_seed(1)",
        [(1, "import tensorflow"), (4, "tf.random.set_seed")],
    ),
    "mostly_newer": (
        "import tensorflow as tf\ntf.optimizers.Adam()\ntf.random.set_seed(1)\n"
        "tf.losses.mean_squared_error(a, b)",
        [(4, "tf.losses.mean_squared_error")],
    ),
    "guarded": (
        "try:\n  from tensorflow.contrib import slim\nexcept ImportError:\n  slim = None\n"
        "import tensorflow as tf\nif hasattr(tf, 'placeholder'):\n  tf.placeholder(1)",
        [],
    ),
    "guarded_otherwise": (
        "import tensorflow as tf\nS = tf.Session if hasattr(tf, 'Session') else v1.Session\n"
        "if not hasattr(tf, 'placeholder'):\n  p = None\nelse:\n  p = tf.placeholder\n"
        "try:\n  s = tf.Session\nexcept:\n  s = None",
        [],
    ),
    "not_guarded": (
        "import tensorflow.compat.v1 as tf\nif not hasattr(tf, 'mul'):\n  tf.mul(1, 2)\n"
        "try:\n  x = tf.sub(1, 2)\nexcept Exception:\n  x = 3",
        [(3, "tf.mul"), (5, "tf.sub")],
    ),
    "fallbacks": (
        "import tensorflow.compat.v1 as tf\ntry:\n  y = tf.nn.conv2d_transpose(1, 2, 3)\n"
        "except AttributeError:\n  y = tf.nn.deconv2d(1, 2, 3)\n"
        "if 'concat_v2' in dir(tf):\n  c = tf.concat_v2\n"
        "try:\n  tf.mul\nexcept AttributeError:\n  tf.sub",
        [(11, "tf.sub")],
    ),
    "dimensions": (
        "import tensorflow.compat.v1 as tf\nfor d in v.get_shape():\n  d.value\n"
        "[e.value for e in t.shape[1:]]\n_, h, w = x.get_shape()\nh.value\nn = x.shape[1]\n"
        "n.value\ns = x.shape\ns[2].value\nfor d in other:\n  d.value\nx.shape.value",
        [(line, "shape[i].value") for line in (3, 4, 6, 8, 10)],
    ),
    "built_by_a_class": (
        "import tensorflow.compat.v1 as tf\nclass Model:\n  def __init__(self):\n"
        "    self.layer()\n  def layer(self):\n    self.x = tf.constant(1)\ndef main():\n"
        "  config = tf.ConfigProto()\n  model = Model()\n"
        "  with tf.Session(config=config) as sess:\n    sess.run(model.x)\n"
        "if __name__ == '__main__':\n  main()",
        [(10, "tf.Session")],
    ),
    "built_in_the_block": (
        "import tensorflow.compat.v1 as tf\nclass Model:\n  def __init__(self):\n"
        "    self.x = tf.constant(1)\ndef arguments():\n  return tf.app.flags.FLAGS\ndef main():\n"
        "  flags = arguments()\n  with tf.Session() as sess:\n    sess.run(Model().x)\n"
        "if __name__ == '__main__':\n  main()",
        [],
    ),
    "session_before_a_graph": (
        "import tensorflow.compat.v1 as tf\nx = tf.Variable(3)\nsess = tf.Session()\n"
        "with tf.Graph().as_default():\n  z = tf.Variable(2)\n  tf.Session()\n"
        "def f():\n  return tf.Session()",
        [(3, "tf.Session")],
    ),
    "graph_that_stays_default": (
        "import tensorflow.compat.v1 as tf\ng = tf.Graph().as_default()\ng.__enter__()\n"
        "tf.placeholder(1)\ntf.Session()",
        [],
    ),
    "handler_that_is_no_fallback": (
        "import tensorflow.compat.v1 as tf\ntry:\n  x = tf.constant(1)\n"
        "except Exception:\n  tf.mul(1, 2)\ntry:\n  s = tf.sub\nexcept ImportError:\n  pass",
        [(5, "tf.mul"), (7, "tf.sub")],
    ),
    "errors_of_arguments": (
        "import tensorflow.compat.v1 as tf\ntry:\n  tf.sqrt(x, keepdims=True)\n"
        "except TypeError:\n  pass\ntry:\n  tf.sqrt(x, keepdims=True)\nexcept AttributeError:\n"
        "  pass",
        [(7, "tf.sqrt(keepdims=)")],
    ),
    "names_that_build_nothing": (
        "import os\nimport tensorflow.compat.v1 as tf\nclass Net:\n  def __init__(self):\n"
        "    self.x = tf.constant(1)\n  def get(self):\n    return tf.constant(2)\n"
        "class Config:\n  def __init__(self):\n    super().__init__()\ndef main():\n"
        "  path = os.environ.get('x')\n  config = Config()\n  start = tf.ones_initializer()\n"
        "  with tf.Session() as sess:\n    sess.run(Net().x)\nif __name__ == '__main__':\n"
        "  if path:\n    f()\n  else:\n    main()",
        [],
    ),
    "other_branch": (
        "import tensorflow.compat.v1 as tf\ndef main(eager):\n  if eager:\n"
        "    tf.constant(1)\n  else:\n    with tf.Session() as sess:\n      pass\n"
        "if __name__ == '__main__':\n  main(1)",
        [],
    ),
    "session_in_a_with_item": (
        "import tensorflow.compat.v1 as tf\nwith tf.Session().as_default():\n  tf.placeholder(1)",
        [(2, "tf.Session")],
    ),
    "sessions_of_a_database": (
        "import unittest\nimport tensorflow.compat.v1 as tf\nclass T(unittest.TestCase):\n"
        "  def test_a(self):\n    with self.session():\n      pass\n  def session(self):\n    pass",
        [],
    ),
    "tested_dimension": (
        "import tensorflow.compat.v1 as tf\nn = x.shape[-1]\n"
        "m = n.value if hasattr(n, 'value') else n",
        [],
    ),
    "own_import_of_v1": (
        "import tensorflow as tf\nimport tensorflow.compat.v1 as tf1\ntf1.get_variable('x', 1)\n"
        "tf.nn.dropout(x, 0.1)",
        [],
    ),
    "methods_of_others": (
        "import keras\nfrom sklearn.svm import SVC\nSVC().predict_proba(x)\nclass Mine:\n"
        "  def predict_classes(self):\n    pass\nMine().predict_classes()\n"
        "if hasattr(m, 'fit_generator'):\n  m.fit_generator(g)",
        [],
    ),
    "supervisor": (
        "import tensorflow.compat.v1 as tf\nwith tf.Graph().as_default():\n"
        "  sv = tf.train.Supervisor(logdir='x')",
        [(3, "tf.train.Supervisor")],
    ),
    "session_of_a_test": (
        "import tensorflow.compat.v1 as tf\nclass T(tf.test.TestCase):\n  def test_a(self):\n"
        "    with tf.Graph().as_default(), self.session():\n      pass\n"
        "    with self.test_session():\n      pass\nclass U:\n  def f(self):\n"
        "    self.session()",
        [(6, "test_session")],
    ),
    "parse_flags": (
        "import tensorflow.compat.v1 as tf\nFLAGS = tf.app.flags.FLAGS\nFLAGS._parse_flags()\n"
        "tf.flags.FLAGS.batch_size",
        [(3, "tf.app.flags.FLAGS._parse_flags")],
    ),
    "private_keras": (
        "from tensorflow.python.keras.layers import Dense\nDense(3)",
        [
            (1, "tf.python.keras.layers.Dense"),
            (2, "tf.python.keras.layers.Dense"),
        ],
    ),
    "methods_of_keras": (
        "from keras.models import Sequential\nm = Sequential()\nm.fit_generator(1)\n"
        "m.predict_classes(2)",
        [(3, "Model.fit_generator"), (4, "Model.predict_classes")],
    ),
    "other_variable": (
        "import tensorflow.compat.v1 as tf\ndef f(tf):\n  return tf.contrib\n"
        "tf.model = 1\ntf.model.fit()",
        [],
    ),
    "method": (
        "import tensorflow as tf\nclass A:\n  def f(self):\n    return later.Session\n"
        "  later = None\nlater = tf\n",
        [(1, "import tensorflow")],
    ),
    "switch": (
        "import os\nos.environ['OTHER'] = '1'\nimport tensorflow.compat.v1 as tf\ntf.layers.dense",
        [(4, "tf.layers.dense")],
    ),
    "python_2": (
        "import tensorflow as tf\nprint 'a %s' % (\n  tf.mul(1, 2))\n"
        "try:\n  pass\nexcept IOError, e:\n  raise ValueError, 'x'\n\n"
        "if 1 <> 2: print n,\n"
        "print >>f, tf.sub(1, 2)\nexec 'a' in {}",
        [(2, "Python 2 syntax"), (3, "tf.mul"), (10, "tf.sub")],
    ),
    "tabs": (
        "import tensorflow as tf\nif 1:\n        tf.mul(1, 2)\n\ttf.sub(1, 2)",
        [(3, "tf.mul"), (4, "Python 2 syntax"), (4, "tf.sub")],
    ),
    "tuples_as_parameters": (
        "import tensorflow as tf\nclass A:\n  def f(self, (a, b), c=(1, 2), (tf,)=(3,)):\n"
        "    tf.mul\ntf.sub",
        [(3, "Python 2 syntax"), (5, "tf.sub")],
    ),
    "broken_line_with_a_block": (
        "import tensorflow as tf\ndef f(a, 1, b):\n" + "  tf.add(1, 2)\n" * 30 + "  tf.mul(1, 2)",
        [(2, "syntax"), (33, "tf.mul")],
    ),
    "broken": (
        "import tensorflow as tf\nhe said: <this>\ntf.mul(1, 2)",
        [(2, "syntax"), (3, "tf.mul")],
    ),
}
CELLS = [
    "%matplotlib inline\nimport tensorflow as tf",
    "%%bash\ntf.mul(1, 2)",
    "%time !python train.py\n%time for i in x: f(i)\n%prun -s cumulative main()",
    "%time tf.reduce_sum(1)\n%timeit -n 10 -r3 tf.pack(1)\nif 1:\n  %prun y = tf.unpack(1)",
    "x = 3\nif x:\n  !pip install \\\n    something\ntf.mul(1, 2)",
    "dear reader, look!",
    "  tf.sub(1, 2)",
]


def notebook(cells):
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3"}},
        "cells": [{"cell_type": "markdown", "metadata": {}, "source": "# tf.contrib"}]
        + [
            {
                "cell_type": "code",
                "metadata": {},
                "execution_count": None,
                "outputs": [{"output_type": "stream", "name": "stdout", "text": "Größe"}],
                "source": cell.splitlines(keepends=True),
            }
            for cell in cells
        ],
    }


DEEP = {
    "sum": "x = " + "+".join(["a"] * 20000),
    "list": "x = " + "[" * 20000 + "]" * 20000,
    "calls": "x" + ".f(1)" * 20000,
}


def test_a_long_chain_of_imports_is_followed_in_linear_time(tmp_path):
    """With a search from each file it took minutes; the switch in one file counts in all."""
    count = 2000
    files = [
        (tmp_path / f"m{number}.py", uses.Uses(imports={f"m{number + 1}"}))
        for number in range(count)
    ]
    files[count // 2][1].attributes.add("disable_v2_behavior")
    called = project.Project(files).called_with(["disable_v2_behavior", "other"])
    assert called == [{"disable_v2_behavior"}] * count


@pytest.mark.parametrize("source", [None, ["import tensorflow as tf\n", None]])
def test_strange_cells_are_read(tmp_path, monkeypatch, source):
    monkeypatch.setattr(findings, "ask", lambda questions: None)
    book = notebook(["x = 1"])
    book["cells"][1]["source"] = source
    (tmp_path / "b.ipynb").write_text(json.dumps(book))
    assert not sources.read(tmp_path / "b.ipynb").problem


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting_is_one_finding(tmp_path, monkeypatch, name):
    monkeypatch.setattr(findings, "ask", lambda questions: None)
    (tmp_path / "deep.py").write_text(DEEP[name])
    (finding,) = findings.judge([sources.read(tmp_path / "deep.py")]).findings
    assert finding.kind == "unreadable"


def test_without_tensorflow_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.py").write_text("import tensorflow")
    assert check.main(["a.py"]) == 2
    assert capsys.readouterr().err.startswith("error: TensorFlow is not installed")


def test_names_of_files_are_printed_in_one_line(tmp_path, monkeypatch, capsys):
    nothing = installed.Installed({}, "2", "3", None, switch_is_set=False)
    monkeypatch.setattr(findings, "ask", lambda questions: nothing)  # there is none to look up
    (tmp_path / "a\x1b[31m\n.py").write_text("he said: <this>")
    assert check.main(["."]) == 1
    assert "\x1b" not in capsys.readouterr().out


PARTLY_FIXED = """import tensorflow as tf, os
x = tf.placeholder(tf.float32)  # ü
y = tf.reduce_sum(x, keep_dims=True) + tf.nn.softmax(x, dim=0)
z = tf.mul(y, y)
"""
CELL = "import tensorflow as t\nt.Session"
FIXED = "from  tensorflow import placeholder\ndef f():\n  return placeholder(1)\n"
NOT_FIXED = "from tensorflow.layers import dense\n"
PLACEHOLDER = "import tensorflow as tf\ny = tf.placeholder(tf.float32)\n"
V1 = "import tensorflow.compat.v1 as tf\n"
SWITCH = f"{V1}tf.disable_v2_behavior()\n"
SESSION = f"{V1}tf.Session()\nx.shape[0].value\n"
LATER = (PARTLY_FIXED, CELL, FIXED, NOT_FIXED, PLACEHOLDER, SWITCH, SESSION)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The findings in all programs; TensorFlow is loaded once, also for the tests below."""
    folder = tmp_path_factory.mktemp("programs")
    for name, (code, _) in PROGRAMS.items():
        (folder / f"{name}.py").write_text(code)
    for number, code in enumerate(LATER):
        (folder / f"later_{number}.py").write_text(code, encoding="utf-8")
    (folder / "book.ipynb").write_text(json.dumps(notebook(CELLS)))
    (folder / "none.ipynb").write_text("[]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "missing")  # which one is set makes no difference
        return findings.judge([sources.read(path) for path in sources.find([str(folder)])])


@pytest.mark.parametrize("name", PROGRAMS)
def test_finds_what_fails(report, name):
    found = [(f.line, f.name) for f in report.findings if f.file.stem == name and not f.warning]
    assert found == PROGRAMS[name][1]


def test_modules_of_a_tensorflow_1_program_become_v1_too(tmp_path, capsys):
    """tf.nn.dropout exists in both versions, but takes the opposite probability."""
    layers = "import tensorflow as tf\ndef f(x):\n  return tf.nn.dropout(x, 0.9)\n"
    (tmp_path / "layers.py").write_text(layers)
    (tmp_path / "same.py").write_text("import tensorflow as tf\ntf.nn.relu(1)\n")
    (tmp_path / "train.py").write_text(
        "import tensorflow as tf\nimport layers, same\nlayers.f(tf.get_variable(1))\n"
    )
    (tmp_path / "two.py").write_text(
        "import tensorflow as tf\ntf.random.set_seed(1)\ntf.nn.dropout(x, 0.1)\n"
    )
    book = notebook(["import tensorflow as tf\ntf.get_variable(1)", layers])
    (tmp_path / "book.ipynb").write_text(json.dumps(book))
    assert check.main([".", "--fix", "new"]) == 0
    assert "TensorFlow 2 changed the meaning of tf.nn.dropout" in capsys.readouterr().out
    changed = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert changed == ["book.ipynb", "layers.py", "train.py"]
    assert "compat.v1" in (tmp_path / "new" / "layers.py").read_text()
    assert (tmp_path / "new" / "book.ipynb").read_text().count("import tensorflow.compat.v1") == 2


def test_finds_in_cells(report):
    found = [(f.cell, f.line, f.name) for f in report.findings if f.file.stem == "book"]
    assert found == [
        (4, 2, "tf.pack"),
        (4, 4, "tf.unpack"),
        (5, 5, "tf.mul"),
        (6, 1, "syntax"),
        (7, 1, "tf.sub"),
    ]
    (problem,) = [f for f in report.findings if f.file.stem == "none"]
    assert problem.kind == "unreadable" and "not a notebook" in problem.remedy


def test_passes_what_is_there(report):
    passed = {(path.stem, line, name) for path, line, name in report.passed}
    assert {("modern", 2, "tf.reduce_sum"), ("v1", 3, "tf.placeholder")} <= passed
    assert {("star", 4, "tf.floor"), ("stars", 5, "tf.nn.relu")} <= passed
    assert ("getattr", 3, "tf.add") in passed
    assert ("concat", 3, "tf.concat") in passed


def test_remedies_name_what_took_the_place(report):
    remedy = {f.name: f.remedy for f in report.findings}
    assert "tf.multiply" in remedy["tf.mul"]
    assert "mnist_mechanics" in remedy["tf.examples.tutorials.mnist.input_data"]
    assert "TF_USE_LEGACY_KERAS=1" in remedy["tf.layers.dense"]
    assert "compat.v1" in remedy["import tensorflow"]


def test_switch_in_the_program_counts_where_tf_keras_answers(tmp_path, monkeypatch):
    """Fakes the lookups, as if tf_keras were installed."""
    code = "os.environ['TF_USE_LEGACY_KERAS'] = '1'\nimport tensorflow.compat.v1 as tf\ntf.layers.a"
    path = tmp_path / "a.py"

    def ask(questions):
        answers = {
            (q.name, q.access): installed.Answer("a" not in q.name[-1], "", "", {}, True)
            for q in questions
        }
        return installed.Installed(answers, "2", "3", "2", switch_is_set=False)

    monkeypatch.setattr(findings, "ask", ask)
    for text, expected in [(code, []), (code.replace("'1'", "'0'"), ["tf.layers.a"])]:
        path.write_text(text)
        assert [f.name for f in findings.judge([sources.read(path)]).findings] == expected


@pytest.fixture
def one_lookup(monkeypatch, report):
    """Answers from the report's lookups, which include those of LATER."""
    monkeypatch.setattr(findings, "ask", lambda questions: report.installed)


@pytest.mark.usefixtures("one_lookup")
def test_fix_makes_a_program_that_is_right_but_for_what_it_says(tmp_path, capsys):
    old = PARTLY_FIXED
    (tmp_path / "a.py").write_text(old, encoding="utf-8")
    (tmp_path / "b.ipynb").write_text(json.dumps(notebook([CELL])))
    assert check.main([".", "--fix", "new"]) == 1
    printed = capsys.readouterr().out
    assert (
        "Findings: 4 fixed, 2 left.\n  tf.placeholder: 1 (PORTING.md#placeholders-and-sessions)\n"
        in printed
    )
    new = old.replace("import tensorflow as tf", "import tensorflow.compat.v1 as tf")
    new = new.replace("keep_dims", "keepdims").replace("dim=0", "axis=0")
    assert (tmp_path / "new/a.py").read_text(encoding="utf-8") == new
    assert (tmp_path / "a.py").read_text(encoding="utf-8") == old
    expected = notebook(["import tensorflow.compat.v1 as t\nt.Session"])
    assert json.loads((tmp_path / "new/b.ipynb").read_text(encoding="utf-8")) == expected
    assert check.main(["a.py", "--fix", "new"]) == 2  # the file is there
    assert "new/a.py' exists" in capsys.readouterr().err
    assert check.main(["a.py", "--fix_in_place", "--format", "json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (tmp_path / "a.py").read_text(encoding="utf-8") == new
    assert [(m["line"], m["name"], m["fixed"]) for m in result["missing"]] == [
        (1, "import tensorflow", True),
        (2, "tf.placeholder", False),
        (4, "tf.mul", False),
    ]


@pytest.mark.usefixtures("one_lookup")
def test_fix_changes_an_indented_cell_rightly_and_leaves_a_continued_import(tmp_path):
    cell = "\n    import tensorflow as tf\n    y = tf.reduce_sum(x, keep_dims=True)"
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook([cell])))
    continued = "import tensorflow \\\n    as tf\ntf.Session()\n"
    (tmp_path / "b.py").write_text(continued)
    assert check.main([".", "--fix", "new"]) == 1
    fixed = "\nimport tensorflow.compat.v1 as tf\ny = tf.reduce_sum(x, keepdims=True)"
    written = json.loads((tmp_path / "new/a.ipynb").read_text(encoding="utf-8"))
    assert written == notebook([fixed])
    assert (tmp_path / "b.py").read_text() == continued
    assert not (tmp_path / "new/b.py").exists()


@pytest.mark.usefixtures("one_lookup")
@pytest.mark.parametrize(
    "options",
    [{"indent": 2}, {"indent": 0}, {"ensure_ascii": False}, {"separators": (",", ":")}, {}],
)
def test_fix_changes_only_the_lines_it_must(tmp_path, options):
    old = json.dumps(notebook([CELL]), **options)
    (tmp_path / "b.ipynb").write_text(old, encoding="utf-8")
    assert check.main(["b.ipynb", "--fix_in_place"]) == 0
    new = old.replace("import tensorflow as t", "import tensorflow.compat.v1 as t")
    assert (tmp_path / "b.ipynb").read_text(encoding="utf-8") == new
    (tmp_path / "b.ipynb").write_bytes(old.replace("\n", "\r\n").encode())
    assert check.main(["b.ipynb", "--fix_in_place"]) == 0
    assert (tmp_path / "b.ipynb").read_bytes() == new.replace("\n", "\r\n").encode()


@pytest.mark.usefixtures("one_lookup")
def test_fix_keeps_strange_outputs(tmp_path):
    """Half of a surrogate pair, as a cut-off emoji leaves it, is no UTF-8."""
    book = notebook([CELL])
    book["cells"][1]["outputs"][0]["text"] = "\ud83d"
    (tmp_path / "b.ipynb").write_text(json.dumps(book))
    assert check.main(["b.ipynb", "--fix_in_place"]) == 0
    fixed = json.loads((tmp_path / "b.ipynb").read_text(encoding="utf-8"))
    assert fixed["cells"][1]["outputs"] == book["cells"][1]["outputs"]


def test_the_last_import_of_a_name_counts_unless_they_are_alternatives():
    v1, v2 = "import tensorflow.compat.v1 as tf\n", "import tensorflow as tf\n"
    for code, name in [
        (v1 + v2, "tensorflow.Session"),
        (f"try:\n  {v1}except ImportError:\n  {v2}", "tensorflow.compat.v1.Session"),
        (f"if a:\n  {v1}else:\n  {v2}", "tensorflow.compat.v1.Session"),
    ]:
        used = names.uses_of(ast.parse(code + "tf.Session()")).names
        assert used[-1].name == name, code


@pytest.mark.usefixtures("one_lookup")
def test_after_a_complete_fix_nothing_is_missing(tmp_path, capsys):
    (tmp_path / "a.py").write_text(FIXED)
    assert check.main(["a.py", "--fix", "new"]) == 0
    assert "\n0 of 1 files still use what is missing" in capsys.readouterr().out
    fixed = FIXED.replace("from  tensorflow", "from tensorflow.compat.v1")
    assert (tmp_path / "new/a.py").read_text() == fixed


@pytest.mark.usefixtures("one_lookup")
def test_fix_leaves_an_import_that_would_still_fail(tmp_path, capsys):
    (tmp_path / "a.py").write_text(NOT_FIXED)
    assert check.main(["a.py", "--fix", "new"]) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("one_lookup")
def test_a_switch_covers_only_what_runs_with_it(tmp_path, capsys):
    """`program` and `net/model` run with `switch`, `old/f` with its package's; `other` without."""
    files = {
        "program": "import switch\nfrom net import model\n",
        "switch": SWITCH,
        "net/model": SESSION,
        "old/__init__": SWITCH,
        "old/f": SESSION,
        "other": SESSION,
    }
    (tmp_path / "net").mkdir()
    (tmp_path / "old").mkdir()
    for name, code in files.items():
        (tmp_path / f"{name}.py").write_text(code)
    assert check.main([".", "--format", "json"]) == 1
    result = json.loads(capsys.readouterr().out)
    found = [(row["file"], row["name"]) for row in result["missing"]]
    assert found == [("other.py", "tf.Session"), ("other.py", "shape[i].value")]


def test_bytes_that_are_not_utf8_are_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(findings, "ask", lambda questions: None)
    path = tmp_path / "a.py"
    for declaration, expected in [(b"", [("encoding", 3)]), (b"# coding: latin-1", [])]:
        path.write_bytes(declaration + b"\n\nx = '\xe9'\n")
        found = findings.judge([sources.read(path)]).findings
        assert [(finding.name, finding.line) for finding in found] == expected
    path.write_bytes(b"print '\xe9'\n")
    found = findings.judge([sources.read(path)]).findings
    assert [finding.name for finding in found] == ["encoding", "Python 2 syntax"]


@pytest.mark.usefixtures("one_lookup")
def test_fix_keeps_line_ends_links_and_files_of_one_name(tmp_path, capsys, monkeypatch):
    old = b"x = 1\r" + PLACEHOLDER.replace("as tf\n", "as tf\r\n").encode()
    new = old.replace(b"import tensorflow", b"import tensorflow.compat.v1")
    (tmp_path / "real.txt").write_bytes(old)
    (tmp_path / "link.py").symlink_to("real.txt")
    check.main(["link.py", "--fix_in_place"])
    assert (tmp_path / "link.py").is_symlink() and (tmp_path / "real.txt").read_bytes() == new
    (tmp_path / "b").mkdir()
    for folder in (tmp_path, tmp_path / "b"):
        (folder / "c.py").write_bytes(old)
    monkeypatch.chdir(tmp_path / "b")
    capsys.readouterr()
    assert check.main(["c.py", "../c.py", "--fix", "out"]) == 2
    assert "would both be written to 'out/c.py'" in capsys.readouterr().err
    assert not (tmp_path / "b" / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["missing.py"], "'missing.py' does not exist"),
        (["a.txt"], "neither a Python file"),
        (["empty"], "holds no Python file"),
        (["binary.py"], "binary data"),
        (["prose.py"], "'prose.py' cannot be read: it is not Python: line"),
        (["list.ipynb"], "'list.ipynb' cannot be read: it is not a notebook"),
        (["a.py", "--fix", "x", "--fix_in_place"], "not allowed"),
        (["full", "--exclude", "*.py"], "--exclude leaves out every file"),
    ],
)
def test_wrong_use_is_one_sentence(tmp_path, capsys, arguments, message):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.py").touch()
    (tmp_path / "binary.py").write_bytes(b"\0\1")
    (tmp_path / "prose.py").write_text("It was a dark (night.\n" * 50)
    (tmp_path / "list.ipynb").write_text("[1]")
    assert check.main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_reading_is_bounded(monkeypatch):
    """A text with an error in every line is parsed a bounded number of times."""
    calls = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda *a, **k: (calls.append(1), parse(*a, **k))[1])
    with pytest.raises(SyntaxError):
        syntax.parse("a b c\n" * 1000)
    assert len(calls) < 50


def test_python_2_keeps_lines_and_names():
    text = textwrap.dedent("""\
        print "a", tf.a, \\
            tf.b
        if x: print tf.c
        f = lambda (a, b): tf.d
        x = `tf.e`
        async = ur'x' + str(0777L)
    """)
    parsed = syntax.parse(text)
    assert parsed.python2 and not parsed.left_out
    nodes = [n for s in parsed.statements for n in ast.walk(s) if isinstance(n, ast.Attribute)]
    assert sorted((n.attr, n.lineno) for n in nodes) == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
        ("d", 4),
        ("e", 5),
    ]


@pytest.mark.slow
def test_this_project_is_clean(capsys):
    """All recipes except those that must fail, and the one that needs the package tf_keras."""
    recipes = ["--exclude", "before_*.py", "--exclude", "*_with_keras_2.py"]
    assert check.main([str(REPOSITORY), *recipes]) == 0
    assert "0 of " in capsys.readouterr().out
