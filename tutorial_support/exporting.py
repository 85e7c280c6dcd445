"""Writing a trained net as a SavedModel or as a frozen graph."""

import pathlib
import tempfile

import tensorflow.compat.v1 as tf

from tutorial_support import files
from tutorial_support.programs import UsageError


def add_flag(parser):
    """Adds the flag that names the folder for an export."""
    parser.add_argument("--export_dir", help="where to; by default export beside the checkpoint")


def folder(export_dir, prefix):
    """Returns the folder, a pathlib.Path, for an export of the checkpoint `prefix`.

    Args:
        export_dir: what the flag of `add_flag` names, or None.
        prefix: from `checkpoints.find`.
    """
    return pathlib.Path(export_dir or pathlib.Path(prefix).parent / "export")


def labels(path, class_names):
    """Writes a file with a class a line, replacing an older one."""
    files.write_text(path, "".join(f"{name}\n" for name in class_names))


def saved_model(sess, folder, inputs, outputs):
    """Writes the session's graph and variables as a SavedModel with a serving signature.

    Args:
        sess: a session whose variables hold their trained values.
        folder: where it goes. An older export there is replaced, once the new one is whole;
            another folder that is not empty is refused.
        inputs: dict from a name in the signature to a tensor.
        outputs: the same.

    Raises:
        UsageError: `folder` holds something else than an export, or cannot be written.
    """
    folder = pathlib.Path(folder)
    older = (folder / "saved_model.pb").exists()
    if folder.exists() and not older and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"'{folder}' holds other files than an export; name a new folder with --export_dir"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            made = pathlib.Path(temporary) / "new"
            tf.saved_model.simple_save(sess, str(made), inputs, outputs)
            if older:
                folder.rename(pathlib.Path(temporary) / "old")
            elif folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise UsageError(
            f"'{folder}' cannot be written: {error.strerror}; name another --export_dir"
        ) from error


def frozen_graph(sess, path, outputs):
    """Writes what the outputs need of the session's graph, its variables turned into constants.

    Args:
        sess: a session whose variables hold their trained values.
        path: the GraphDef file, replaced in one step.
        outputs: list of tensors.

    Raises:
        UsageError: the file cannot be written.
    """
    names = [tensor.op.name for tensor in outputs]
    graph = tf.graph_util.convert_variables_to_constants(sess, sess.graph_def, names)
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            temporary.write_bytes(graph.SerializeToString(deterministic=True))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}; name another") from error
