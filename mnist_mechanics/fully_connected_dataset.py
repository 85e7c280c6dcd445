"""Trains the fully connected MNIST net from a tf.data pipeline instead of feed dictionaries.

    python -m mnist_mechanics.fully_connected_dataset
    tensorboard --logdir logs

The net, flags, output and checkpoints are those of `fully_connected_feed`. Only the input differs:
the graph itself takes each batch from an iterator.
"""

import argparse
import sys
import time

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import fully_connected_feed, input_data, input_pipeline, mnist
from tutorial_support import checkpoints, runs, summaries

LOG_DIR = "logs/mnist_dataset"


def do_eval(
    sess: tf.Session,
    eval_correct: tf.Tensor,
    inputs: input_pipeline.Input,
    data_set: input_data.DataSet,
    quiet: bool = False,
) -> float:
    """Evaluates a whole data set, each example once; prints and returns the precision."""
    num_correct = sum(inputs.one_pass(sess, data_set, eval_correct))
    return fully_connected_feed.print_precision(data_set.num_examples, num_correct, quiet)


def run_training(flags: argparse.Namespace) -> int:
    """Trains from the newest checkpoint up to `flags.max_steps`; returns the exit code."""
    with runs.Run(flags.log_dir, "mnist_mechanics", flags) as run, tf.Graph().as_default():
        # A resumed run reads its own data again (run.kept names it); settle() compares the flags.
        data_sets, facts = input_data.load(flags, run.kept)
        run.settle(facts, fully_connected_feed.MAY_CHANGE)
        tf.set_random_seed(flags.seed)

        # The same graph as in `fully_connected_feed`, except for its input.
        def training(pixels: tf.Tensor, labels: tf.Tensor, first_step: tf.Tensor):
            return input_pipeline.training_dataset(
                pixels, labels, flags.batch_size, flags.seed, first_step
            )

        inputs = input_pipeline.Input(training, fully_connected_feed.EVALUATION_BATCH)
        # The builders take any tensors: here the iterator's output instead of placeholders.
        logits = mnist.inference(inputs.images, flags.hidden1, flags.hidden2)
        loss = mnist.loss(logits, inputs.labels)
        train_op = mnist.training(loss, flags.learning_rate)
        eval_correct = mnist.evaluation(logits, inputs.labels)
        summary = tf.summary.merge_all(name="summaries/usual")
        if flags.summaries == "full":
            both = [summary, summaries.merged_details()]
            summary = tf.summary.merge(both, name="summaries/full")
        init = tf.global_variables_initializer()
        saver = checkpoints.Saver(keep=flags.keep_checkpoints)

        with tf.Session(config=runs.session_config(small_net=True)) as sess:
            # This initializes the variables. Iterators have their own initializers.
            sess.run(init)
            checkpoint = run.newest_checkpoint()
            if checkpoint is not None:
                saver.restore(sess, checkpoint)
            first_step = int(sess.run(tf.train.get_global_step()))
            # An iterator keeps its position in the session, not in a variable, so the checkpoint
            # does not contain it. Start it at the next step.
            training_feed = inputs.start_training(sess, data_sets.train, first_step)
            writer = tf.summary.FileWriter(run.folder, sess.graph, filename_suffix=run.event_suffix)
            run.begin(writer, first_step, flags.max_steps)

            for step in run.steps(first_step, flags.max_steps):
                start_time = time.time()

                # One step: only the iterator's handle is fed. Every 100 steps the batch is fetched
                # as well, because another Session.run would return the next batch.
                batch = (inputs.images, inputs.labels) if step % 100 == 0 else ()
                options, metadata = None, None  # except in the step that --trace records
                if step == flags.trace:
                    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
                    metadata = tf.RunMetadata()
                _, loss_value, batch_value = sess.run(
                    [train_op, loss, batch], training_feed, options, metadata
                )
                duration = time.time() - start_time
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                if metadata is not None:
                    summaries.write_trace(writer, metadata, step, run.path)

                if step % 100 == 0:
                    runs.print_line(f"Step {step}: loss = {loss_value:.2f} ({duration:.3f} sec)")
                    # Any tensor can be fed. Here the kept batch replaces the iterator's output.
                    fed = dict(zip((inputs.images, inputs.labels), batch_value, strict=True))
                    writer.add_summary(sess.run(summary, fed), step)
                    if flags.summaries == "full":
                        # An evaluation uses the other iterator and does not advance this one.
                        accuracy = do_eval(sess, eval_correct, inputs, data_sets.validation, True)
                        summaries.write_scalar(writer, "accuracy/validation", accuracy, step)
                    writer.flush()

                steps_done = step + 1
                if steps_done % 1000 == 0 or steps_done == flags.max_steps:
                    for split, data_set in data_sets._asdict().items():
                        runs.print_line(f"{input_data.TITLES[split]} Data Eval:")
                        precision = do_eval(sess, eval_correct, inputs, data_set)
                        summaries.write_scalar(writer, f"accuracy/{split}", precision, steps_done)
                    writer.flush()
                if run.is_save_step(steps_done, every=1000):
                    saver.save(sess, run.checkpoint_prefix, global_step=steps_done)

            if not run.is_stopping:
                test = data_sets.test
                test_logits = np.concatenate(list(inputs.one_pass(sess, test, logits)))
                run.draw(test.labels, test_logits, input_data.CLASS_NAMES, test.pictures)
    return run.exit_code


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    return run_training(fully_connected_feed.parse(parser, argv, LOG_DIR))


if __name__ == "__main__":
    sys.exit(main())
