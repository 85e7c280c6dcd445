"""Keras' files: whole models or only weights, in HDF5 or in a zip file with HDF5 in it."""

import collections
import contextlib
import json
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py

from porting.kinds.description import Description, Tensor
from porting.kinds.snippets import value
from tutorial_support import files

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LARGEST_TEXT = 1 << 26  # bytes of a model's description
_LARGEST_PACKED = 1 << 30  # bytes of compressed weights
_REMEDY = "save it again, or name another file"


def is_keras_file(path: pathlib.Path) -> bool:
    """Returns whether a file is HDF5, or a zip file with a Keras model in it."""
    with path.open("rb") as stream:
        if stream.read(len(_HDF5)) == _HDF5:
            return True
    if not zipfile.is_zipfile(path):
        return False
    with files.reading(path, _REMEDY), zipfile.ZipFile(path) as packed:
        return "config.json" in packed.namelist()


def describe(path: pathlib.Path) -> Description:
    """Describes a Keras file; raises UsageError if it is damaged."""
    with files.reading(path, _REMEDY):
        if zipfile.is_zipfile(path):
            return _describe_zip(path)
        with h5py.File(path, "r") as file:
            return _describe_h5(path, file)


def _describe_zip(path: pathlib.Path) -> Description:
    with zipfile.ZipFile(path) as packed:
        metadata = json.loads(_read(packed, "metadata.json"))
        config = json.loads(_read(packed, "config.json"))
        found = Description(str(path), "a whole Keras model (.keras)")
        found.written_by = f"Keras {metadata.get('keras_version')}, {metadata.get('date_saved')}"
        if "model.weights.h5" in packed.namelist():
            with _member(packed, "model.weights.h5") as file:
                found.variables = _arrays(file)
    _add_model(found, config)
    return found


def _read(packed: zipfile.ZipFile, name: str) -> bytes:
    with packed.open(name) as member:
        content = member.read(_LARGEST_TEXT + 1)
    if len(content) > _LARGEST_TEXT:
        raise ValueError(f"its {name} is too large")
    return content


@contextlib.contextmanager
def _member(packed: zipfile.ZipFile, name: str) -> Iterator[h5py.File]:
    """Yields an HDF5 file inside a zip file, which is read on demand."""
    info = packed.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > _LARGEST_PACKED:
        raise ValueError("its weights are compressed and too large")
    with packed.open(info) as member, h5py.File(member, "r") as file:
        yield file


def _describe_h5(path: pathlib.Path, file: h5py.File) -> Description:
    attributes = file.attrs
    group = file.get("model_weights", file)
    version = _text(attributes.get("keras_version") or group.attrs.get("keras_version"))
    found = Description(str(path), "", variables=_arrays(file))
    found.written_by = f"Keras {version}" if version else "the file does not say"
    if "model_config" in attributes:
        found.kind = "a whole Keras model (HDF5)"
        _add_model(found, json.loads(_text(attributes["model_config"])))
        _warn_of_other_keras(found, version)
        return found
    if "layer_names" in group.attrs:
        found.kind = "weights of a Keras model, by its layers' names (HDF5, as Keras 2 wrote them)"
    elif any(v.name.rpartition("/")[0].endswith("vars") for v in found.variables):
        found.kind = "weights of a Keras model, by its layers' order (.weights.h5 of Keras 3)"
    else:
        found.kind = "an HDF5 file that is not from Keras"
    if found.variables:
        found.notes.append(
            "It holds no model: build the model in code; then model.load_weights reads the file."
        )
        found.code = (
            f"import h5py\n\nwith h5py.File({str(path)!r}, 'r') as file:\n"
            f"    value = file[{found.variables[0].name!r}][()]\n"
        )
    return found


def _warn_of_other_keras(found: Description, version: str) -> None:
    import keras

    if version.partition(".")[0] != keras.__version__.partition(".")[0]:
        found.notes.append(
            f"Keras {version} wrote it, but {keras.__version__} is installed, which cannot load "
            "everything from the other version: if it refuses an argument, install tf_keras and "
            "set TF_USE_LEGACY_KERAS=1."
        )


