"""Trains the fully connected MNIST net from feed dictionaries.

    python -m mnist_mechanics.fully_connected_feed
    python -m mnist_mechanics.fully_connected_feed --max_steps 5000        (resumes at step 2000)
    python -m mnist_mechanics.fully_connected_feed --fresh --summaries full --trace 10
    tensorboard --logdir logs

A run that was stopped or killed resumes from its newest checkpoint.
"""

import argparse
import sys
import time

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import input_data, mnist
from tutorial_support import checkpoints, runs, summaries
from tutorial_support.programs import number

LOG_DIR = "logs/mnist_feed"
# A resumed run may change these flags: none of them affects the values of the variables.
MAY_CHANGE = ("max_steps", "input_data_dir", "log_dir", "summaries", "trace", "steps_per_run")
EVALUATION_BATCH = 1000  # images


def placeholder_inputs(batch_size: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds placeholders for images, float32 [batch_size, IMAGE_PIXELS], and labels, int32."""
    # A placeholder has no value until Session.run feeds one. A dimension of None takes any size.
    images_shape, labels_shape = (batch_size, mnist.IMAGE_PIXELS), (batch_size,)
    images_placeholder = tf.placeholder(tf.float32, images_shape, "images_placeholder")
    labels_placeholder = tf.placeholder(tf.int32, labels_shape, "labels_placeholder")
    return images_placeholder, labels_placeholder


def fill_feed_dict(
    data_set: input_data.DataSet, images_pl: tf.Tensor, labels_pl: tf.Tensor, batch_size: int = 100
) -> dict[tf.Tensor, np.ndarray]:
    """Returns the feed dictionary for the next training step and advances the data set."""
    images_feed, labels_feed = data_set.next_batch(batch_size)
    return {images_pl: images_feed, labels_pl: labels_feed}


def do_eval(
    sess: tf.Session,
    eval_correct: tf.Tensor,
    images_placeholder: tf.Tensor,
    labels_placeholder: tf.Tensor,
    data_set: input_data.DataSet,
    quiet: bool = False,
) -> float:
    """Evaluates a whole data set, each example once; prints and returns the precision."""
    num_correct = 0
    # This is the training net. If the placeholders leave the batch size open, larger batches are
    # faster. Nothing is learned, because fetching eval_correct does not run train_op.
    fixed_size = images_placeholder.shape.as_list()[0]
    for images, labels in data_set.batches(fixed_size or EVALUATION_BATCH, bool(fixed_size)):
        feed_dict = {images_placeholder: images, labels_placeholder: labels}
        num_correct += sess.run(eval_correct, feed_dict)
    return print_precision(data_set.num_examples, num_correct, quiet)


def print_precision(num_examples: int, num_correct: int, quiet: bool = False) -> float:
    """Prints the original's evaluation line unless `quiet`; returns the precision in [0, 1]."""
    precision = num_correct / max(num_examples, 1)
    if not quiet:
        runs.print_line(
            f"Num examples: {num_examples}  Num correct: {num_correct}  "
            f"Precision @ 1: {precision:0.04f}"
        )
    return precision


def run_training(flags: argparse.Namespace) -> int:
    """Trains from the newest checkpoint up to `flags.max_steps`; returns the exit code."""
    with runs.Run(flags.log_dir, "mnist_mechanics", flags) as run, tf.Graph().as_default():
        # A resumed run reads its own data again (run.kept names it); settle() compares the flags.
        data_sets, facts = input_data.load(flags, run.kept)
        run.settle(facts, MAY_CHANGE)
        tf.set_random_seed(flags.seed)

        # Build the graph. Each call adds ops to the default graph; nothing is computed yet.
        images_placeholder, labels_placeholder = placeholder_inputs()
        logits = mnist.inference(images_placeholder, flags.hidden1, flags.hidden2)
        loss = mnist.loss(logits, labels_placeholder)
        train_op = mnist.training(loss, flags.learning_rate)
        eval_correct = mnist.evaluation(logits, labels_placeholder)
        # One op for all summaries that the builders have added to the default collection.
        summary = tf.summary.merge_all(name="summaries/usual")
        if flags.summaries == "full":
            both = [summary, summaries.merged_details()]
            summary = tf.summary.merge(both, name="summaries/full")
        init = tf.global_variables_initializer()
        # A tf.train.Saver that refuses to save NaN and flushes its files to the disk.
        saver = checkpoints.Saver(keep=flags.keep_checkpoints)

        # The session holds the values of the variables. The initializer sets them; in a resumed
        # run, restoring the newest checkpoint then overwrites them.
        with tf.Session(config=runs.session_config(small_net=True)) as sess:
            sess.run(init)
            checkpoint = run.newest_checkpoint()
            if checkpoint is not None:
                saver.restore(sess, checkpoint)
            first_step = int(sess.run(tf.train.get_global_step()))
            data_sets.train.seek(first_step * flags.batch_size)
            writer = tf.summary.FileWriter(run.folder, sess.graph, filename_suffix=run.event_suffix)
            run.begin(writer, first_step, flags.max_steps)
            eval_arguments = sess, eval_correct, images_placeholder, labels_placeholder

            for step in run.steps(first_step, flags.max_steps):
                start_time = time.time()

                # One step: feed a batch, fetch the loss. train_op has no value, but fetching it
                # makes the session run it and every op that it depends on.
                feed_dict = fill_feed_dict(
                    data_sets.train, images_placeholder, labels_placeholder, flags.batch_size
                )
                options, metadata = None, None  # except in the step that --trace records
                if step == flags.trace:
                    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
                    metadata = tf.RunMetadata()
                _, loss_value = sess.run([train_op, loss], feed_dict, options, metadata)
                duration = time.time() - start_time
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                if metadata is not None:
                    summaries.write_trace(writer, metadata, step, run.path)

                # Report progress on the screen and in the event file.
                if step % 100 == 0:
                    runs.print_line(f"Step {step}: loss = {loss_value:.2f} ({duration:.3f} sec)")
                    writer.add_summary(sess.run(summary, feed_dict), step)
                    if flags.summaries == "full":
                        accuracy = do_eval(*eval_arguments, data_sets.validation, quiet=True)
                        summaries.write_scalar(writer, "accuracy/validation", accuracy, step)
                    writer.flush()

                # Evaluate before saving: a run that is killed in between evaluates again when it
                # resumes. A checkpoint saved because of a signal is not evaluated.
                steps_done = step + 1
                if steps_done % 1000 == 0 or steps_done == flags.max_steps:
                    for split, data_set in data_sets._asdict().items():
                        runs.print_line(f"{input_data.TITLES[split]} Data Eval:")
                        precision = do_eval(*eval_arguments, data_set)
                        summaries.write_scalar(writer, f"accuracy/{split}", precision, steps_done)
                    writer.flush()
                if run.is_save_step(steps_done, every=1000):
                    saver.save(sess, run.checkpoint_prefix, global_step=steps_done)

            if not run.is_stopping:
                test, batches = data_sets.test, data_sets.test.batches(EVALUATION_BATCH)
                test_logits = [sess.run(logits, {images_placeholder: x}) for x, _ in batches]
                class_names = input_data.CLASS_NAMES
                run.draw(test.labels, np.concatenate(test_logits), class_names, test.pictures)
    return run.exit_code


def add_flags(parser: argparse.ArgumentParser, log_dir: str) -> None:
    """Adds the flags shared by all programs that train this net."""
    add = parser.add_argument_group("training").add_argument
    add("--learning_rate", type=number(float, 0), default=0.01, help="Rate of gradient descent.")
    add("--max_steps", type=number(int, 1), default=2000, help="Train up to this step.")
    add("--hidden1", type=number(int, 1), default=128, help="Units in the first hidden layer.")
    add("--hidden2", type=number(int, 1), default=32, help="Units in the second hidden layer.")
    add("--batch_size", type=number(int, 1), default=100, help="Examples per training batch.")
    add("--seed", type=number(int, 0, 2**31 - 1), default=0, help="Seed for weights and batches.")
    runs.add_flags(parser, "--log_dir", log_dir)
    input_data.add_flags(parser)


def parse(
    parser: argparse.ArgumentParser, argv: list[str] | None, log_dir: str
) -> argparse.Namespace:
    """Parses the flags of a single-process training program; `parser` may have further flags."""
    add_flags(parser, log_dir)
    add = parser.add_argument_group("event files").add_argument
    summaries_help = "'full' adds validation accuracy, histograms and images to the loss."
    add("--summaries", choices=["scalar", "full"], default="scalar", help=summaries_help)
    add("--trace", type=number(int, 0), metavar="N", help="Record a trace of step N.")
    flags = parser.parse_args(argv)
    if flags.trace is not None and flags.trace >= flags.max_steps:
        raise programs.UsageError(
            f"--trace {flags.trace}: the steps run from 0 to {flags.max_steps - 1}; choose one"
        )
    return flags


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    return run_training(parse(programs.ArgumentParser(__doc__), argv, LOG_DIR))


if __name__ == "__main__":
    sys.exit(main())
