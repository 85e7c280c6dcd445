"""Trains a new head on a pretrained net, then fine-tunes the upper layers of the net with it.

    python -m catsdogs_finetune.train
    python -m catsdogs_finetune.train --data_dir my_photos --weights mobilenet_v2.h5
    python -m catsdogs_finetune.train --no_augmentation --train_dir logs/catsdogs_plain
    tensorboard --logdir logs

The same command again resumes a run that was stopped, or trains it for more epochs.
"""

import argparse
import functools
import json
import pathlib
import sys
import types
from collections.abc import Iterable
from typing import Any

from tutorial_support import SPLITS, TEST, VALIDATION, programs

if __name__ == "__main__":
    programs.before_tensorflow()

import numpy as np
import tensorflow.compat.v1 as tf
from six.moves import xrange

from catsdogs_finetune import mobilenet_v2, photo_input, pretrained
from catsdogs_finetune.kept_bottlenecks import KeptBottlenecks
from tutorial_support import checkpoints, events, files, image_lists, plots, runs
from tutorial_support.programs import number

TRAIN_DIR = "logs/catsdogs"
EPOCHS, SAMPLE_EPOCHS = 10, 40  # of each phase: the original's, and those for the small sample
SUMMARY_EVERY = 10  # steps
BEST = "best"  # the folder, in the run's, of the checkpoint that validated best
MAY_CHANGE = ("data_dir", "weights", "fine_tune_epochs", "train_dir", "bottleneck_dir")


def build_graph(
    flags: argparse.Namespace, num_classes: int, photos: photo_input.PhotoInput
) -> types.SimpleNamespace:
    """Adds the net and the ops of both phases to the default graph.

    Returns:
        what a session runs or is fed, by name.
    """
    # The base: MobileNetV2, its variables named as in Keras.
    features, layers = mobilenet_v2.features(photos.images, flags.alpha)
    seen = mobilenet_v2.bottlenecks(features)
    # What it gives can be fed instead: then a session neither reads photos nor runs the base.
    bottlenecks = tf.placeholder_with_default(seen, seen.shape, "bottlenecks")

    # The head. Nothing is dropped unless a rate is fed.
    dropout_rate = tf.placeholder_with_default(0.0, (), "dropout_rate")
    dropout = mobilenet_v2.dropout(dropout_rate, flags.seed)
    logits = mobilenet_v2.inference(bottlenecks, num_classes, dropout)
    net_variables = mobilenet_v2.names_in_checkpoints(layers)  # those that there are until here
    loss = mobilenet_v2.loss(logits, photos.labels)

    # The two phases: the head alone, then with it the layers from `fine_tune_at` on. One graph
    # holds the ops of both: which one runs depends on which one a step fetches.
    head = mobilenet_v2.variables_from(len(layers), layers)
    upper = mobilenet_v2.variables_from(flags.fine_tune_at, layers)
    rmsprop = mobilenet_v2.RMSPropOptimizer(flags.fine_tune_rate)
    head_op = mobilenet_v2.training(loss, mobilenet_v2.adam(flags.learning_rate), head)
    fine_tune_op = mobilenet_v2.training(loss, rmsprop, upper)

    # Loss, correct predictions and images, summed over a batch, and over an epoch of training: in
    # a variable, so that a run that is stopped in mid-epoch keeps them.
    with tf.name_scope("totals"):
        size = tf.cast(tf.size(photos.labels), tf.float32)
        correct = tf.cast(mobilenet_v2.evaluation(logits, photos.labels), tf.float32)
        batch_totals = tf.stack([loss * size, correct, size])
        epoch_totals = tf.get_variable("epoch_totals", initializer=tf.zeros([3]), trainable=False)
        add_to_epoch = epoch_totals.assign_add(batch_totals)
    return types.SimpleNamespace(
        base=mobilenet_v2.weights(layers),
        seen=seen,
        bottlenecks=bottlenecks,
        dropout_rate=dropout_rate,
        class_logits=mobilenet_v2.class_logits(logits),
        loss=loss,
        head_op=head_op,
        fine_tune_op=fine_tune_op,
        batch_totals=batch_totals,
        add_to_epoch=add_to_epoch,
        begin_epoch=epoch_totals.initializer,
        net_variables=net_variables,
        variables=mobilenet_v2.names_in_checkpoints(layers),
    )


