"""Trains the fully connected MNIST net from feed dictionaries.

python -m mnist_mechanics.fully_connected_feed
python -m mnist_mechanics.fully_connected_feed --max_steps 5000        (goes on from 2,000)
python -m mnist_mechanics.fully_connected_feed --fresh --summaries full --trace 10
tensorboard --logdir logs
"""

import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf
from six.moves import xrange

from mnist_mechanics import flags as training_flags
from mnist_mechanics import mnist, reports, summaries
from tutorial_support import checkpoints, events, progress, sessions
from tutorial_support.programs import program


def placeholder_inputs(batch_size=None):
    """Adds the placeholders that a feed dictionary fills.

    Args:
        batch_size: int, or None for batches of any size.

    Returns:
        images_placeholder: float32 [batch_size, IMAGE_PIXELS].
        labels_placeholder: int32 [batch_size].
    """
    images_placeholder = tf.placeholder(tf.float32, (batch_size, mnist.IMAGE_PIXELS))
    labels_placeholder = tf.placeholder(tf.int32, (batch_size,))
    return images_placeholder, labels_placeholder


def fill_feed_dict(data_set, images_pl, labels_pl, batch_size=100):
    """Returns the feed dictionary of the next training step: placeholder -> numpy array.

    Args:
        data_set: input_data.DataSet, which moves on by a batch.
        images_pl, labels_pl: from `placeholder_inputs`.
        batch_size: int.
    """
    images_feed, labels_feed = data_set.next_batch(batch_size)
    return {images_pl: images_feed, labels_pl: labels_feed}


def count_correct(sess, eval_correct, images_placeholder, labels_placeholder, data_set):
    """Returns how many examples of `data_set` are predicted right; each is counted once."""
    num_correct = 0
    for images, labels in data_set.batches(reports.EVALUATION_BATCH):
        feed_dict = {images_placeholder: images, labels_placeholder: labels}
        num_correct += sess.run(eval_correct, feed_dict=feed_dict)
    return int(num_correct)


def do_eval(sess, eval_correct, images_placeholder, labels_placeholder, data_set):
    """Evaluates the whole of a data set, prints the result and returns the precision.

    Args:
        sess: the session that holds the trained variables.
        eval_correct: int32 scalar tensor, from `mnist.evaluation`.
        images_placeholder, labels_placeholder: from `placeholder_inputs()`.
        data_set: input_data.DataSet; its position stays where it is.
    """
    num_correct = count_correct(
        sess, eval_correct, images_placeholder, labels_placeholder, data_set
    )
    return reports.say_precision(data_set.num_examples, num_correct)


def predict_logits(sess, logits, images_placeholder, data_set):
    """Returns the net's output for all images of `data_set`: float32 [n, NUM_CLASSES]."""
    batches = data_set.batches(reports.EVALUATION_BATCH)
    return np.concatenate([sess.run(logits, {images_placeholder: images}) for images, _ in batches])


def run_training(flags):
    """Trains for `flags.max_steps` steps, or goes on to them from the newest checkpoint.

    Returns:
        the exit code: 0, or 130 or 143 after a signal.
    """
    data_sets, run = training_flags.open_run(flags)

    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # The graph: nothing is computed while it is built.
        images_placeholder, labels_placeholder = placeholder_inputs()
        logits = mnist.inference(images_placeholder, flags.hidden1, flags.hidden2)
        loss = mnist.loss(logits, labels_placeholder)
        train_op = mnist.training(loss, flags.learning_rate)
        eval_correct = mnist.evaluation(logits, labels_placeholder)
        if flags.summaries == "full":
            summaries.add_full(images_placeholder)
        summary = tf.summary.merge_all()
        variables_finite = checkpoints.all_finite()
        init = tf.global_variables_initializer()
        saver = tf.train.Saver()

        with (
            tf.Session(config=sessions.config(small_net=True)) as sess,
            tf.summary.FileWriter(
                str(run.path), sess.graph, filename_suffix=events.file_suffix(run.path)
            ) as writer,
            sessions.StopSignals() as stop,
            progress.bar(flags.max_steps, "training") as bar,
        ):
            # The variables get their first values, or those of the newest checkpoint.
            sess.run(init)
            first_step = checkpoints.resume(saver, sess, run, writer, flags.max_steps)
            bar.update(first_step)
            data_sets.train.seek(first_step * flags.batch_size)

            for step in xrange(first_step, flags.max_steps):
                start_time = time.time()

                # One step: feed a batch, fetch the loss. Fetching train_op, which has no value
                # of interest, makes the session run it.
                feed_dict = fill_feed_dict(
                    data_sets.train, images_placeholder, labels_placeholder, flags.batch_size
                )
                options, metadata = sessions.full_trace() if step == flags.trace else (None, None)
                _, loss_value = sess.run((train_op, loss), feed_dict, options, metadata)
                duration = time.time() - start_time
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                bar.update()
                if metadata is not None:
                    sessions.write_trace(writer, metadata, step, run.path)

                # Tell how it goes, on the screen and in the event file.
                if step % 100 == 0:
                    reports.say_step(step, loss_value, duration)
                    writer.add_summary(sess.run(summary, feed_dict), step)
                    if flags.summaries == "full":
                        num_correct = count_correct(
                            sess,
                            eval_correct,
                            images_placeholder,
                            labels_placeholder,
                            data_sets.validation,
                        )
                        reports.write_accuracy(writer, data_sets.validation, num_correct, step)
                    writer.flush()

                # Evaluate, then save a checkpoint: a saved step is always an evaluated one.
                steps_done = step + 1
                is_saved = steps_done % 1000 == 0 or steps_done == flags.max_steps
                if is_saved:
                    for split, data_set in data_sets._asdict().items():
                        reports.say_split(split)
                        precision = do_eval(
                            sess, eval_correct, images_placeholder, labels_placeholder, data_set
                        )
                        reports.write_precision(writer, split, precision, steps_done)
                    writer.flush()
                if is_saved or stop.requested:
                    checkpoints.check_finite(sess.run(variables_finite), "a variable", step)
                    saver.save(sess, run.checkpoint_prefix, global_step=steps_done)
                if stop.requested:
                    progress.say(f"Stopped by a signal; step {steps_done} is saved.")
                    return stop.exit_code

            test_logits = predict_logits(sess, logits, images_placeholder, data_sets.test)
            reports.draw_run(run, data_sets.test, test_logits)
            return stop.exit_code


@program
def main(argv=None):
    """Parses the flags and trains."""
    return run_training(training_flags.parse(__doc__, argv, training_flags.LOG_DIR))


if __name__ == "__main__":
    sys.exit(main())
