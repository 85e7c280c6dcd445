"""Trains a new head on the bottlenecks of a frozen base: a classifier of your own images.

python -m flowers_transfer.retrain --image_dir my_photos
python -m flowers_transfer.retrain --image_dir my_photos --base_graph base.pb
tensorboard --logdir logs
"""

import contextlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf
from six.moves import xrange

from flowers_transfer import flags as training_flags
from flowers_transfer import head, reports, sampling, summaries
from tutorial_support import checkpoints, events, image_lists, progress, sessions
from tutorial_support.programs import program

SAVE_EVERY = 1000  # steps
_AT_ONCE = 1000  # images in an evaluation


def fill_feed_dict(found, bottleneck_input, ground_truth, chosen):
    """Returns the feed dictionary of images whose bottlenecks are kept.

    Args:
        found: bottlenecks.Bottlenecks.
        bottleneck_input, ground_truth: from `head.placeholder_inputs`.
        chosen: int array, indices of images.
    """
    return {bottleneck_input: found.read(chosen), ground_truth: found.images.labels[chosen]}


def fill_distorted(found, bottleneck_input, ground_truth, chosen, extractor, distortions, seeds):
    """Returns the same, of distorted images: what is never the same twice has nothing to keep.

    Args:
        found, bottleneck_input, ground_truth, chosen: as of `fill_feed_dict`.
        extractor: bottlenecks.Extractor.
        distortions: distortions.Distortions.
        seeds: a sequence of ints for each image.
    """
    vectors = extractor.of_distorted(found.images.files(chosen), distortions, seeds)
    return {bottleneck_input: vectors, ground_truth: found.images.labels[chosen]}


def distortion_seeds(flags, step):
    """Returns the seeds of the images in the batch of a step, a tuple of ints each."""
    return [(flags.seed, step, place) for place in range(flags.train_batch_size)]


def predict_logits(sess, logits, bottleneck_input, found, chosen):
    """Returns the head's output, float32 [n, classes], for the images `chosen` of `found`."""
    parts = np.array_split(chosen, max(1, -(-len(chosen) // _AT_ONCE)))
    return np.concatenate(
        [sess.run(logits, {bottleneck_input: found.read(part)}) for part in parts]
    )


def run_training(flags):
    """Trains for `flags.how_many_training_steps`, or goes on to them from the newest checkpoint.

    Returns:
        the exit code: 0, or 130 or 143 after a signal.
    """
    found, make_extractor, distortions, run = training_flags.open_run(flags)
    images, last_step = found.images, flags.how_many_training_steps
    training, validation, testing = (images.of_split(split) for split in image_lists.SPLITS)
    sample = sampling.SAMPLINGS[flags.sampling]
    training_sampler = sample(images.labels[training], flags.seed)
    validation_sampler = sample(images.labels[validation], flags.seed)

    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # The graph holds the head alone: what it is fed has been through the base already.
        bottleneck_input, ground_truth = head.placeholder_inputs(found.size)
        logits = head.inference(bottleneck_input, len(images.class_names))
        loss = head.loss(logits, ground_truth)
        objective = loss + head.weight_decay(flags.weight_decay)
        train_op = head.training(objective, flags.learning_rate, flags.momentum)
        correct = head.evaluation(logits, ground_truth)
        summary = summaries.of_training(loss, logits, correct)
        variables_finite = checkpoints.all_finite()
        init = tf.global_variables_initializer()
        saver = tf.train.Saver()

        with (
            tf.Session(config=sessions.config(small_net=True)) as sess,
            make_extractor() if distortions else contextlib.nullcontext() as extractor,
            tf.summary.FileWriter(
                str(run.path), sess.graph, filename_suffix=events.file_suffix(run.path)
            ) as writer,
            sessions.StopSignals() as stop,
            progress.bar(last_step, "training") as bar,
        ):
            sess.run(init)
            first_step = checkpoints.resume(saver, sess, run, writer, last_step)
            bar.update(first_step)

            for step in xrange(first_step, last_step):
                steps_done = step + 1
                is_evaluated = steps_done % flags.eval_step_interval == 0 or steps_done == last_step
                is_saved = steps_done % SAVE_EVERY == 0 or steps_done == last_step

                # Draw a batch and look its bottlenecks up.
                chosen = training[training_sampler.batch(step, flags.train_batch_size)]
                wanted = found, bottleneck_input, ground_truth, chosen
                if distortions:
                    seeds = distortion_seeds(flags, step)
                    feed_dict = fill_distorted(*wanted, extractor, distortions, seeds)
                else:
                    feed_dict = fill_feed_dict(*wanted)

                # Take the step.
                _, loss_value = sess.run([train_op, loss], feed_dict)
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                bar.update()

                if is_evaluated:
                    writer.add_summary(sess.run(summary, feed_dict), steps_done)
                if is_evaluated and len(validation):
                    chosen = validation
                    if 0 < flags.validation_batch_size < len(validation):
                        chosen = validation[
                            validation_sampler.batch(step, flags.validation_batch_size)
                        ]
                    feed_dict = fill_feed_dict(found, bottleneck_input, ground_truth, chosen)
                    num_correct, validation_loss = sess.run([correct, loss], feed_dict)
                    accuracy = num_correct / len(chosen)
                    progress.say(
                        f"Step {steps_done}: Validation accuracy on random sampled {len(chosen)} "
                        f"examples = {100 * accuracy:.1f}%"
                    )
                    summaries.write_validation(writer, validation_loss, accuracy, steps_done)

                if is_saved or stop.requested:
                    writer.flush()
                    checkpoints.check_finite(sess.run(variables_finite), "a variable", step)
                    saver.save(sess, run.checkpoint_prefix, global_step=steps_done)
                if stop.requested:
                    progress.say(f"Stopped by a signal; step {steps_done} is saved.")
                    return stop.exit_code

            test_logits = predict_logits(sess, logits, bottleneck_input, found, testing)
            reports.report_run(
                run, found, testing, test_logits, flags.print_misclassified_test_images
            )
            return stop.exit_code


@program
def main(argv=None):
    """Parses the flags and trains."""
    return run_training(training_flags.parse(__doc__, argv))


if __name__ == "__main__":
    sys.exit(main())
