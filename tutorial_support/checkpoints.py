"""Finds checkpoints, saves them safely, and restores them with a readable report on mismatches.

A checkpoint is named by its prefix, such as `logs/run/model.ckpt-2000`. In V2 format it consists of
`<prefix>.index` and `<prefix>.data-00000-of-00001`, in V1 format of a single file. The state file
`checkpoint` in the same folder names the newest checkpoint and all that the run has kept.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from tutorial_support import files
from tutorial_support.programs import LOG, TrainingError, UsageError, is_failed_write, reason

STATE_FILE = "checkpoint"
_TABLE_END = 48  # bytes
_NUMBERED = re.compile(r"model\.ckpt-(\d+)\.index")
# Temporary files, which TensorFlow renames once they are complete.
_UNFINISHED = re.compile(
    r"model\.ckpt-\d+\.((data-\d+-of-\d+|index)\.tempstate\d+|meta\.tmp[0-9a-f]{32})"
)
# Names of the step counter: TensorFlow's, and the one in the cookbook's program.
_STEP_NAMES = ("global_step", "Variable")


class DamagedCheckpoint(UsageError):
    """A checkpoint is truncated or fails a checksum."""


def find(path: str | os.PathLike) -> str:
    """Returns the prefix of the checkpoint that `path` names, for `Saver.restore`.

    Args:
        path: a folder or its state file, which mean its newest checkpoint; or the prefix or a file
            of a checkpoint.

    Raises:
        UsageError: there is no such checkpoint.
    """
    check_path(path)
    path = pathlib.Path(path)
    if path.name == STATE_FILE and path.is_file():
        path = path.parent
    if path.is_dir():
        prefix = newest(path)
        if prefix is None:
            raise UsageError(
                f"'{path}' contains no checkpoint; train first, or name the folder of a run"
            )
        return prefix
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    if not exists(prefix):
        raise UsageError(f"there is no checkpoint '{path}'; name one, or the folder of a run")
    return prefix


def check_path(path: str | os.PathLike) -> None:
    """Raises UsageError for a path that TensorFlow treats as a glob pattern or cannot encode."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"'{path}': TensorFlow needs paths in UTF-8; use another name, or a UTF-8 locale"
        ) from error
    if found := re.search(r"[*?\[\]\\]" if os.sep == "/" else r"[*?\[\]]", str(path)):
        raise UsageError(
            f"'{path}': TensorFlow cannot restore checkpoints from a path with '{found[0]}' in it; "
            "use a path without that character"
        )


def newest(folder: str | os.PathLike) -> str | None:
    """Returns the prefix of the newest checkpoint in `folder`, or None if there is none.

    The state file names it. If that file is missing or unusable, the checkpoint with the highest
    number is returned.

    Raises:
        UsageError: the state file exists, but the folder has no checkpoint.
    """
    folder = pathlib.Path(folder)
    named, _ = _read_state(folder)
    for prefix in (str(folder / pathlib.PureWindowsPath(named).name), named) if named else ():
        if exists(prefix):
            return prefix
    numbered = all_numbered(folder)
    if (folder / STATE_FILE).exists():
        if not numbered:
            raise UsageError(
                f"'{folder / STATE_FILE}' names no existing checkpoint; name another folder, or "
                "train again with --fresh"
            )
        LOG.warning(
            "'%s' names no existing checkpoint; taking '%s', the one with the highest number",
            folder / STATE_FILE,
            numbered[-1],
        )
    return numbered[-1] if numbered else None


def all_numbered(folder: str | os.PathLike) -> list[str]:
    """Returns the prefixes of all `model.ckpt-<number>` in `folder`, sorted by number."""
    found = filter(None, map(_NUMBERED.fullmatch, _names(pathlib.Path(folder))))
    names = sorted((int(match[1]), match[0].removesuffix(".index")) for match in found)
    return [os.path.join(folder, name) for _, name in names]  # noqa: PTH118