def _text(content: Any) -> str:
    return content.decode() if isinstance(content, bytes) else str(content or "")


def _arrays(file: h5py.File) -> list[Tensor]:
    found: list[Tensor] = []

    def visit(key: str, item: h5py.HLObject) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        note = "stored in another file" if item.external or item.is_virtual else ""
        name = item.parent.attrs.get("name", "") if item.parent.name.endswith("/vars") else ""
        note = note or (f"of {_text(name)}" if name else "")
        shape = None if item.shape is None else tuple(item.shape)
        found.append(
            Tensor(key, str(item.dtype), shape, item.nbytes if shape is not None else 0, note)
        )

    file.visititems(visit)
    return found


def _add_model(found: Description, config: dict[str, Any]) -> None:
    """Adds the content of a model's description: layers, inputs, and code that they may run."""
    of_the_model = _members(config)
    if not _is_known(config):
        found.unknown_ops[config["class_name"]] = [str(_settings(config).get("name", "the model"))]
    for layer in _layers(config):
        kind = layer["class_name"]
        settings = _settings(layer)
        name = str(settings.get("name", kind))
        found.ops[kind] = found.ops.get(kind, 0) + 1
        if kind == "Lambda":
            found.effects.setdefault("Lambda (runs Python from the file)", []).append(name)
        elif not _is_known(layer):
            found.unknown_ops.setdefault(kind, []).append(name)
        shape = settings.get("batch_shape") or settings.get("batch_input_shape")
        # The input layers of a nested model are not inputs of the whole.
        is_input = kind == "InputLayer" and any(layer is member for member in of_the_model)
        if shape and (is_input or not found.inputs):
            dtype = settings.get("dtype", "float32")
            dtype = dtype if isinstance(dtype, str) else dtype["config"]["name"]
            found.inputs.append(Tensor(name, dtype, tuple(shape)))
    if found.unknown_ops:
        found.notes.append(
            "Keras does not have all of these layers: load the model with custom_objects, which "
            "maps each name to its class."
        )
    if found.effects:
        found.notes.append(
            "Keras loads a Lambda layer only with safe_mode=False, which runs its code."
        )
    if not (found.unknown_ops or found.effects):
        found.code = _code(found)


def _layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the descriptions of all layers: first the model's, then those inside of them."""
    front = collections.deque(_members(config))
    while front:
        layer = front.popleft()
        front += _members(layer)
        yield layer


def _members(layer: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the descriptions of a model's layers, or of the layer inside a wrapper."""
    inner = layer.get("config")
    if isinstance(inner, dict):
        inner = [*inner.get("layers", []), inner.get("layer")]
    # In Keras 1, the whole config of a Sequential model is the list of its layers.
    return [m for m in inner or [] if isinstance(m, dict) and "class_name" in m]


def _settings(layer: dict[str, Any]) -> dict[str, Any]:
    settings = layer.get("config")
    return settings if isinstance(settings, dict) else {}


def _is_known(layer: dict[str, Any]) -> bool:
    """Returns whether Keras has the class of a layer, a nested model or an op in a model."""
    import keras

    kind, module = layer["class_name"], str(layer.get("module", ""))
    is_public = hasattr(keras.layers, kind) or hasattr(keras, kind)
    return is_public or kind == "Functional" or module.startswith("keras.")


def _code(found: Description) -> str:
    lines = ["import keras", "import numpy as np", ""]
    lines += [f"model = keras.models.load_model({found.path!r}, compile=False)"]
    values = [value(tensor) for tensor in found.inputs]
    if any(tensor.dtype == "string" for tensor in found.inputs):
        # Keras takes text only as a tensor, and then all other inputs as well.
        values = [f"keras.ops.convert_to_tensor({text})" for text in values]
    if len(found.inputs) == 1:
        lines += [f"outputs = model({values[0]}, training=False)"]
    elif found.inputs:
        lines += ["inputs = {"]
        lines += [
            f"    {tensor.name!r}: {text},"
            for tensor, text in zip(found.inputs, values, strict=True)
        ]
        lines += ["}", "outputs = model(inputs, training=False)"]
    return "\n".join(lines) + "\n"
