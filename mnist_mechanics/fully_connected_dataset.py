"""Trains the fully connected MNIST net on a tf.data pipeline: no feeding, no queues.

    python -m mnist_mechanics.fully_connected_dataset
    tensorboard --logdir logs

Net, flags, output and checkpoints are those of `fully_connected_feed`. What differs is how a
batch reaches the net: the graph itself fetches it from an iterator. The arrays are fed once, when
the iterator starts, and never become a part of the graph or of its checkpoints.
"""

import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf
from six.moves import xrange

from mnist_mechanics import flags as training_flags
from mnist_mechanics import input_data, mnist, reports, summaries
from tutorial_support import checkpoints, events, progress, sessions
from tutorial_support.programs import program

LOG_DIR = "logs/mnist_dataset"


class Input:
    """The graph's input: two iterators over the same placeholders, and a handle that chooses.

    Attributes:
        images: float32 [batch, IMAGE_PIXELS] in [0, 1], the chosen iterator's next images.
        labels: uint8 [batch].
    """

    def __init__(self, batch_size, seed):
        """Adds placeholders, pipelines and iterators to the default graph."""
        self._pixels = tf.placeholder(tf.uint8, (None, mnist.IMAGE_PIXELS), "pixels")
        self._labels = tf.placeholder(tf.uint8, (None,), "labels")
        self._first_step = tf.placeholder(tf.int64, (), "first_step")
        self._training = tf.data.make_initializable_iterator(
            input_data.training_dataset(
                self._pixels, self._labels, batch_size, seed, self._first_step
            )
        )
        self._evaluation = tf.data.make_initializable_iterator(
            input_data.evaluation_dataset(self._pixels, self._labels, reports.EVALUATION_BATCH)
        )
        self._handle = tf.placeholder(tf.string, (), "iterator_handle")
        iterator = tf.data.Iterator.from_string_handle(
            self._handle, (tf.float32, tf.uint8), ((None, mnist.IMAGE_PIXELS), (None,))
        )
        self.images, self.labels = iterator.get_next()

    def start_training(self, sess, data_set, first_step):
        """Starts the training iterator and returns the feed dictionary that chooses it."""
        arrays = {self._pixels: data_set.pixels, self._labels: data_set.labels}
        sess.run(self._training.initializer, arrays | {self._first_step: first_step})
        return {self._handle: sess.run(self._training.string_handle())}

    def run_through(self, sess, data_set, fetch):
        """Yields the value of `fetch` for every batch of one pass over `data_set`."""
        arrays = {self._pixels: data_set.pixels, self._labels: data_set.labels}
        sess.run(self._evaluation.initializer, arrays)
        feed_dict = {self._handle: sess.run(self._evaluation.string_handle())}
        while True:
            try:
                yield sess.run(fetch, feed_dict)
            except tf.errors.OutOfRangeError:  # how an iterator says that the pass is over
                return


def count_correct(sess, eval_correct, inputs, data_set):
    """Returns how many examples of `data_set` are predicted right; each is counted once."""
    return int(sum(inputs.run_through(sess, data_set, eval_correct)))


def run_training(flags):
    """Trains for `flags.max_steps` steps, or goes on to them from the newest checkpoint.

    Returns:
        the exit code: 0, or 130 or 143 after a signal.
    """
    data_sets, run = training_flags.open_run(flags)

    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # The graph, as in `fully_connected_feed`, but for where its input comes from.
        inputs = Input(flags.batch_size, flags.seed)
        logits = mnist.inference(inputs.images, flags.hidden1, flags.hidden2)
        loss = mnist.loss(logits, inputs.labels)
        train_op = mnist.training(loss, flags.learning_rate)
        eval_correct = mnist.evaluation(logits, tf.cast(inputs.labels, tf.int32))
        if flags.summaries == "full":
            summaries.add_full(inputs.images)
        summary = tf.summary.merge_all()
        variables_finite = checkpoints.all_finite()
        init = tf.global_variables_initializer()
        saver = tf.train.Saver()

        with (
            tf.Session(config=sessions.config()) as sess,
            tf.summary.FileWriter(
                str(run.path), sess.graph, filename_suffix=events.file_suffix(run.path)
            ) as writer,
            sessions.StopSignals() as stop,
            progress.bar(flags.max_steps, "training") as bar,
        ):
            sess.run(init)
            first_step = checkpoints.resume(saver, sess, run, writer, flags.max_steps)
            bar.update(first_step)
            from_training = inputs.start_training(sess, data_sets.train, first_step)

            for step in xrange(first_step, flags.max_steps):
                start_time = time.time()

                # One step: nothing is fed but the handle. At a step that is told of, the batch
                # is fetched as well: to ask for it again would be to get the next one.
                is_told = step % 100 == 0
                batch = (inputs.images, inputs.labels) if is_told else ()
                options, metadata = sessions.full_trace() if step == flags.trace else (None, None)
                _, loss_value, batch_value = sess.run(
                    (train_op, loss, batch), from_training, options, metadata
                )
                duration = time.time() - start_time
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                bar.update()
                if metadata is not None:
                    sessions.write_trace(writer, metadata, step, run.path)

                # Tell how it goes. Any tensor can be fed, not just a placeholder: here the batch
                # that the step had takes the place of the iterator.
                if is_told:
                    reports.say_step(step, loss_value, duration)
                    feed_dict = dict(zip(batch, batch_value, strict=True))
                    writer.add_summary(sess.run(summary, feed_dict), step)
                    if flags.summaries == "full":
                        num_correct = count_correct(
                            sess, eval_correct, inputs, data_sets.validation
                        )
                        reports.write_accuracy(writer, data_sets.validation, num_correct, step)
                    writer.flush()

                # Evaluate, then save a checkpoint: a saved step is always an evaluated one.
                steps_done = step + 1
                is_saved = steps_done % 1000 == 0 or steps_done == flags.max_steps
                if is_saved:
                    for split, data_set in data_sets._asdict().items():
                        reports.say_split(split)
                        num_correct = count_correct(sess, eval_correct, inputs, data_set)
                        precision = reports.say_precision(data_set.num_examples, num_correct)
                        reports.write_precision(writer, split, precision, steps_done)
                    writer.flush()
                if is_saved or stop.requested:
                    checkpoints.check_finite(sess.run(variables_finite), "a variable", step)
                    saver.save(sess, run.checkpoint_prefix, global_step=steps_done)
                if stop.requested:
                    progress.say(f"Stopped by a signal; step {steps_done} is saved.")
                    return stop.exit_code

            test_logits = np.concatenate(list(inputs.run_through(sess, data_sets.test, logits)))
            reports.draw_run(run, data_sets.test, test_logits)
            return stop.exit_code


@program
def main(argv=None):
    """Parses the flags and trains."""
    return run_training(training_flags.parse(__doc__, argv, LOG_DIR))


if __name__ == "__main__":
    sys.exit(main())