def run_training(flags: argparse.Namespace) -> int:
    """Trains for all epochs of both phases, or goes on to their end from the newest checkpoint.

    Returns:
        the exit code: 0, or 128 plus the signal's number after a signal.
    """
    with runs.Run(flags.train_dir, "catsdogs_finetune", flags) as run, tf.Graph().as_default():
        images, weights, facts = load(flags, run.kept)
        run.settle(facts, MAY_CHANGE)
        training, validation, testing = (images.of_split(split) for split in SPLITS)
        steps = photo_input.steps_per_epoch(len(training), flags.batch_size)
        num_epochs = flags.initial_epochs + flags.fine_tune_epochs
        first_fine_step, last_step = flags.initial_epochs * steps, num_epochs * steps
        distort: photo_input.Distort = photo_input.no_distortion
        if not flags.no_augmentation:
            distort = functools.partial(photo_input.rotate_and_flip, flags.rotation)

        # The graph: ops are added to the default graph. Nothing is computed yet.
        tf.set_random_seed(flags.seed)
        photos = photo_input.PhotoInput(
            images, training, flags.image_size, flags.batch_size, flags.seed, distort
        )
        net = build_graph(flags, len(images.class_names), photos)
        summary = tf.summary.merge_all()  # all that builders have put into the usual collection
        init = tf.global_variables_initializer()
        # A tf.train.Saver that refuses to save a NaN, and returns when the files are on the disk.
        # A dict tells it which variable has which name in a checkpoint.
        saver = checkpoints.Saver(net.variables, flags.keep_checkpoints)
        best_saver = checkpoints.Saver(net.net_variables, flags.keep_checkpoints)

        with tf.Session(config=runs.session_config()) as sess:
            # A new run begins with pretrained weights, a resumed one with those that it saved.
            checkpoint = run.newest_checkpoint()
            if checkpoint is None:
                values = pretrained.read(weights, net.base)
                sess.run(init, pretrained.initial_values(net.base, values))
            else:
                saver.restore(sess, checkpoint)
            first_step = int(sess.run(tf.train.get_global_step()))
            writer = tf.summary.FileWriter(run.folder, sess.graph, filename_suffix=run.event_suffix)
            run.begin(writer, first_step, last_step)
            best_folder = run.path / BEST
            best_folder.mkdir(exist_ok=True)
            flags_text = (run.path / runs.FLAGS_FILE).read_text(encoding="utf-8")
            files.write_text(best_folder / runs.FLAGS_FILE, flags_text)

            # As long as the base is frozen, it gives the same for the same photo. So photos that
            # are not distorted go through it once.
            kept, first_photo_step = None, first_step
            if first_step < first_fine_step:
                undistorted = validation
                if flags.no_augmentation:
                    undistorted = np.append(training, validation)
                    first_photo_step = first_fine_step
                kept = KeptBottlenecks(
                    images,
                    undistorted,
                    flags,
                    facts["weights_digest"],
                    lambda chosen: photos.one_pass(sess, chosen, net.seen),
                    lambda vectors, labels: {net.bottlenecks: vectors, photos.labels: labels},
                )
            photos.begin(sess, first_step, first_photo_step)

            def validate(is_frozen: bool) -> tuple[float, float]:
                source = kept if is_frozen and kept else photos
                return means(source.one_pass(sess, validation, net.batch_totals))

            if first_step == 0:
                photo_input.draw_examples(
                    run.path, images, training, flags.image_size, flags.seed, distort
                )
                before = log(writer, "validation", validate(first_fine_step > 0), 0)
                runs.say(f"Before training: {before}")

            for epoch in xrange(first_step // steps, num_epochs):
                is_frozen = epoch < flags.initial_epochs
                train_op = net.head_op if is_frozen else net.fine_tune_op
                name = f"Epoch {epoch + 1} of {num_epochs} ({'head' if is_frozen else 'fine'})"
                for step in run.steps(max(first_step, epoch * steps), (epoch + 1) * steps, name):
                    steps_done = step + 1
                    is_summary_step = steps_done % SUMMARY_EVERY == 0

                    # One step: the photos are ready in the graph, or bottlenecks are fed.
                    feed_dict = photos.training_feed
                    if is_frozen and kept and flags.no_augmentation:
                        chosen = sess.run(photos.next_indices)
                        feed_dict = kept.feed(chosen)
                        if is_summary_step:  # a summary may be of the base, which needs the photos
                            feed_dict |= photos.evaluation_feed(sess, chosen)
                    # The summary is of the same run: another one would take the next photos.
                    fetches = [train_op, net.loss, net.add_to_epoch] + [summary] * is_summary_step
                    _, loss, totals, *summaries = sess.run(
                        fetches, {**feed_dict, net.dropout_rate: flags.dropout}
                    )
                    checkpoints.check_finite(np.isfinite(loss), "the loss", steps_done)
                    for value in summaries:
                        writer.add_summary(value, steps_done)

                    # The end of an epoch: evaluate, then save, so that a run that is killed in
                    # between evaluates again. Before the save, the totals begin anew.
                    if steps_done % steps == 0:
                        found = validate(is_frozen)
                        trained_line = log(writer, "train", means([totals]), steps_done)
                        validated_line = log(writer, "validation", found, steps_done)
                        runs.say(f"{name}: {trained_line}; {validated_line}")
                        sess.run(net.begin_epoch)
                        keep_if_best(best_saver, sess, best_folder, found, steps_done)
                    if run.is_save_step(steps_done, every=steps):
                        saver.save(sess, run.checkpoint_prefix, global_step=steps_done)
                if run.is_stopping:
                    return run.exit_code

            logits = np.concatenate(list(photos.one_pass(sess, testing, net.class_logits)))
            tested = images.only(testing)
            accuracy = report_accuracy(tested, logits)
            events.write_scalar(writer, "accuracy/test", accuracy, last_step)
            writer.flush()
            sheet = photo_input.draw_predictions(run.path, tested, logits, flags.image_size)
            run.draw(
                tested.labels,
                logits,
                images.class_names,
                lambda chosen: photo_input.to_draw(tested, chosen, flags.image_size),
                mark=(flags.initial_epochs, "start of fine-tuning"),
                more=[sheet],
                x_axis=("epoch", steps),
            )
    return run.exit_code


def load(
    flags: argparse.Namespace, kept: dict[str, Any]
) -> tuple[image_lists.ImageList, pathlib.Path, dict[str, Any]]:
    """Finds images and weights, and settles the flags that depend on them.

    Returns:
        (the images, the file of weights, the facts about both that a run keeps).
    """
    images, facts = photo_input.load(flags, kept)
    weights, weights_facts = pretrained.load(flags, kept)
    for name in ("initial_epochs", "fine_tune_epochs"):
        if getattr(flags, name) is None:
            setattr(flags, name, SAMPLE_EPOCHS if flags.sample else EPOCHS)
    return images, weights, facts | weights_facts


def means(totals: Iterable[np.ndarray]) -> tuple[float, float]:
    """Returns (mean loss, accuracy) from the batches' `batch_totals`, float32 [3] each."""
    loss, correct, count = np.sum([values.astype(float) for values in totals], axis=0)
    return loss / count, correct / count


def log(writer: tf.summary.FileWriter, split: str, found: tuple[float, float], step: int) -> str:
    """Writes mean loss and accuracy to the event file; returns what to say of them."""
    for name, value in zip(("loss", "accuracy"), found, strict=True):
        events.write_scalar(writer, f"{name}/{split}", value, step)
    writer.flush()
    return "validation " * (split == VALIDATION) + "loss {:.4f}, accuracy {:.4f}".format(*found)


def keep_if_best(
    saver: checkpoints.Saver,
    sess: tf.Session,
    folder: pathlib.Path,
    found: tuple[float, float],
    step: int,
) -> None:
    """Saves a checkpoint in `folder`, and best.json about it, if none there validated as well.

    Args:
        saver: of the net's variables and the step.
        sess: holds them.
        folder: where it goes.
        found: (mean loss, accuracy) of the validation images; between equal accuracies, the loss
            decides.
        step: the global step.
    """
    record = folder / "best.json"
    if record.exists():
        with files.reading(record, "move it away"):
            best = json.loads(record.read_text(encoding="utf-8"))
            if (best["accuracy"], -best["loss"]) >= (found[1], -found[0]):
                return
    saver.save(sess, str(folder / "model.ckpt"), global_step=step, write_meta_graph=False)
    best = {"step": step, "accuracy": found[1], "loss": found[0]}
    files.write_text(record, json.dumps(best) + "\n")


def accuracy_line(split: str, correct: int, count: int) -> str:
    """Returns what is printed about an accuracy."""
    title = photo_input.TITLES[split]
    return f"Accuracy on the {title} images: {correct / count:.4f} ({count} images)"


def report_accuracy(images: image_lists.ImageList, logits: np.ndarray) -> float:
    """Prints and returns the accuracy on the test images, and prints the confusion matrix."""
    matrix = plots.confusion_matrix(images.labels, logits)
    runs.say(accuracy_line(TEST, int(np.trace(matrix)), len(logits)))
    plots.print_confusion(matrix, images.class_names)
    return np.trace(matrix) / len(logits)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds all flags of the training."""
    photo_input.add_flags(parser)
    pretrained.add_flags(parser)
    add = parser.add_argument_group("training").add_argument
    epochs = f"{EPOCHS} by default, {SAMPLE_EPOCHS} for the sample."
    add("--batch_size", type=number(int, 1), default=32, help="Images in a training batch.")
    add("--initial_epochs", type=number(int, 0), help=f"Epochs with the base frozen; {epochs}")
    add("--fine_tune_epochs", type=number(int, 0), help=f"Epochs of fine-tuning; {epochs}")
    add("--fine_tune_at", type=number(int, 0), default=100, help="First layer to fine-tune.")
    add("--learning_rate", type=number(float, 0), default=1e-4, help="Adam's, the base frozen.")
    add("--fine_tune_rate", type=number(float, 0), default=1e-5, help="RMSprop's in fine-tuning.")
    add(
        "--dropout", type=number(float, 0, 0.99), default=0.2, help="Share of a bottleneck to drop."
    )
    add("--rotation", type=number(float, 0, 0.5), default=0.2, help="Largest part of a whole turn.")
    add(
        "--no_augmentation",
        action="store_true",
        help="Neither turn nor mirror training images; the frozen base then sees each only once.",
    )
    seed = number(int, 0, 2**31 - 1)
    add("--seed", type=seed, default=0, help="Seed of head, order, augmentation and dropout.")
    runs.add_flags(parser, "--train_dir", TRAIN_DIR)


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    add_flags(parser)
    return run_training(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
