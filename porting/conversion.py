"""The steps of a checkpoint conversion: read, drop, rename and cast variables."""

import dataclasses
import difflib
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow.compat.v1 as tf

from porting.kinds import checkpoint
from porting.presets import STEP, SUFFIXES, Preset
from tutorial_support import checkpoints
from tutorial_support.programs import UsageError, reason

# Keys under which Keras' exports hold every variable a second time.
_KERAS_COPY = re.compile(r"_all_variables/\d+/")


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable during conversion.

    Attributes:
        source: its name in SRC; None if it is added.
        name: its name in DST.
        value: its value in DST.
    """

    source: str | None
    name: str
    value: np.ndarray

    def __str__(self) -> str:
        kind = f"{list(self.value.shape)} {_type_name(self.value)}"
        return f"{self.source or '(added)'} -> {self.name}  {kind}"


def read(prefix: str) -> list[Variable]:
    """Reads the variables of a checkpoint; in an object-based one, finds their own names.

    Keras' exports hold every variable twice; it is returned once. If several variables have the
    same name, only the path through the objects identifies them. The states of iterators are left
    out, because no other program could use them.

    Raises:
        UsageError: the checkpoint is damaged.
    """
    found = values(prefix)
    if found.pop(checkpoint.OBJECT_GRAPH, None) is None:
        return [Variable(name, name, found[name]) for name in sorted(found)]
    by_name: dict[str, list[str]] = defaultdict(list)
    for key, name in checkpoint.full_names(prefix).items():
        if key in found:
            by_name[name].append(key)
    for keys in by_name.values():
        originals = [key for key in keys if not _KERAS_COPY.match(key)]
        for key in set(keys) - set(originals):
            if any(is_same(found[key], found[original]) for original in originals):
                keys.remove(key)
                del found[key]
    names = {keys[0]: name for name, keys in by_name.items() if len(keys) == 1}
    return [
        Variable(key, names.get(key, checkpoint.path_in_objects(key)), found[key])
        for key in sorted(found)
    ]


def is_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether two arrays have the same type, shape and values; NaN equals NaN."""
    same_kind = one.dtype == other.dtype and one.shape == other.shape
    return same_kind and (one.tolist() == other.tolist() or one.tobytes() == other.tobytes())


def values(prefix: str) -> dict[str, np.ndarray]:
    """Returns the value of each variable of numbers or text by name; text has the dtype object.

    It reads with the op that a Saver uses, which also joins the parts of format V1.

    Raises:
        UsageError: the checkpoint is damaged.
    """
    types = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    names = sorted(name for name, kind in types.items() if kind not in (tf.variant, tf.resource))
    with tf.Graph().as_default(), tf.Session() as sess:
        whole = [""] * len(names)  # an empty spec asks for the whole variable
        tensors = tf.raw_ops.RestoreV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=whole,
            dtypes=[types[n] for n in names],
        )
        try:
            found = sess.run(tensors)
        except tf.errors.OpError as error:
            raise checkpoints.DamagedCheckpoint(
                f"the checkpoint '{prefix}' cannot be read ({reason(error)}); name another one"
            ) from error
    # A session returns a scalar of text as bytes, and anything else as an array or its scalar.
    arrays = (np.array(v, object) if isinstance(v, bytes) else np.asarray(v) for v in found)
    return dict(zip(names, arrays, strict=True))


# The steps of a conversion


def drop(variables: list[Variable], patterns: Iterable[str]) -> list[Variable]:
    """Returns the variables whose names match none of the regular expressions.

    Raises:
        UsageError: a pattern matches nothing, or is not a regular expression.
    """
    for pattern in patterns:
        regex = _compiled("--drop", pattern)
        kept = [variable for variable in variables if not regex.search(variable.name)]
        if len(kept) == len(variables):
            raise UsageError(f"--drop {pattern}: no variable matches; --dry-run lists them")
        variables = kept
    return variables


def rename(variables: list[Variable], pairs: Mapping[str, str]) -> list[Variable]:
    """Returns the variables under new names.

    Raises:
        UsageError: an old name does not exist.
    """
    names = [variable.name for variable in variables]
    for old in pairs.keys() - set(names):
        near = difflib.get_close_matches(old, names)
        similar = f"similar names: {', '.join(near)}" if near else "no similar name"
        raise UsageError(f"--rename {old}: no such variable ({similar}); --dry-run lists all")
    return [dataclasses.replace(v, name=pairs.get(v.name, v.name)) for v in variables]


def replace(variables: list[Variable], pattern: str, replacement: str) -> list[Variable]:
    """Replaces a regular expression in the variables' names, as `re.sub` does.

    Raises:
        UsageError: the pattern matches nothing, or a pattern is wrong.
    """
    regex = _compiled("--replace", pattern)
    if not any(regex.search(variable.name) for variable in variables):
        raise UsageError(f"--replace {pattern}: no variable matches; --dry-run lists them")
    try:
        return [dataclasses.replace(v, name=regex.sub(replacement, v.name)) for v in variables]
    except (re.error, IndexError) as error:
        raise UsageError(f"--replace {pattern} {replacement}: {error}") from error