def _names(folder: pathlib.Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208


def _read_state(folder: pathlib.Path) -> tuple[str | None, list[str]]:
    """Returns (the newest checkpoint, the names of all kept checkpoints) from the state file."""
    try:
        text = files.read_text(folder / STATE_FILE, "")
    except UsageError:
        return None, []
    newest_path = re.search(r'^model_checkpoint_path: *"(.*)"', text, re.M)
    kept = re.findall(r'^all_model_checkpoint_paths: *"(.*)"', text, re.M)
    names = [pathlib.PureWindowsPath(path).name for path in kept]
    return newest_path[1].replace("\\\\", "\\") if newest_path else None, names


def exists(prefix: str) -> bool:
    """Returns whether a checkpoint with this prefix exists, in V2 or V1 format."""
    return os.path.isfile(f"{prefix}.index") or os.path.isfile(prefix)  # noqa: PTH113


@contextlib.contextmanager
def _reader(prefix: str) -> Iterator[Any]:
    """Yields a tf.train.NewCheckpointReader; turns every error into a DamagedCheckpoint."""
    try:
        for path in map(pathlib.Path(prefix).with_name, _names(pathlib.Path(prefix).parent)):
            if path.name.startswith(pathlib.Path(prefix).name) and path.is_fifo():
                raise ValueError(f"'{path}' is a named pipe")
        index = pathlib.Path(f"{prefix}.index")
        _check_table(index if index.exists() else pathlib.Path(prefix))
        yield tf.train.NewCheckpointReader(str(prefix))
    except UsageError:
        raise
    except Exception as error:
        raise DamagedCheckpoint(
            f"the checkpoint '{prefix}' cannot be read ({reason(error)}); name another one"
        ) from error


def _check_table(path: pathlib.Path) -> None:
    """Raises ValueError if the table's footer points beyond the end of the file.

    An index, or a V1 checkpoint, is a table in LevelDB's format. Its blocks have checksums, but its
    footer of 48 bytes does not. It gives the positions and sizes of two blocks, and TensorFlow
    would allocate memory for any size.
    """
    with path.open("rb") as stream:
        length = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, length - _TABLE_END))
        end = stream.read()
    numbers, shift = [0], 0
    for byte in end:
        numbers[-1] |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # the last byte of a number
            numbers.append(0)
            shift = 0
    for offset, size in zip(numbers[:4:2], numbers[1:4:2], strict=False):
        if offset + size > length:
            raise ValueError(f"'{path}' is damaged at its end")


def shapes(prefix: str) -> dict[str, list[int]]:
    """Returns the shape of each variable in a checkpoint by name; raises DamagedCheckpoint."""
    with _reader(prefix) as reader:
        return reader.get_variable_to_shape_map()


def values(prefix: str) -> dict[str, np.ndarray]:
    """Returns the value of each variable in a checkpoint by name; raises DamagedCheckpoint."""
    with _reader(prefix) as reader:
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def stored_step(prefix: str) -> int | None:
    """Returns the global step that is stored in a checkpoint, or None if it has none."""
    with _reader(prefix) as reader:
        for name in _STEP_NAMES:
            value = np.asarray(reader.get_tensor(name) if reader.has_tensor(name) else [])
            if value.ndim == 0 and value.dtype.kind in "iu":
                return int(value)
    return None


class Saver(tf.train.Saver):
    """A tf.train.Saver with safer `save` and `restore`.

    - `save` refuses NaN and infinity, and returns once the files are flushed to the disk.
    - `save` keeps the newest `keep` checkpoints of the run, even if the run was resumed in between.
    - `restore` lists every variable that does not fit.
    """

    def __init__(self, variables: Mapping[str, Any] | list | None = None, keep: int = 0) -> None:
        """Adds the ops that save and restore.

        Args:
            variables: list of variables, or dict from names in the checkpoint to variables; None
                means all global variables.
            keep: how many checkpoints to keep; 0 keeps all.
        """
        super().__init__(variables, max_to_keep=None)
        found = tf.global_variables() if variables is None else variables
        if not isinstance(found, Mapping):
            found = {variable.op.name: variable for variable in found}
        self._variables, self._keep = dict(found), keep

    def save(
        self, sess: tf.Session, save_path: str, global_step: int | None = None, **options
    ) -> str:
        """Saves a checkpoint and returns its prefix; the arguments are those of tf.train.Saver.

        Raises:
            TrainingError: a variable is not finite, or the files cannot be written.
        """
        # Checked in numpy: ops for it, five per variable, would make every program start later.
        floating = [v for v in self._variables.values() if v.dtype.base_dtype.is_floating]
        are_finite = all(np.isfinite(value).all() for value in sess.run(floating))
        check_finite(are_finite, "a variable", global_step)
        numbered = save_path if global_step is None else f"{save_path}-{global_step}"
        folder, name = pathlib.Path(save_path).parent, pathlib.Path(numbered).name
        before, kept = _read_state(folder)
        try:
            # Temporary files of runs that were killed while they were saving.
            files.sweep(folder)
            for leftover in filter(_UNFINISHED.fullmatch, _names(folder)):
                (folder / leftover).unlink()
            # Record the name first, so that a run that is killed here knows the files as its own.
            kept = [other for other in kept if other != name and exists(str(folder / other))]
            kept.append(name)
            if before:
                _write_state(folder, before, kept)
            prefix = super().save(sess, save_path, global_step, write_state=False, **options)
            for file in _files_of(folder, name):
                files.to_disk(file)
            files.to_disk(folder)
            dropped = kept[: -self._keep] if self._keep else []
            _write_state(folder, name, kept[len(dropped) :])
            for file in (path for other in dropped for path in _files_of(folder, other)):
                file.unlink()
        except Exception as error:
            if is_failed_write(error) or isinstance(error, tf.errors.OpError):
                raise TrainingError(
                    f"no checkpoint could be saved in '{folder}' ({reason(error)}); free space "
                    "or name another folder, and start again; the last checkpoint is intact"
                ) from error
            raise
        return prefix

    def restore(self, sess: tf.Session, save_path: str) -> None:
        """Restores the variables from a checkpoint in V1 or V2 format.

        Integers may have another width than the variable's, and the step counter may have the
        cookbook's name.

        Raises:
            DamagedCheckpoint: the checkpoint cannot be read.
            UsageError: it does not fit; the message lists each missing, surplus and misshapen
                variable.
        """
        with _reader(save_path) as reader:
            shapes = reader.get_variable_to_shape_map()
            types = {name: tf.as_dtype(t) for name, t in reader.get_variable_to_dtype_map().items()}
            names = {name: _name_in(shapes, name) for name in self._variables}
            _check_fit(save_path, shapes, types, self._variables, names)
            # TensorFlow's restore op expects one fixed name and dtype for each variable.
            if all(
                name == names[name] and types[name] == variable.dtype.base_dtype
                for name, variable in self._variables.items()
            ):
                super().restore(sess, save_path)
                return
            for name, variable in self._variables.items():
                saved = reader.get_tensor(names[name])
                variable.load(saved.astype(variable.dtype.as_numpy_dtype), sess)


