"""Trains the CIFAR-10 net and evaluates it on all test images as it goes.

python -m cifar10_cnn.train
python -m cifar10_cnn.train --recipe cookbook --train_dir logs/cifar10_cookbook
tensorboard --logdir logs
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf
from six.moves import xrange

from cifar10_cnn import cifar10, cifar10_input, distortions, reports, summaries
from cifar10_cnn import flags as training_flags
from cifar10_cnn.recipes import RECIPES
from tutorial_support import checkpoints, events, progress, sessions
from tutorial_support.programs import program


def central_images(images):
    """Prepares images for evaluation: float32 [batch, CROP_SIZE, CROP_SIZE, 3]."""
    return distortions.standardize(distortions.central_crop(images, cifar10.CROP_SIZE))


def run_through(sess, iterator, *fetches):
    """Returns the values of `fetches`, each concatenated over one pass of an iterator."""
    values = sessions.one_pass(sess, iterator, fetches)
    return [np.concatenate(parts) for parts in zip(*values, strict=True)]


def losses(images, targets, recipe, num_classes, drop):
    """Adds the training net.

    Args:
        images: float32 [batch, CROP_SIZE, CROP_SIZE, 3], standardized.
        targets: int32 [batch].
        recipe: recipes.Recipe.
        num_classes: int.
        drop: from `recipe.drop`.

    Returns:
        (cross entropy, what the optimizer minimizes), two float32 scalars.
    """
    with tf.variable_scope(cifar10.SCOPE, reuse=tf.AUTO_REUSE):
        logits = cifar10.inference(images, num_classes, drop)
    return recipe.loss(logits, targets)


def learning_rate(flags, recipe, global_step):
    """Returns the learning rate that the flags ask for, as of `recipes.Recipe.rate`."""
    return recipe.rate(
        global_step,
        flags.generations,
        flags.lr_decay,
        flags.num_gens_to_wait,
        flags.learning_rate,
    )


def run_training(flags, add_losses=losses, config=None):
    """Trains for `flags.generations`, or goes on to them from the newest checkpoint.

    Args:
        flags: from `flags.parse`.
        add_losses: function as `losses`, which adds the training net.
        config: ConfigProto of the session; by default `sessions.config()`.

    Returns:
        the exit code: 0, or 130 or 143 after a signal.
    """
    training, testing, run = training_flags.open_run(flags)
    recipe = RECIPES[flags.recipe]
    num_classes = len(training.class_names)

    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # The input: two iterators, of distorted training images and of plain test images.
        first_step = tf.placeholder(tf.int64, (), "first_step")
        training_iterator = tf.data.make_initializable_iterator(
            cifar10_input.training_batches(
                training, flags.batch_size, flags.seed, first_step, recipe.distort
            )
        )
        images, targets = training_iterator.get_next()
        test_iterator = tf.data.make_initializable_iterator(
            cifar10_input.evaluation_batches(testing, reports.EVALUATION_BATCH, central_images)
        )
        test_images, test_targets = test_iterator.get_next()

        # The training net, what it minimizes, and the op that takes a step.
        global_step = tf.train.get_or_create_global_step()
        drop = recipe.drop(global_step, flags.generations, flags.seed)
        loss, objective = add_losses(images, targets, recipe, num_classes, drop)
        rate = learning_rate(flags, recipe, global_step)
        average = recipe.average(global_step)
        train_op = cifar10.training(objective, recipe.optimizer(rate), average)

        # The test net: the same variables, or their moving averages, read a second time.
        getter = None if average is None else cifar10.averaged(average)
        with tf.variable_scope(cifar10.SCOPE, reuse=True, custom_getter=getter):
            test_logits = cifar10.inference(test_images, num_classes)
            filters = tf.get_variable(reports.FILTERS)
        correct = cifar10.evaluation(test_logits, test_targets)

        scalar_summary = summaries.scalars(loss, rate)
        activation_summary = summaries.activations(images)
        variables_finite = checkpoints.all_finite()
        init = tf.global_variables_initializer()
        saver = tf.train.Saver()

        with (
            tf.Session(config=config or sessions.config()) as sess,
            tf.summary.FileWriter(
                str(run.path), sess.graph, filename_suffix=events.file_suffix(run.path)
            ) as writer,
            sessions.StopSignals() as stop,
            progress.bar(flags.generations, "training", unit="generation") as bar,
        ):
            sess.run(init)
            start = checkpoints.resume(saver, sess, run, writer, flags.generations)
            bar.update(start)
            sess.run(training_iterator.initializer, {first_step: start})

            for i in xrange(start, flags.generations):
                generation = i + 1
                is_output = generation % flags.output_every == 0
                is_evaluation = generation % flags.eval_every == 0
                is_last = generation == flags.generations

                # One generation: the input is ready in the graph, nothing is fed.
                summary = [scalar_summary] * is_output + [activation_summary] * is_evaluation
                _, loss_value, summary_values = sess.run([train_op, loss, summary])
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", generation)
                bar.update()

                if is_output:
                    progress.say(f"Generation {generation}: Loss = {loss_value:.5f}")
                for summary_value in summary_values:
                    writer.add_summary(summary_value, generation)

                if is_evaluation:
                    (counts,) = run_through(sess, test_iterator, correct[None])
                    accuracy = counts.sum() / testing.num_examples
                    progress.say(f" --- Test Accuracy= {100 * accuracy:.2f}%.")
                    events.write_scalar(writer, "test_accuracy", accuracy, generation)
                    writer.flush()

                if generation % flags.save_every == 0 or is_last or stop.requested:
                    writer.flush()
                    checkpoints.check_finite(sess.run(variables_finite), "a variable", generation)
                    saver.save(sess, run.checkpoint_prefix, global_step=generation)
                if stop.requested:
                    progress.say(f"Stopped by a signal; generation {generation} is saved.")
                    return stop.exit_code

            test_values = run_through(sess, test_iterator, test_logits, test_targets, test_images)
            reports.draw_run(run, testing.class_names, sess.run(filters), *test_values)
            return stop.exit_code


@program
def main(argv=None):
    """Parses the flags and trains."""
    return run_training(training_flags.parse(__doc__, argv))


if __name__ == "__main__":
    sys.exit(main())
