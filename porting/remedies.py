"""What to do about a name that is gone: one sentence and a section of PORTING.md."""

from __future__ import annotations

from porting.uses import is_part

GUIDE = "PORTING.md"

SESSIONS = "placeholders-and-sessions"
NAMES = "names-and-arguments-that-changed"
CONTRIB = "contribslim-and-contriblayers"
LAYERS = "tflayers"
CELLS = "recurrent-cells"
ESTIMATORS = "estimators"
MNIST = "the-mnist-input_data-module"
FLAGS = "flags-and-app"
GFILE = "gfile"
KERAS = "keras-sessions"
QUEUES = "queue-runners"
VARIABLES = "variables-reuse-and-custom-getters"
CHECKPOINTS = "checkpoints"
FROZEN = "frozen-graphs"
HOOKS = "monitoredtrainingsession-and-hooks"
SAVED_MODELS = "savedmodels"
PYTHON = "tensorflow-1-itself-and-python-2"

_CELL = "import the cell from tensorflow.python.ops.rnn_cell, or write it yourself"
_XAVIER = "use tf.glorot_uniform_initializer(), or tf.glorot_normal_initializer() for uniform=False"
# Prefixes of TensorFlow 1 names. The longest match gives the remedy.
_REMEDIES = {
    "tf.contrib": ("contrib is gone: find what the program needs from it elsewhere", CONTRIB),
    "tf.contrib.slim": (
        "write the layer in tf.nn and get_variable, or use the package tf-slim where that works",
        CONTRIB,
    ),
    "tf.contrib.layers": ("write the layer in tf.nn and tf.get_variable", CONTRIB),
    "tf.contrib.layers.xavier_initializer": (_XAVIER, CONTRIB),
    "tf.contrib.layers.xavier_initializer_conv2d": (_XAVIER, CONTRIB),
    "tf.contrib.layers.variance_scaling_initializer": (
        "use tf.variance_scaling_initializer(scale=2.0), which nearly equals its defaults",
        CONTRIB,
    ),
    "tf.contrib.layers.l2_regularizer": (
        "pass `lambda weights: scale * tf.nn.l2_loss(weights)` as the regularizer",
        CONTRIB,
    ),
    "tf.contrib.layers.l1_regularizer": (
        "pass `lambda weights: scale * tf.reduce_sum(tf.abs(weights))` as the regularizer",
        CONTRIB,
    ),
    "tf.contrib.layers.apply_regularization": (
        "use `tf.add_n([regularizer(weights) for weights in weights_list])`",
        CONTRIB,
    ),
    "tf.contrib.layers.batch_norm": (
        "write it with tf.nn.moments, tf.nn.batch_normalization and two moving averages",
        CONTRIB,
    ),
    "tf.contrib.layers.flatten": ("use tf.reshape(x, [-1, size])", CONTRIB),
    "tf.contrib.layers.optimize_loss": ("use an optimizer's minimize()", CONTRIB),
    "tf.contrib.layers.one_hot_encoding": ("use tf.one_hot", CONTRIB),
    "tf.contrib.framework": ("look for the function in tf.train that replaced it", CONTRIB),
    "tf.contrib.framework.nest": ("use tf.nest", NAMES),
    "tf.contrib.framework.arg_scope": (
        "pass the arguments to each layer, or bind them with functools.partial",
        CONTRIB,
    ),
    "tf.contrib.framework.get_global_step": ("use tf.train.get_global_step", NAMES),
    "tf.contrib.framework.get_or_create_global_step": (
        "use tf.train.get_or_create_global_step",
        NAMES,
    ),
    "tf.contrib.framework.list_variables": ("use tf.train.list_variables", CHECKPOINTS),
    "tf.contrib.framework.load_variable": ("use tf.train.load_variable", CHECKPOINTS),
    "tf.contrib.framework.init_from_checkpoint": ("use tf.train.init_from_checkpoint", CHECKPOINTS),
    "tf.contrib.framework.get_variables": (
        "use tf.get_collection or tf.global_variables",
        VARIABLES,
    ),
    "tf.contrib.rnn": (_CELL, CELLS),
    "tf.contrib.rnn.static_rnn": ("use tf.nn.static_rnn", CELLS),
    "tf.contrib.rnn.static_bidirectional_rnn": ("use tf.nn.static_bidirectional_rnn", CELLS),
    "tf.contrib.cudnn_rnn": (_CELL, CELLS),
    "tf.contrib.seq2seq.sequence_loss": (
        "weight and average tf.nn.sparse_softmax_cross_entropy_with_logits",
        CELLS,
    ),
    "tf.contrib.seq2seq": ("decode in your own tf.while_loop", CELLS),
    "tf.contrib.legacy_seq2seq": ("decode in your own tf.while_loop", CELLS),
    "tf.contrib.learn.datasets.mnist": (
        "write `from mnist_mechanics import input_data`: it has `read_data_sets`",
        MNIST,
    ),
    "tf.contrib.learn": ("write the graph, the session and the loop yourself", ESTIMATORS),
    "tf.contrib.estimator": ("write the graph, the session and the loop yourself", ESTIMATORS),
    "tf.contrib.tpu": ("write the graph, the session and the loop yourself", ESTIMATORS),
    "tf.contrib.training.HParams": ("use a dataclass, a dict or argparse's namespace", FLAGS),
    "tf.contrib.training.batch_sequences_with_states": ("batch with tf.data", QUEUES),
    "tf.contrib.data": ("use tf.data and tf.data.experimental", QUEUES),
    "tf.contrib.eager": (
        "eager execution is the default in TensorFlow 2: use `tensorflow` itself",
        SESSIONS,
    ),
    "tf.contrib.keras": ("use tf.keras", KERAS),
    "tf.contrib.losses": ("use tf.losses", NAMES),
    "tf.contrib.metrics": ("use tf.metrics", NAMES),
    "tf.contrib.signal": ("use tf.signal", NAMES),
    "tf.contrib.lite": ("use tf.lite", FROZEN),
    "tf.contrib.lookup": ("use tf.lookup.StaticHashTable with an initializer", NAMES),
    "tf.contrib.crf": ("write the forward recursion with tf.scan", CONTRIB),
    "tf.contrib.distributions": ("use the package tensorflow-probability", CONTRIB),
    "tf.contrib.bayesflow": ("use the package tensorflow-probability", CONTRIB),
    "tf.contrib.distribute": ("use tf.distribute", HOOKS),
    "tf.contrib.summary": ("use tf.summary of compat.v1, or tf.compat.v2.summary", NAMES),
    "tf.contrib.saved_model": ("use tf.saved_model", SAVED_MODELS),
    "tf.contrib.session_bundle": ("use tf.saved_model", SAVED_MODELS),
    "tf.contrib.tensorboard": ("use tensorboard.plugins.projector", NAMES),
    "tf.contrib.util.make_tensor_proto": ("use tf.make_tensor_proto", NAMES),
    "tf.contrib.util.make_ndarray": ("use tf.make_ndarray", NAMES),
    "tf.contrib.util.constant_value": ("use tf.get_static_value", NAMES),
    "tf.contrib.opt": ("use an optimizer of tf.train", CONTRIB),
    "tf.examples.tutorials.mnist.mnist": (
        "write `from mnist_mechanics import mnist`: the module has the same functions",
        MNIST,
    ),
    "tf.examples.tutorials": (
        "write `from mnist_mechanics import input_data`: the module has the same functions",
        MNIST,
    ),
    "tf.estimator": ("write the graph, the session and the loop yourself", ESTIMATORS),
    "tf.python.estimator": ("write the graph, the session and the loop yourself", ESTIMATORS),
    "tf.layers": ("write the layer in tf.nn and tf.get_variable", LAYERS),
    "tf.nn.rnn_cell": (_CELL, CELLS),
    "tf.models.rnn": (_CELL, CELLS),
    "tf.python.ops.rnn_cell": (_CELL, CELLS),
    "tf.models": ("this part of TensorFlow's tree was never a library: copy what you need", PYTHON),
    **{
        f"{keras}.backend.{name}_session": (remedy, KERAS)
        for keras in ("tf.keras", "keras")
        for name, remedy in {
            "get": "create the session yourself and pass it on: Keras 3 has none",
            "set": "run your ops in a tf.Session of your own: Keras 3 uses none",
        }.items()
    },
    "tf.keras.backend": ("use the equivalent tf function: Keras 3 has dropped it", KERAS),
    "tf.keras": ("Keras 3 has dropped it or moved it", KERAS),
    "keras.backend": ("use the equivalent tf function: Keras 3 has dropped it", KERAS),
    "keras": ("Keras 3 has dropped it or moved it", KERAS),
    "tf.python": ("it is private, and moved or gone: look for a public name", NAMES),
    "tf.python.framework.graph_util": ("use tf.graph_util of compat.v1", FROZEN),
    "tf.python.tools": ("use tf.graph_util of compat.v1", FROZEN),
    "tf.python.platform.gfile": ("use tf.gfile of compat.v1, or tf.io.gfile", GFILE),
    "tf.python.platform.flags": ("use tf.flags of compat.v1, or argparse", FLAGS),
    "tf.train.shuffle_batch": ("batch with tf.data", QUEUES),
    "tf.saved_model": ("use tf.saved_model of compat.v1", SAVED_MODELS),
    "tf.distribute": ("look for its replacement in tf.distribute", HOOKS),
    "tf.lite": ("look for its replacement in tf.lite", FROZEN),
}

