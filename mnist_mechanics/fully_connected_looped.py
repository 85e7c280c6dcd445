"""Trains the fully connected MNIST net with a loop over the steps inside the graph.

    python -m mnist_mechanics.fully_connected_looped
    python -m mnist_mechanics.fully_connected_looped --steps_per_run 20

For a net this small, the overhead of one `Session.run` is about as large as the cost of its ops.
A `tf.while_loop` pays that overhead once for many steps, and XLA also compiles the step into a few
fused loops of machine code. The net, output and checkpoints are those of `fully_connected_dataset`,
and so are the flags apart from --steps_per_run; the steps are the same except for rounding.
"""

import argparse
import sys
import time
from collections.abc import Callable

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from mnist_mechanics import fully_connected_feed, input_data, input_pipeline, mnist
from mnist_mechanics.fully_connected_dataset import do_eval
from tutorial_support import checkpoints, runs, summaries
from tutorial_support.programs import number

LOG_DIR = "logs/mnist_looped"
_REPORT_EVERY = 100  # steps


def looped(
    add_step: Callable, batches: tuple[tf.Tensor, ...], first: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
    """Adds a loop over training steps.

    Args:
        add_step: function from the tensors of one batch to (train_op, loss). The same builders
            have already run outside of the loop, so the variables exist.
        batches: tensors [steps, ...], one batch per step; `steps` must be a static size.
        first, end: int32 scalars; the loop runs the steps first .. end - 1 of the block.

    Returns:
        losses: float32 [steps]; 0 for the steps that did not run.
    """
    variables = tf.global_variables()

    # A tf.function has its own graph. With jit_compile, XLA compiles that graph as a whole.
    @tf2.function(jit_compile=True, autograph=False)
    def run(batches: tuple, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        def one_step(i: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The builders would create new variables. Give them the existing ones, in order.
            existing = iter(variables)
            with tf.variable_creator_scope(lambda next_creator, **description: next(existing)):
                train_op, loss = add_step(*(batch[i] for batch in batches))
            # The next iteration must not start before the variables have been updated.
            with tf.control_dependencies([train_op]):
                return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [loss])

        # The ops of the body exist once in the graph; the loop runs them again and again.
        losses = tf.zeros(batches[0].shape.as_list()[:1])
        return tf.while_loop(lambda i, _: i < end, one_step, [first, losses])[1]

    return run(batches, first, end)


def run_training(flags: argparse.Namespace) -> int:
    """Trains from the newest checkpoint up to `flags.max_steps`; returns the exit code."""
    with runs.Run(flags.log_dir, "mnist_mechanics", flags) as run, tf.Graph().as_default():
        # A resumed run reads its own data again (run.kept names it); settle() compares the flags.
        data_sets, facts = input_data.load(flags, run.kept)
        run.settle(facts, fully_connected_feed.MAY_CHANGE)
        tf.set_random_seed(flags.seed)

        # The input comes in blocks: uint8 [steps_per_run, batch_size, ...].
        def training(pixels: tf.Tensor, labels: tf.Tensor, first_step: tf.Tensor):
            return input_pipeline.training_blocks(
                pixels, labels, flags.batch_size, flags.seed, first_step, flags.steps_per_run
            )

        inputs = input_pipeline.Input(training, fully_connected_feed.EVALUATION_BATCH)

        # Build the net once outside of the loop: it creates the variables, and evaluation and
        # summaries use it.
        logits = mnist.inference(inputs.images, flags.hidden1, flags.hidden2)
        loss = mnist.loss(logits, inputs.labels)
        mnist.training(loss, flags.learning_rate)
        eval_correct = mnist.evaluation(logits, inputs.labels)
        summary = tf.summary.merge_all(name="summaries/usual")
        if flags.summaries == "full":
            both = [summary, summaries.merged_details()]
            summary = tf.summary.merge(both, name="summaries/full")

        # Build the same training step again, inside the loop.
        def add_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Operation, tf.Tensor]:
            scaled = input_pipeline.scaled(images)
            step_loss = mnist.loss(mnist.inference(scaled, flags.hidden1, flags.hidden2), labels)
            return mnist.training(step_loss, flags.learning_rate), step_loss

        with tf.name_scope("loop"):
            pixels, labels = inputs.training.get_next()  # one block
            block_steps = tf.placeholder(tf.int32, (2,), "in_block")  # first step, last + 1
            # Fetching `losses` runs the whole loop, because the losses are its output.
            losses = looped(add_step, (pixels, labels), block_steps[0], block_steps[1])
            # A reported step begins a block, so the summaries are those of a block's first batch.
            first_batch = input_pipeline.scaled(pixels[0]), labels[0]
        init = tf.global_variables_initializer()
        saver = checkpoints.Saver(keep=flags.keep_checkpoints)

        with tf.Session(config=runs.session_config(small_net=True)) as sess:
            sess.run(init)
            checkpoint = run.newest_checkpoint()
            if checkpoint is not None:
                saver.restore(sess, checkpoint)
            first_step = int(sess.run(tf.train.get_global_step()))
            inputs.start_training(sess, data_sets.train, first_step)
            writer = tf.summary.FileWriter(run.folder, sess.graph, filename_suffix=run.event_suffix)
            run.begin(writer, first_step, flags.max_steps)

            for step, end in run.spans(first_step, flags.max_steps, flags.steps_per_run):
                start_time = time.time()
                is_reported = step % _REPORT_EVERY == 0
                options, metadata = None, None  # except in the step that --trace records
                if flags.trace is not None and step <= flags.trace < end:
                    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
                    metadata = tf.RunMetadata()

                # One Session.run takes all steps of a block.
                # The first run takes longer, because XLA compiles the loop then.
                start = step % flags.steps_per_run
                loss_values, batch_value = sess.run(
                    [losses, first_batch if is_reported else ()],
                    {block_steps: (start, start + end - step)},
                    options,
                    metadata,
                )
                duration = (time.time() - start_time) / (end - step)
                run_losses = loss_values[start : start + end - step]
                checkpoints.check_finite(np.isfinite(run_losses).all(), "a loss", end - 1)
                if metadata is not None:
                    summaries.write_trace(writer, metadata, flags.trace, run.path)

                if is_reported:
                    runs.print_line(f"Step {step}: loss = {run_losses[0]:.2f} ({duration:.3f} sec)")
                    fed = dict(zip((inputs.images, inputs.labels), batch_value, strict=True))
                    # The variables are a block further by now, so feed the loss of this step too.
                    writer.add_summary(sess.run(summary, fed | {loss: run_losses[0]}), step)
                    if flags.summaries == "full":
                        accuracy = do_eval(sess, eval_correct, inputs, data_sets.validation, True)
                        summaries.write_scalar(writer, "accuracy/validation", accuracy, step)
                    writer.flush()

                if end % 1000 == 0 or end == flags.max_steps:
                    for split, data_set in data_sets._asdict().items():
                        runs.print_line(f"{input_data.TITLES[split]} Data Eval:")
                        precision = do_eval(sess, eval_correct, inputs, data_set)
                        summaries.write_scalar(writer, f"accuracy/{split}", precision, end)
                    writer.flush()
                if run.is_save_step(end, every=1000):
                    saver.save(sess, run.checkpoint_prefix, global_step=end)

            if not run.is_stopping:
                test = data_sets.test
                test_logits = np.concatenate(list(inputs.one_pass(sess, test, logits)))
                run.draw(test.labels, test_logits, input_data.CLASS_NAMES, test.pictures)
    return run.exit_code


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    parser.add_argument_group("loop").add_argument(
        "--steps_per_run",
        type=number(int, 1),
        default=100,
        help="Training steps per Session.run. Must divide 100.",
    )
    flags = fully_connected_feed.parse(parser, argv, LOG_DIR)
    if _REPORT_EVERY % flags.steps_per_run:
        raise programs.UsageError(
            f"--steps_per_run {flags.steps_per_run} does not divide {_REPORT_EVERY}, the number of "
            "steps between two printed losses; choose 10, 20, 25, 50 or 100"
        )
    return run_training(flags)


if __name__ == "__main__":
    sys.exit(main())
