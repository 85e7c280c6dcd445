"""Evaluate, predict and export: the programs that use a trained net, shared by all tutorials.

Each tutorial's `evaluate.py`, `predict.py` and `export.py` call these functions with their own
subclass of `trained.TrainedNet`.
"""

import argparse
import concurrent.futures
import functools
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from tutorial_support import (
    SPLITS,
    TEST,
    TRAIN,
    checkpoints,
    event_files,
    files,
    pictures,
    plots,
    runs,
    summaries,
    trained,
)
from tutorial_support.programs import (
    LOG,
    ArgumentParser,
    TrainingError,
    UsageError,
    is_failed_write,
    number,
    one_line,
)

_ORIGIN = "origin.json"  # every export has it
_BATCH = 16  # pictures that are prepared in parallel and classified together
_OTHER_SPLIT_NAMES = {"training": TRAIN, "testing": TEST}  # of earlier versions


def _parser(kind: type[trained.TrainedNet], description: str | None) -> ArgumentParser:
    parser = ArgumentParser(description)
    group = parser.add_argument_group("net")
    group.add_argument(
        "--checkpoint",
        default=kind.default_checkpoint,
        help="The checkpoint to use, or a run folder, which means its newest checkpoint.",
    )
    kind.add_flags(group)
    return parser


# Evaluation


def evaluate(
    kind: type[trained.TrainedNet], description: str | None, argv: list[str] | None
) -> int:
    """Implements the `main` of an evaluation program; returns the exit code."""
    parser = _parser(kind, description)
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--split",
        choices=[*SPLITS, *_OTHER_SPLIT_NAMES],
        default=TEST,
        help="The part of the data to evaluate on.",
    )
    group.add_argument(
        "--output_dir",
        "--eval_dir",
        help="Folder for the event file and pictures. By default the folder 'evaluation' next to "
        "the checkpoint.",
    )
    group.add_argument(
        "--eval_interval_secs",
        type=number(float, 0.01),
        help="Keep running: look for a new checkpoint this often and evaluate it. By default the "
        "program evaluates once.",
    )
    group.add_argument(
        "--checkpoint_wait_secs",
        type=number(float, 0.1),
        help="With --eval_interval_secs, give up if no new checkpoint appears for this long. By "
        "default there is no limit.",
    )
    kind.add_data_flags(parser)
    flags = parser.parse_args(argv)
    flags.split = _OTHER_SPLIT_NAMES.get(flags.split, flags.split)
    if flags.checkpoint_wait_secs is not None and flags.eval_interval_secs is None:
        raise UsageError(
            "--checkpoint_wait_secs has no effect without --eval_interval_secs; add it"
        )
    is_checkpoint = pathlib.Path(f"{flags.checkpoint}.index").exists()
    if flags.eval_interval_secs is None or is_checkpoint:
        evaluate_once(kind.find(flags.checkpoint, flags), flags)
        return 0
    with runs.StopSignals() as stop:
        for prefix in new_checkpoints(flags.checkpoint, flags, stop):
            try:
                net = kind.find(prefix, flags)
                evaluate_once(net, flags)
            except UsageError:
                if checkpoints.exists(prefix):
                    raise
                LOG.warning("'%s' was deleted during its evaluation; taking a newer one", prefix)
                continue
            # Asynchronous workers may overshoot the last step by a few steps.
            if (net.step or 0) >= runs.read_flags(flags.checkpoint).get("last_step", math.inf):
                break
    return stop.exit_code


