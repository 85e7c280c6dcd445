"""Trains a new head on a pretrained net, then fine-tunes the net's upper layers as well.

    python -m catsdogs_finetune.train
    python -m catsdogs_finetune.train --data_dir my_photos --train_dir logs/my_photos_tuned
    python -m catsdogs_finetune.train --no_augmentation --train_dir logs/catsdogs_plain
    tensorboard --logdir logs

Repeat the command to resume a run that was stopped, or to train it for more epochs.
"""

import argparse
import functools
import sys
from collections.abc import Iterable

from tutorial_support import SPLITS, TRAIN, VALIDATION, programs

if __name__ == "__main__":
    programs.before_tensorflow()

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, photo_input, pretrained
from catsdogs_finetune.best import BestCheckpoint
from catsdogs_finetune.kept_bottlenecks import KeptBottlenecks
from tutorial_support import checkpoints, runs, summaries
from tutorial_support.programs import number

TRAIN_DIR = "logs/catsdogs"
EPOCHS, SAMPLE_EPOCHS = 10, 40  # epochs per phase, as in the original and for the small sample
SUMMARY_EVERY = 10  # steps
Score = tuple[float, float]  # mean loss, accuracy
SCORE_LINE = "loss {:.4f}, accuracy {:.4f}"
# A resumed run may change these: moved files are recognized by names, splits and a digest.
MAY_CHANGE = ("data_dir", "sample", "weights", "fine_tune_epochs", "train_dir", "bottleneck_dir")