# Renamed in 1.0 or earlier; TensorFlow's table of renames starts after 1.0.
_RENAMED_BY_1_0 = {
    "tf.mul": "tf.multiply",
    "tf.sub": "tf.subtract",
    "tf.neg": "tf.negative",
    "tf.inv": "tf.reciprocal",
    "tf.pack": "tf.stack",
    "tf.unpack": "tf.unstack",
    "tf.select": "tf.where",
    "tf.listdiff": "tf.setdiff1d",
    "tf.complex_abs": "tf.abs",
    "tf.batch_matmul": "tf.matmul",
    **{
        f"tf.batch_{name}": f"tf.{name}"
        for name in (
            *("cholesky", "cholesky_solve", "svd", "fft", "fft2d", "fft3d", "ifft", "ifft2d"),
            *("ifft3d", "self_adjoint_eig", "self_adjoint_eigvals", "matrix_band_part"),
            *("matrix_determinant", "matrix_diag", "matrix_diag_part", "matrix_inverse"),
            *("matrix_set_diag", "matrix_solve", "matrix_solve_ls", "matrix_transpose"),
            "matrix_triangular_solve",
        )
    },
    "tf.concat_v2": "tf.concat",
    "tf.scalar_summary": "tf.summary.scalar",
    "tf.histogram_summary": "tf.summary.histogram",
    "tf.image_summary": "tf.summary.image",
    "tf.audio_summary": "tf.summary.audio",
    "tf.merge_summary": "tf.summary.merge",
    "tf.merge_all_summaries": "tf.summary.merge_all",
    "tf.train.SummaryWriter": "tf.summary.FileWriter",
    "tf.image.per_image_whitening": "tf.image.per_image_standardization",
    "tf.image.random_crop": "tf.random_crop",
    "tf.nn.rnn": "tf.nn.static_rnn",
    "tf.nn.bidirectional_rnn": "tf.nn.static_bidirectional_rnn",
    "tf.nn.state_saving_rnn": "tf.nn.static_state_saving_rnn",
    "tf.nn.deconv2d": "tf.nn.conv2d_transpose",
    "tf.initialize_variables": "tf.variables_initializer",
    "tf.VERSION": "tf.__version__",
    "tf.contrib.deprecated.scalar_summary": "tf.summary.scalar",
    "tf.contrib.deprecated.histogram_summary": "tf.summary.histogram",
    "tf.contrib.deprecated.image_summary": "tf.summary.image",
    "tf.contrib.deprecated.audio_summary": "tf.summary.audio",
}