def evaluate_once(net: trained.TrainedNet, flags: argparse.Namespace) -> None:
    """Evaluates one checkpoint: prints the accuracy, draws plots and writes an event file.

    Raises:
        UsageError: the data or the checkpoint cannot be used, or the split is empty.
    """
    examples = net.examples(flags, flags.split)
    if not len(examples.labels):
        raise UsageError(f"there are no {flags.split} images; name another --split")
    sample = ", on the shipped sample" if examples.is_sample else ""
    print(f"Evaluating '{net.prefix}', step {net.step}{sample}.")
    logits = net.logits_of(examples)
    matrix = plots.confusion_matrix(examples.labels, logits)
    correct, count = int(np.trace(matrix)), len(examples.labels)
    print(net.accuracy_line(flags.split, correct, count))
    plots.print_confusion(matrix, net.class_names)

    folder = pathlib.Path(flags.output_dir or pathlib.Path(net.prefix).parent / "evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    folder_name = pathlib.Path(net.prefix).parent.name
    settings = "".join(f", {value} {what}" for what, value in net.settings.items())
    name = flags.split + settings.replace(", ", "-").replace(" ", "-")
    suffix = f".{len(list(folder.glob('*tfevents*')))}"
    with (
        tf.Graph().as_default(),
        tf.summary.FileWriter(str(folder), filename_suffix=suffix) as writer,
    ):
        summaries.write_scalar(writer, f"accuracy/{name}", correct / count, net.step or 0)
    sample = " of the shipped sample" * examples.is_sample
    title = f"{flags.split.capitalize()} images{sample}, {folder_name} at step {net.step}{settings}"
    drawn = plots.draw_predictions(
        folder,
        examples.labels,
        logits,
        net.class_names,
        examples.pictures,
        title,
        ending=f"-{name}",
    )
    print(f"Pictures: {folder}/{', '.join(drawn)}")


def new_checkpoints(
    folder: str | os.PathLike, flags: argparse.Namespace, stop: runs.StopSignals
) -> Iterator[str]:
    """Yields the newest checkpoint of a run folder each time there is a new one, until a signal.

    Args:
        folder: the run folder.
        flags: with `eval_interval_secs` and `checkpoint_wait_secs` (None means no limit).
        stop: a StopSignals that has been entered.

    Raises:
        UsageError: `folder` is a file.
        TrainingError: no new checkpoint appeared within `checkpoint_wait_secs`.
    """
    if pathlib.Path(folder).is_file():
        raise UsageError(f"'{folder}' is a file; name the folder of a run")
    if checkpoints.newest(folder) is None:
        missing = "" if pathlib.Path(folder).exists() else ", a folder that does not exist yet"
        runs.print_line(f"Waiting for the first checkpoint in '{folder}'{missing}.")
    seen, last_time = None, time.monotonic()
    wait_secs = flags.checkpoint_wait_secs or math.inf
    while not stop.requested:
        prefix = checkpoints.newest(folder)
        if prefix is not None and prefix != seen:
            yield prefix
            seen, last_time = prefix, time.monotonic()
        if time.monotonic() - last_time > wait_secs:
            raise TrainingError(
                f"'{folder}' has had no new checkpoint for {wait_secs:g} s; check the output of "
                "the training, or raise --checkpoint_wait_secs"
            )
        due = time.monotonic() + flags.eval_interval_secs
        while time.monotonic() < due and not stop.requested:
            time.sleep(min(0.2, flags.eval_interval_secs))


# Prediction


def predict(
    kind: type[trained.TrainedNet], description: str | None, argv: list[str] | None, top: int = 3
) -> int:
    """Implements the `main` of a program that classifies pictures; returns the exit code.

    An unreadable picture does not stop the others.

    Raises:
        UsageError: after all other pictures, if some could not be classified.
    """
    parser = _parser(kind, description)
    parser.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="A picture file or a folder of pictures."
    )
    add = parser.add_argument_group("output").add_argument
    add("--top", type=number(int, 1), default=top, help="Number of classes to print per picture.")
    add("--json", action="store_true", help="Print the predictions as a JSON array.")
    add("--show", action="store_true", help="Also print each preprocessed picture as characters.")
    flags = parser.parse_args(argv)
    net = kind.find(flags.checkpoint, flags)
    paths = pictures.find(flags.pictures)
    results, refused = [], []
    for path, image, probabilities in _classified(net, paths):
        if isinstance(image, UsageError):
            refused.append(str(image))
            continue
        best = trained.likeliest(probabilities, flags.top)
        labels = [{"label": net.class_names[i], "score": float(probabilities[i])} for i in best]
        results.append({"image": str(path), "labels": labels, **net.settings})
        if not flags.json:
            print("\n".join(net.prediction_lines(one_line(str(path)), probabilities, flags.top)))
            if flags.show:
                print(pictures.as_characters(image))
    if flags.json:
        print(json.dumps(results, indent=2))
    if refused:
        raise UsageError("\nerror: ".join(refused))
    return 0


