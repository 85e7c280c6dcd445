"""Trains a classifier of your own images: a new head on the bottlenecks of a frozen base.

    python -m flowers_transfer.retrain --image_dir my_photos --train_dir logs/my_photos
    python -m flowers_transfer.retrain --base_graph base.pb --train_dir logs/other_base
    python -m flowers_transfer.retrain --sample --train_dir logs/drawn_flowers
    tensorboard --logdir logs

Repeat the command to resume a run that was stopped or killed.
"""

import argparse
import functools
import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, bottlenecks, head
from tutorial_support import TEST, TRAIN, VALIDATION, checkpoints, runs, summaries
from tutorial_support.programs import number

TRAIN_DIR = "logs/flowers"
SAVE_EVERY = 1000  # steps
# The flags that may change when a run resumes. Folders and files may move: `run.settle` compares
# the images' names and splits, and a digest of the base.
MAY_CHANGE = (
    "image_dir",
    "how_many_training_steps",
    "eval_step_interval",
    "validation_batch_size",
    "print_misclassified_test_images",
    "train_dir",
    "bottleneck_dir",
    "base_graph",
    *base_graph.DESCRIBING_FLAGS,
)


def run_training(flags: argparse.Namespace) -> int:
    """Trains from the newest checkpoint to the last step; returns the exit code."""
    with runs.Run(flags.train_dir, "flowers_transfer", flags) as run, tf.Graph().as_default():
        # A resumed run reads its own data again (run.kept names it); settle() compares the flags.
        images, facts = bottlenecks.create_image_lists(flags, run.kept)
        base = base_graph.find(flags, run.kept, facts["sample"])
        run.settle(facts | base.facts, MAY_CHANGE)
        found = bottlenecks.get_or_create_bottleneck(base, images, flags.bottleneck_dir)
        training = bottlenecks.Sampler(found, TRAIN, flags.sampling, flags.seed)
        validation = bottlenecks.Sampler(found, VALIDATION, flags.sampling, flags.seed)
        num_validation = flags.validation_batch_size
        if not 0 < num_validation < len(validation.members):
            num_validation = -1  # all of them
        # The graph's seed decides the initial weights, so set it before the variables are created.
        tf.set_random_seed(flags.seed)

        # This graph holds only the head. The base has its own graph and session, which computed the
        # bottlenecks that are fed here.
        bottleneck_input, ground_truth = head.placeholder_inputs(found.size)
        logits = head.inference(bottleneck_input, len(found.images.class_names))
        loss = head.loss(logits, ground_truth)
        objective = tf.add(loss, head.weight_decay(flags.weight_decay), "objective")
        train_op = head.training(objective, flags.learning_rate, flags.momentum)
        correct = head.evaluation(logits, ground_truth)
        # The summaries that the builders added to the default collection, and histograms.
        summary = tf.summary.merge([tf.summary.merge_all(), summaries.merged_details()])
        init = tf.global_variables_initializer()
        # A tf.train.Saver that never saves a NaN and flushes its files to disk before it returns.
        saver = checkpoints.Saver(keep=flags.keep_checkpoints)

        with (
            tf.Session(config=runs.session_config(small_net=True)) as sess,
            bottlenecks.batch_source(base, flags) as get_random_bottlenecks,
        ):
            # The initializer gives every variable its first value. A resumed run then overwrites
            # these with the values in its newest checkpoint.
            sess.run(init)
            checkpoint = run.newest_checkpoint()
            if checkpoint is not None:
                saver.restore(sess, checkpoint)
            first_step = int(sess.run(tf.train.get_global_step()))
            last_step = flags.how_many_training_steps
            writer = tf.summary.FileWriter(run.folder, sess.graph, filename_suffix=run.event_suffix)
            run.begin(writer, first_step, last_step)

            for step in run.steps(first_step, last_step):
                steps_done = step + 1

                # Draw a batch and look up its bottlenecks. Distorted pictures go through the base
                # instead. The batch depends only on seed and step, so a resumed run sees the same
                # batches as an uninterrupted one.
                batch_size = flags.train_batch_size
                vectors, labels = get_random_bottlenecks(found, training, batch_size, step)

                # One step: feed the batch, fetch the loss. train_op has no value; fetching it makes
                # the session run it. The loss is the one before the update.
                feed_dict = {bottleneck_input: vectors, ground_truth: labels}
                _, loss_value = sess.run([train_op, loss], feed_dict)
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)

                is_evaluated = steps_done % flags.eval_step_interval == 0 or steps_done == last_step
                if is_evaluated:
                    # Summaries are ops too: another run of the session computes them.
                    writer.add_summary(sess.run(summary, feed_dict), steps_done)
                if is_evaluated and len(validation.members):
                    # Same graph, other images. train_op is not fetched, so no variable changes.
                    vectors, labels = bottlenecks.get_random_cached_bottlenecks(
                        found, validation, num_validation, step
                    )
                    feed_dict = {bottleneck_input: vectors, ground_truth: labels}
                    num_correct, validation_loss = sess.run([correct, loss], feed_dict)
                    accuracy = num_correct / len(labels)
                    runs.print_line(
                        f"Step {steps_done}: Validation accuracy on random sampled {len(labels)} "
                        f"examples = {100 * accuracy:.1f}%"
                    )
                    summaries.write_scalar(writer, "loss/validation", validation_loss, steps_done)
                    summaries.write_scalar(writer, "accuracy/validation", accuracy, steps_done)

                if run.is_save_step(steps_done, every=SAVE_EVERY):
                    writer.flush()
                    saver.save(sess, run.checkpoint_prefix, global_step=steps_done)

            if not run.is_stopping:
                # Evaluate on the test images once, at the end. No decision so far has used them.
                batches = bottlenecks.get_test_bottlenecks(found)
                test_logits = [sess.run(logits, {bottleneck_input: vectors}) for vectors in batches]
                report(run, found, np.concatenate(test_logits), writer, last_step, flags)
    return run.exit_code