# These names exist, but what they stand for fails when it is used.
_UNUSABLE = {
    **{
        f"tf.python.keras.{part}": ("use tf.keras: this private copy can no longer train", KERAS)
        for part in ("layers", "models", "optimizers", "engine")
    },
    **{
        f"tf{module}.flags.FLAGS.{name}": (remedy, FLAGS)
        for module in ("", ".app")
        for name, remedy in {
            "_parse_flags": "call FLAGS(sys.argv), or start the program with tf.app.run()",
            "__flags": "call FLAGS.flag_values_dict()",
        }.items()
    },
}


def unusable(name: str) -> tuple[str, str] | None:
    """Returns (sentence, anchor) for a name that exists but cannot be used, else None."""
    return next((_UNUSABLE[whole] for whole in _UNUSABLE if is_part(name, [whole])), None)


def short(name: str) -> str:
    """Returns a dotted name as programs write it: "tf.layers.dense"."""
    for root in ("tensorflow.compat.v1", "tensorflow"):
        if name == root or name.startswith(f"{root}."):
            return "tf" + name[len(root) :]
    return name


def remedy(name: str) -> tuple[str, str]:
    """Returns (sentence, anchor of a section of the guide) for a missing name like "tf.mul"."""
    if name in _RENAMED_BY_1_0:
        return f"it is now called {_RENAMED_BY_1_0[name]}", NAMES
    fitting = [whole for whole in _REMEDIES if is_part(name, [whole])]
    if fitting:
        return _REMEDIES[max(fitting, key=len)]
    return "look for its new name in the documentation of the installed TensorFlow", NAMES