def _classified(
    net: trained.TrainedNet, paths: list[pathlib.Path]
) -> Iterator[tuple[pathlib.Path, np.ndarray | UsageError, np.ndarray]]:
    """Yields (path, prepared picture or error, probabilities) for each path."""
    nothing = np.zeros(0)
    with net.opened() as (sess, tensors), concurrent.futures.ThreadPoolExecutor() as threads:
        prepare = functools.partial(_prepared, net, sess, tensors)
        for start in range(0, len(paths), _BATCH):
            some = paths[start : start + _BATCH]
            images = list(threads.map(prepare, some))
            good = [image for image in images if not isinstance(image, UsageError)]
            logits = sess.run(tensors.logits, {tensors.images: np.stack(good)}) if good else nothing
            found = iter(plots.softmax(logits) if good else nothing)
            for path, image in zip(some, images, strict=True):
                scores = nothing if isinstance(image, UsageError) else next(found)
                if not np.isfinite(scores).all():
                    image = UsageError(
                        f"{path}: the net's output is not finite; name another picture"
                    )
                yield path, image, scores


def _prepared(
    net: trained.TrainedNet, sess: tf.Session, tensors: trained.Tensors, path: pathlib.Path
) -> np.ndarray | UsageError:
    try:
        return net.prepare(sess, tensors, path)
    except UsageError as error:
        return error


# Export


def export(kind: type[trained.TrainedNet], description: str | None, argv: list[str] | None) -> int:
    """Implements the `main` of a program that exports a trained net; returns the exit code.

    It writes `saved_model/`, `frozen_graph.pb`, `labels.txt` with one class per line,
    `origin.json` with what is known of the training, and with --tflite `model.tflite`.

    Raises:
        UsageError: the net cannot be restored or the folder cannot be written.
    """
    parser = _parser(kind, description)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output_dir",
        "--export_dir",
        help="Folder for the files. By default the folder 'export' next to the checkpoint.",
    )
    group.add_argument(
        "--tflite",
        action="store_true",
        help="Also write model.tflite, for mobile and embedded devices.",
    )
    flags = parser.parse_args(argv)
    net = kind.find(flags.checkpoint, flags)
    folder = pathlib.Path(flags.output_dir or pathlib.Path(net.prefix).parent / "export")
    checkpoints.check_path(folder)  # a SavedModel contains a checkpoint
    try:
        with files.temporary_folder(folder / "new") as new:
            with net.opened() as (sess, tensors):
                probabilities = tf.nn.softmax(tensors.logits, name=net.output)
                classes = tf.argmax(tensors.logits, axis=1, name="classes")
                outputs = [probabilities, classes]
                if tensors.bottleneck is not None:
                    outputs.append(tf.identity(tensors.bottleneck, "bottleneck"))
                names = [tensor.op.name for tensor in outputs]
                graph_def = sess.graph_def
                frozen = tf.graph_util.convert_variables_to_constants(sess, graph_def, names)
                content = frozen.SerializeToString(deterministic=True)
                (new / "frozen_graph.pb").write_bytes(content)
                _write_saved_model(sess, new / "saved_model", tensors, classes, probabilities)
            if flags.tflite:
                converter = tf2.lite.TFLiteConverter.from_saved_model(
                    str(new / "saved_model"), signature_keys=["serving_default"]
                )
                (new / "model.tflite").write_bytes(converter.convert())
            labels = "".join(f"{one_line(name)}\n" for name in net.class_names)
            files.write_text(new / "labels.txt", labels)
            files.write_text(new / _ORIGIN, json.dumps(_origin(net), indent=2) + "\n")
            _put_in_place(new, folder)
    except OSError as error:
        if is_failed_write(error):
            raise
        raise UsageError(
            f"'{folder}' cannot be written: {error.strerror}; name another --output_dir"
        ) from error
    print(f"Exported '{net.prefix}', step {net.step}, to '{folder}'.")
    return 0