def _name_in(shapes: Mapping[str, list[int]], name: str) -> str:
    """Returns the name of a variable in the checkpoint."""
    is_cookbooks = (
        name == _STEP_NAMES[0] and name not in shapes and shapes.get(_STEP_NAMES[1]) == []
    )
    return _STEP_NAMES[1] if is_cookbooks else name


def _files_of(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Returns a checkpoint's files, the index before the data; no index means no checkpoint."""
    pattern = re.compile(re.escape(name) + r"\.(index|meta|data-\d+-of-\d+)")
    return [
        folder / file for file in sorted(_names(folder), reverse=True) if pattern.fullmatch(file)
    ]


def _write_state(folder: pathlib.Path, newest: str, kept: list[str]) -> None:
    """Writes the state file with names relative to the folder, which can then be moved."""
    lines = [f'model_checkpoint_path: "{newest}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in kept]
    files.write_text(folder / STATE_FILE, "\n".join(lines) + "\n")


def recorded(folder: str | os.PathLike) -> list[str]:
    """Returns the names of the checkpoints that the run in `folder` wrote and kept."""
    return _read_state(pathlib.Path(folder))[1]


def make_newest(prefix: str) -> None:
    """Makes the state file name the checkpoint `prefix` as the newest of its folder."""
    path = pathlib.Path(prefix)
    _write_state(path.parent, path.name, recorded(path.parent))


def compare(saved: Mapping[str, list[int]], wanted: Mapping[str, list[int]]) -> list[str]:
    """Returns one line per difference between the shapes in a checkpoint and in a graph.

    Each line starts with "missing", "misshapen" or "surplus".
    """
    lines = []
    for name in sorted(wanted.keys() | saved.keys()):
        if name not in saved:
            lines.append(f"missing in the checkpoint: {name} {wanted[name]}")
        elif name not in wanted:
            lines.append(f"surplus in the checkpoint: {name} {saved[name]}")
        elif wanted[name] != saved[name]:
            lines.append(
                f"misshapen: {name} is {saved[name]} in the checkpoint, {wanted[name]} in the graph"
            )
    return lines


def _check_fit(prefix: str, shapes: Any, types: Any, variables: Any, names: dict) -> None:
    wanted = {names[name]: variable.shape.as_list() for name, variable in variables.items()}
    lines = compare(shapes, wanted)
    for name, variable in variables.items():
        found, needed = types.get(names[name]), variable.dtype.base_dtype
        if found not in (None, needed) and not (found.is_integer and needed.is_integer):
            lines.append(f"mistyped: {name} is {found.name} there, {needed.name} in the graph")
    if any(not line.startswith("surplus") for line in lines):
        raise UsageError(
            f"the checkpoint '{prefix}' does not fit this graph:\n  "
            + "\n  ".join(lines)
            + "\nName a checkpoint of the same net."
        )


def check_finite(is_finite: bool | np.bool_, what: str, step: int | None) -> None:
    """Raises TrainingError unless `is_finite`; `what` names the value, such as "the loss"."""
    if not is_finite:
        when = "" if step is None else f" at step {step}"
        raise TrainingError(
            f"{what} is not finite{when}, so training has stopped; the last checkpoint is "
            "unchanged; a lower --learning_rate with --fresh usually helps"
        )