def report(
    run: runs.Run,
    found: bottlenecks.Bottlenecks,
    test_logits: np.ndarray,
    writer: tf.summary.FileWriter,
    step: int,
    flags: argparse.Namespace,
) -> None:
    """Prints the final test accuracy and the skipped pictures; draws the plots of the run.

    Args:
        test_logits: float32 [test images, classes].
    """
    chosen = found.images.of_split(TEST)
    test, predictions = found.images.only(chosen), test_logits.argmax(axis=1)
    if len(chosen):
        accuracy = float(np.mean(predictions == test.labels))
        runs.print_line(f"Final test accuracy = {100 * accuracy:.1f}% (N={len(chosen)})")
        summaries.write_scalar(writer, "accuracy/test", accuracy, step)
        writer.flush()
    if flags.print_misclassified_test_images:
        runs.print_line("=== MISCLASSIFIED TEST IMAGES ===")
        for i in np.flatnonzero(predictions != test.labels):
            name = test.class_names[predictions[i]]
            runs.print_line(f"{programs.one_line(test.paths[i])}  {programs.one_line(name)}")
    if found.bad:
        runs.print_line(f"Pictures that could not be read and were left out: {len(found.bad)}")
        runs.print_line("\n".join(f"  {programs.one_line(sentence)}" for sentence in found.bad))
    drawn = [bottlenecks.draw_bottlenecks(run.path, found)]
    pictures = functools.partial(bottlenecks.thumbnails, test)
    run.draw(test.labels, test_logits, test.class_names, pictures, more=drawn)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the program to `parser`, in titled groups."""
    bottlenecks.add_flags(parser)
    add, count = parser.add_argument_group("training").add_argument, number(int, 1)
    add("--how_many_training_steps", type=count, default=4000, help="Train to this step.")
    add("--learning_rate", type=number(float, 0), default=0.01, help="The learning rate.")
    add("--train_batch_size", type=count, default=100, help="Images per training batch.")
    sampled = "Images per validation; -1 uses all of them."
    add("--validation_batch_size", type=number(int, -1), default=100, help=sampled)
    add("--eval_step_interval", type=count, default=100, help="Steps between validations.")
    sampling = "Give every class, or every image, the same weight."
    add("--sampling", choices=["class", "image"], default="class", help=sampling)
    add("--weight_decay", type=number(float, 0), default=0.0, help="The L2 penalty on the weights.")
    momentum = "The momentum; 0 is plain gradient descent."
    add("--momentum", type=number(float, 0, 1), default=0.0, help=momentum)
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="Seed for weights and batches.")
    add("--print_misclassified_test_images", action="store_true", help="List mistakes at the end.")
    bottlenecks.Distortions.add_flags(parser)
    runs.add_flags(parser, "--train_dir", TRAIN_DIR)
    base_graph.add_flags(parser)


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    add_flags(parser)
    return run_training(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