def run_training(flags: argparse.Namespace) -> int:
    """Trains from the newest checkpoint to the end of both phases; returns the exit code."""
    with runs.Run(flags.train_dir, "catsdogs_finetune", flags) as run, tf.Graph().as_default():
        # A resumed run reads its own data again (run.kept names it); settle() compares the flags.
        images, facts = photo_input.load(flags, run.kept)
        weights, facts["weights_digest"] = pretrained.load(flags, run.kept)
        for phase in ("initial_epochs", "fine_tune_epochs"):
            if getattr(flags, phase) is None:
                setattr(flags, phase, SAMPLE_EPOCHS if flags.sample else EPOCHS)
        run.settle(facts, MAY_CHANGE)
        training, validation, testing = (images.of_split(split) for split in SPLITS)
        steps = photo_input.steps_per_epoch(len(training), flags.batch_size)
        num_epochs = flags.initial_epochs + flags.fine_tune_epochs
        first_fine_step, last_step = flags.initial_epochs * steps, num_epochs * steps
        tf.set_random_seed(flags.seed)

        # Build the graph: each of these calls adds ops to the default graph; none computes yet.
        # Photos come from tf.data and go through the base, a MobileNetV2 with Keras' names.
        distort = photo_input.distortion(flags)
        photos = photo_input.PhotoInput(images, training, flags, distort)
        features, layers = mobilenet_v2.features(photos.images, flags.alpha)
        computed = mobilenet_v2.bottlenecks(features)
        # This placeholder passes the base's output on, unless stored bottlenecks are fed. Then the
        # session neither reads photos nor runs the base.
        bottlenecks = tf.placeholder_with_default(computed, computed.shape, "bottlenecks")

        # The head. The dropout rate is 0 unless a step feeds another one.
        dropout_rate = tf.placeholder_with_default(0.0, (), "dropout_rate")
        dropout = mobilenet_v2.dropout(dropout_rate, flags.seed)
        logits = mobilenet_v2.inference(bottlenecks, len(images.class_names), dropout)
        loss = mobilenet_v2.loss(logits, photos.labels)

        # Phase 1 trains the head, phase 2 also the layers from `fine_tune_at` on. The graph holds
        # both training ops; the one that a step fetches decides which variables change.
        head = mobilenet_v2.variables_from(len(layers), layers)
        upper = mobilenet_v2.variables_from(flags.fine_tune_at, layers)
        rmsprop = mobilenet_v2.RMSPropOptimizer(flags.fine_tune_rate)
        head_op = mobilenet_v2.training(loss, mobilenet_v2.adam(flags.learning_rate), head)
        fine_tune_op = mobilenet_v2.training(loss, rmsprop, upper)
        of_batch, of_epoch, begin_epoch = mobilenet_v2.totals(logits, photos.labels, loss)
        class_logits = mobilenet_v2.class_logits(logits)
        summary = tf.summary.merge_all()  # all summaries in the default collection
        init = tf.global_variables_initializer()
        # A tf.train.Saver that refuses NaN and flushes its files. The dict maps names to variables.
        saver = checkpoints.Saver(mobilenet_v2.names_in_checkpoints(layers), flags.keep_checkpoints)

        with tf.Session(config=runs.session_config()) as sess:
            # A new run starts from the pretrained weights, a resumed one from its checkpoint.
            if (checkpoint := run.newest_checkpoint()) is None:
                base = mobilenet_v2.weights(layers)
                sess.run(init, pretrained.initial_values(base, pretrained.read(weights, base)))
            else:
                saver.restore(sess, checkpoint)
            first_step = int(sess.run(tf.train.get_global_step()))
            # A frozen base always gives the same bottleneck for the same photo. So photos without
            # augmentation go through it once, and phase 1 feeds the stored bottlenecks.
            kept = None
            if first_step < first_fine_step:
                fixed = np.append(training, validation) if flags.no_augmentation else validation
                compute = functools.partial(photos.one_pass, sess, computed)
                inputs = bottlenecks, photos.labels
                kept = KeptBottlenecks(images, fixed, flags, facts, compute, inputs)

            writer = tf.summary.FileWriter(run.folder, sess.graph, filename_suffix=run.event_suffix)
            run.begin(writer, first_step, last_step)
            best = BestCheckpoint(run, saver)

            # If phase 1 is fed from the store, the first training photos are those of phase 2.
            skips_phase_1 = flags.no_augmentation and first_step < first_fine_step
            photos.begin(sess, first_step, first_fine_step if skips_phase_1 else first_step)

            def validate(is_frozen: bool, step: int) -> Score:
                source = kept if is_frozen and kept else photos
                totals = source.one_pass(sess, of_batch, validation)
                return log(writer, VALIDATION, totals, step)

            if first_step == 0:
                photo_input.draw_examples(run.path, images, training, flags, distort)
                before = validate(first_fine_step > 0, 0)
                runs.print_line(f"Before training: validation {SCORE_LINE.format(*before)}")

            for epoch in range(first_step // steps, num_epochs):
                is_frozen = epoch < flags.initial_epochs
                train_op = head_op if is_frozen else fine_tune_op
                name = f"Epoch {epoch + 1} of {num_epochs} ({'head' if is_frozen else 'fine'})"
                for step in run.steps(max(first_step, epoch * steps), (epoch + 1) * steps, name):
                    steps_done = step + 1
                    is_summary_step = steps_done % SUMMARY_EVERY == 0

                    # One step: tf.data delivers photos inside the graph, or bottlenecks are fed.
                    feed_dict = photos.training_feed
                    if is_frozen and kept and flags.no_augmentation:
                        # A summary may need the base, and so the photos as well.
                        feed_dict = kept.training_feed(sess, photos, with_photos=is_summary_step)
                    # Fetch the summary in the same run: another run would take the next photos.
                    fetches = [train_op, loss, of_epoch] + [summary] * is_summary_step
                    feed_dict = {**feed_dict, dropout_rate: flags.dropout}
                    _, loss_value, totals, *values = sess.run(fetches, feed_dict)
                    checkpoints.check_finite(np.isfinite(loss_value), "the loss", steps_done)
                    for value in values:
                        writer.add_summary(value, steps_done)

                    # At the end of an epoch, evaluate, reset the totals, then save. A run that is
                    # killed in between repeats the evaluation.
                    if steps_done % steps == 0:
                        line = SCORE_LINE.format(*log(writer, TRAIN, [totals], steps_done))
                        score = validate(is_frozen, steps_done)
                        runs.print_line(f"{name}: {line}; validation {SCORE_LINE.format(*score)}")
                        sess.run(begin_epoch)
                        best.keep(sess, *score, steps_done)
                    if run.is_save_step(steps_done, every=steps):
                        saver.save(sess, run.checkpoint_prefix, global_step=steps_done)
                if run.is_stopping:
                    return run.exit_code

            # Evaluate on the test images once, at the end. No decision so far has used them.
            tested = images.only(testing)
            test_logits = np.concatenate(list(photos.one_pass(sess, class_logits, testing)))
            accuracy = photo_input.report_accuracy(tested, test_logits)
            summaries.write_scalar(writer, "accuracy/test", accuracy, last_step)
            writer.flush()
            photo_input.draw_results(run, tested, test_logits, flags, steps)
    return run.exit_code


def log(writer: tf.summary.FileWriter, split: str, totals: Iterable, step: int) -> Score:
    """Logs and returns mean loss and accuracy; `totals` are sums as in `mobilenet_v2.totals`."""
    loss, correct, count = np.sum([values.astype(float) for values in totals], axis=0)
    summaries.write_scalar(writer, f"loss/{split}", loss / count, step)
    summaries.write_scalar(writer, f"accuracy/{split}", correct / count, step)
    writer.flush()
    return loss / count, correct / count


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the program to `parser`, in titled groups."""
    photo_input.add_flags(parser)
    pretrained.add_flags(parser)
    add, rate = parser.add_argument_group("training").add_argument, number(float, 0)
    epochs = f"by default {EPOCHS}, or {SAMPLE_EPOCHS} for the sample."
    add("--batch_size", type=number(int, 1), default=32, help="Images per training batch.")
    add("--initial_epochs", type=number(int, 0), help=f"Epochs with the base frozen; {epochs}")
    add("--fine_tune_epochs", type=number(int, 0), help=f"Epochs of fine-tuning; {epochs}")
    add("--fine_tune_at", type=number(int, 0), default=100, help="The first layer to fine-tune.")
    add("--learning_rate", type=rate, default=1e-4, help="Adam's rate while the base is frozen.")
    add("--fine_tune_rate", type=rate, default=1e-5, help="RMSprop's rate in fine-tuning.")
    add("--dropout", type=number(float, 0, 0.99), default=0.2, help="The dropout rate of the head.")
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="Seeds all random numbers.")
    photo_input.add_augmentation_flags(parser)
    runs.add_flags(parser, "--train_dir", TRAIN_DIR)


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    add_flags(parser)
    return run_training(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
