"""Trains the fully connected MNIST net on a tf.data pipeline: no feeding, no queues.

    python -m mnist_mechanics.fully_connected_dataset
    python -m mnist_mechanics.fully_connected_dataset --steps_per_run 100      (2.7 times as fast)
    tensorboard --logdir logs

Net, flags, output and checkpoints are those of `fully_connected_feed`. What differs is how a
batch reaches the net: the graph itself fetches it from an iterator. The arrays are fed once, when
the iterator starts, and never become a part of the graph or of its checkpoints.
"""

import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import flags as training_flags
from mnist_mechanics import input_data, mnist, reports, summaries
from tutorial_support import checkpoints, events, loops, progress, sessions
from tutorial_support.programs import UsageError, number, program

LOG_DIR = "logs/mnist_dataset"


_TOLD_EVERY = 100  # steps


class Input:
    """The graph's input: iterators over the same placeholders, and a handle that chooses.

    Attributes:
        images: float32 [batch, IMAGE_PIXELS] in [0, 1], the chosen iterator's next images.
        labels: uint8 [batch].
        blocks: with several steps a run, (uint8 [steps_per_run, batch_size, IMAGE_PIXELS],
            uint8 [steps_per_run, batch_size]), their batches.
        first_of_block: (float32 [batch_size, IMAGE_PIXELS] in [0, 1], uint8 [batch_size]).
    """

    def __init__(self, batch_size, seed, steps_per_run):
        """Adds placeholders, pipelines and iterators to the default graph."""
        self._pixels = tf.placeholder(tf.uint8, (None, mnist.IMAGE_PIXELS), "pixels")
        self._labels = tf.placeholder(tf.uint8, (None,), "labels")
        self._first_step = tf.placeholder(tf.int64, (), "first_step")
        source = self._pixels, self._labels, batch_size, seed, self._first_step
        self._training = tf.data.make_initializable_iterator(input_data.training_dataset(*source))
        if steps_per_run > 1:
            self._block_training = tf.data.make_initializable_iterator(
                input_data.training_blocks(*source, steps_per_run)
            )
            self.blocks = self._block_training.get_next()
            self.first_of_block = input_data.scaled(self.blocks[0][0]), self.blocks[1][0]
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
        self._start(sess, self._training, data_set, first_step)
        return {self._handle: sess.run(self._training.string_handle())}

    def start_blocks(self, sess, data_set, first_step):
        """Starts the iterator of blocks."""
        self._start(sess, self._block_training, data_set, first_step)

    def _start(self, sess, iterator, data_set, first_step):
        arrays = {self._pixels: data_set.pixels, self._labels: data_set.labels}
        sess.run(iterator.initializer, arrays | {self._first_step: first_step})

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
    is_looped = flags.steps_per_run > 1

    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # The graph, as in `fully_connected_feed`, but for where its input comes from.
        inputs = Input(flags.batch_size, flags.seed, flags.steps_per_run)
        logits = mnist.inference(inputs.images, flags.hidden1, flags.hidden2)
        loss = mnist.loss(logits, inputs.labels)
        train_op = mnist.training(loss, flags.learning_rate)

        # The same step once more, for a loop in the graph over the batches of a block.
        def add_step(images, labels):
            logits = mnist.inference(input_data.scaled(images), flags.hidden1, flags.hidden2)
            loss = mnist.loss(logits, labels)
            return mnist.training(loss, flags.learning_rate), loss

        if is_looped:
            in_block = tf.placeholder(tf.int32, (2,), "in_block")  # first step, behind the last
            losses = loops.looped(add_step, inputs.blocks, in_block[0], in_block[1])

        eval_correct = mnist.evaluation(logits, tf.cast(inputs.labels, tf.int32))
        if flags.summaries == "full":
            summaries.add_full(inputs.images)
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
            sess.run(init)
            first_step = checkpoints.resume(saver, sess, run, writer, flags.max_steps)
            bar.update(first_step)
            if is_looped:
                inputs.start_blocks(sess, data_sets.train, first_step)
            else:
                from_training = inputs.start_training(sess, data_sets.train, first_step)

            for step, end in loops.spans(first_step, flags.max_steps, flags.steps_per_run):
                start_time = time.time()
                is_told = step % _TOLD_EVERY == 0
                is_traced = flags.trace is not None and step <= flags.trace < end
                options, metadata = sessions.full_trace() if is_traced else (None, None)

                # One step: nothing is fed but the handle. At a step that is told of, the batch
                # is fetched as well: to ask for it again would be to get the next one.
                if not is_looped:
                    batch = (inputs.images, inputs.labels) if is_told else ()
                    _, loss_value, batch_value = sess.run(
                        (train_op, loss, batch), from_training, options, metadata
                    )
                # Or those steps of a block that are still to be taken.
                else:
                    first = step % flags.steps_per_run
                    batch = inputs.first_of_block if is_told else ()
                    loss_values, batch_value = sess.run(
                        (losses, batch), {in_block: (first, first + end - step)}, options, metadata
                    )
                    loss_value = loss_values[first]
                    checkpoints.check_finite(np.isfinite(loss_values).all(), "a loss", step)
                duration = (time.time() - start_time) / (end - step)
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                bar.update(end - step)
                if metadata is not None:
                    sessions.write_trace(writer, metadata, step, run.path)

                # Tell how it goes. Any tensor can be fed, not just a placeholder: here the batch
                # that the step had takes the place of the iterator.
                if is_told:
                    reports.say_step(step, loss_value, duration)
                    feed_dict = dict(zip((inputs.images, inputs.labels), batch_value, strict=True))
                    if is_looped:  # the loss of the step, not that after the whole block
                        feed_dict[loss] = loss_value
                    writer.add_summary(sess.run(summary, feed_dict), step)
                    if flags.summaries == "full":
                        num_correct = count_correct(
                            sess, eval_correct, inputs, data_sets.validation
                        )
                        reports.write_accuracy(writer, data_sets.validation, num_correct, step)
                    writer.flush()

                # Evaluate, then save a checkpoint: a saved step is always an evaluated one.
                steps_done = end
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


def add_flags(parser):
    """Adds this program's own flag."""
    parser.add_argument(
        "--steps_per_run",
        type=number(int, 1),
        default=1,
        help="steps that a loop in the graph takes in one run of the session",
    )


@program
def main(argv=None):
    """Parses the flags and trains."""
    flags = training_flags.parse(__doc__, argv, LOG_DIR, add_flags)
    if _TOLD_EVERY % flags.steps_per_run:
        raise UsageError(
            f"--steps_per_run {flags.steps_per_run} does not divide {_TOLD_EVERY}, the steps from "
            "one that is told of to the next; take 10, 20, 25, 50 or 100"
        )
    return run_training(flags)


if __name__ == "__main__":
    sys.exit(main())