def _put_in_place(new: pathlib.Path, folder: pathlib.Path) -> None:
    """Moves an export into its folder; other files in the folder are kept.

    If a file of the same name is not from an earlier export, nothing is moved.

    It deletes the files of an older export first. If the program is killed in between, the export
    is incomplete, but it never mixes the files of two nets.
    """
    moves = [(path, folder / path.relative_to(new)) for path in sorted(new.rglob("*"))]
    is_export = (folder / _ORIGIN).is_file()
    for path, target in moves:
        is_other = target.is_dir() != path.is_dir() or not (is_export or path.is_dir())
        if target.exists() and is_other:
            raise UsageError(f"'{target}' is in the way; move it or name another --output_dir")
    if (old := folder / "model.tflite").exists() and not (new / old.name).exists():
        LOG.warning("'%s' is from an earlier export; add --tflite to update it", old)
    files.tree_to_disk(new)
    folders = [folder, *(target for path, target in moves if path.is_dir())]
    for target in folders:
        target.mkdir(exist_ok=True)
    files_moved = [(path, target) for path, target in moves if not path.is_dir()]
    # First the file that shows that the folder holds an export; it is deleted last.
    files_moved.sort(key=lambda move: move[0].name != _ORIGIN)
    for _, target in reversed(files_moved):
        target.unlink(missing_ok=True)
    for target in folders:
        files.to_disk(target)
    for path, target in files_moved:
        path.replace(target)
    for target in folders:
        files.to_disk(target)


def _write_saved_model(
    sess: tf.Session,
    folder: pathlib.Path,
    tensors: trained.Tensors,
    classes: tf.Tensor,
    probabilities: tf.Tensor,
) -> None:
    """Writes a SavedModel.

    Its signature `serving_default` takes a batch of images. A net with a JPEG input also has the
    signature `jpeg`, which takes the bytes of one JPEG. Both return `classes` and `probabilities`.
    """
    outputs = {"classes": classes, "probabilities": probabilities}
    sign = tf.saved_model.predict_signature_def
    signatures = {"serving_default": sign({"images": tensors.images}, outputs)}
    if tensors.jpeg is not None:
        signatures["jpeg"] = sign({"jpeg": tensors.jpeg}, outputs)
    builder = tf.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(sess, [tf2.saved_model.SERVING], signatures)
    builder.save()


def _origin(net: trained.TrainedNet) -> dict:
    """Returns the content of origin.json: step, settings, flags, last test accuracy, classes."""
    folder = pathlib.Path(net.prefix).parent
    accuracy = None
    if any(path.is_file() for path in folder.glob("*tfevents*")):
        steps, values = event_files.scalars(folder).get("accuracy/test", ([], []))
        accuracy = dict(zip(steps, values, strict=True)).get(net.step or 0)
    if net.settings:  # the training's accuracy was measured without them
        accuracy = None
    path_flags = ("_dir", "base_graph", "weights")
    return {
        "checkpoint": pathlib.Path(net.prefix).name,
        "global_step": net.step,
        **net.settings,
        "test_accuracy": None if accuracy is None else round(accuracy, 6),
        "tensorflow": tf.__version__,
        "flags": {k: v for k, v in net.flags.items() if not k.endswith(path_flags)},
        "class_names": net.class_names,
    }