def cast(variables: list[Variable], pattern: str, dtype: str) -> list[Variable]:
    """Casts the variables whose names match to another type.

    Raises:
        UsageError: no name matches, the type is unknown, or a value does not fit into it.
    """
    regex = _compiled("--cast", pattern)
    try:
        kind = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"--cast {pattern} {dtype}: there is no type '{dtype}'; name one such as float32"
        ) from error
    if kind.hasobject or kind.names:  # text, or TensorFlow's quantized types
        raise UsageError(
            f"--cast {pattern} {dtype}: numbers cannot be cast to this type; name one such as "
            "float32"
        )
    if not any(regex.search(variable.name) for variable in variables):
        raise UsageError(f"--cast {pattern}: no variable matches; --dry-run lists them")
    matching = f"--cast {pattern} {dtype}"
    return [
        dataclasses.replace(v, value=_as_type(v, kind, matching)) if regex.search(v.name) else v
        for v in variables
    ]


def _as_type(variable: Variable, kind: np.dtype, flag: str) -> np.ndarray:
    """Returns the value in another type; `flag` asked for it and begins the error message.

    A type for integers must hold each value exactly. A type for fractions may round them, but may
    not turn a number into infinity or NaN.
    """
    value = variable.value
    if object in (value.dtype, kind):
        raise UsageError(f"{flag}: '{variable.name}' holds text, not numbers; leave it out")
    with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for an imaginary part that is lost
        # NumPy does not say this of bfloat16, float8 and int4, which are not its own types.
        holds_fractions = np.array(0.5).astype(kind).astype(complex) == 0.5
        found = value.astype(kind)
        back = found.astype(value.dtype)
    if not holds_fractions or (np.iscomplexobj(value) and not np.iscomplexobj(found)):
        fits = np.array_equal(back, value, equal_nan=np.issubdtype(value.dtype, np.inexact))
    else:
        fits = all(np.array_equal(test(found), test(value)) for test in (np.isnan, np.isinf))
    if not fits:
        raise UsageError(
            f"{flag}: a value of '{variable.name}' does not fit into {kind.name}; use another type"
        )
    return found


def apply_preset(variables: list[Variable], preset: Preset, back: bool) -> list[Variable]:
    """Returns the variables that both programs have, under the other program's names.

    Raises:
        UsageError: a variable is missing, so the checkpoint comes from another program.
    """
    here = {variable.name: variable for variable in variables}
    found = []
    for ours, theirs in preset.names.items():
        sources = (ours,) if back else theirs
        source = next((name for name in sources if name in here), None)
        if source is None:
            of = preset.restored_by if back else preset.program
            raise UsageError(
                f"it has no variable '{sources[0]}', so it is not a checkpoint of {of}; use "
                "another --preset, or --rename"
            )
        for suffix in SUFFIXES if not back or preset.needs_averages else SUFFIXES[:1]:
            if variable := here.get(source + suffix):
                name = (theirs[0] if back else ours) + suffix
                found.append(dataclasses.replace(variable, name=name))
    if back and preset.needs_averages and not any(v.name.endswith(SUFFIXES[1]) for v in found):
        # Their evaluation restores only averages. If there are none, use the variables' values.
        found += [Variable(None, v.name + SUFFIXES[1], v.value) for v in found]
    steps = (STEP, *preset.their_steps)
    step = next((here[name] for name in steps if name in here and here[name].value.ndim == 0), None)
    if back and preset.their_steps:
        found += [_step(step, preset.their_steps[0], preset.their_step_type)]
    elif not back:
        found += [_step(step, STEP, "int64")]
    return found


def _step(step: Variable | None, name: str, dtype: str) -> Variable:
    if step is None:
        return Variable(None, name, np.array(0, dtype))
    value = _as_type(step, np.dtype(dtype), "--preset")
    return dataclasses.replace(step, name=name, value=value)


def with_step(variables: list[Variable], step: int) -> list[Variable]:
    """Returns the variables with `global_step` set to `step`, or added if it is missing."""
    old = {v.name: v for v in variables}.get(STEP)
    new = Variable(old.source if old else None, STEP, np.array(step, np.int64))
    if old is not None:
        new = dataclasses.replace(new, value=_as_type(new, old.value.dtype, f"--step {step}"))
    return [v for v in variables if v is not old] + [new]


def _compiled(flag: str, pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{flag} {pattern}: not a regular expression ({error})") from error


def _type_name(value: np.ndarray) -> str:
    return "string" if value.dtype == object else str(value.dtype)
