"""Trains the CIFAR-10 net and regularly evaluates it on all test images.

    python -m cifar10_cnn.train                        (cookbook recipe, 74.4% test accuracy)
    python -m cifar10_cnn.train --recipe best --train_dir logs/cifar10_best   (better: 86.5%)
    python -m cifar10_cnn.train --sample --train_dir logs/shapes   (drawn shapes, two minutes)
    tensorboard --logdir logs

A run that was stopped or killed resumes from its newest checkpoint.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

import numpy as np
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, recipes
from cifar10_cnn.recipes import Recipe
from tutorial_support import TEST, VALIDATION, checkpoints, plots, runs, summaries
from tutorial_support.programs import number

TRAIN_DIR = "logs/cifar10"
# A resumed run may change these flags: none of them affects the values of the variables.
MAY_CHANGE = (
    "data_dir",
    "sample",
    "train_dir",
    "num_towers",
    "output_every",
    "eval_every",
    "save_every",
)


def losses(
    images: tf.Tensor, targets: tf.Tensor, recipe: Recipe, num_classes: int, drop: Callable
) -> tuple[tf.Tensor, tf.Tensor, cifar10.Net]:
    """Adds the training net; returns (cross entropy, objective to minimize, net).

    `images` are standardized, float32 [batch, CROP_SIZE, CROP_SIZE, 3]; `targets` are int32
    [batch]; `drop` comes from `recipe.drop`.
    """
    with tf.variable_scope(cifar10.SCOPE, reuse=tf.AUTO_REUSE):
        net = cifar10.inference(images, num_classes, drop)
    return *recipe.loss(net, targets), net


def run_training(
    flags: argparse.Namespace, add_losses: Callable = losses, config: tf.ConfigProto | None = None
) -> int:
    """Trains from the newest checkpoint up to `flags.generations`; returns the exit code.

    Args:
        flags: those of `add_flags`.
        add_losses: function like `losses`, which adds the training net.
        config: session configuration; by default `runs.session_config()`.
    """
    with runs.Run(flags.train_dir, "cifar10_cnn", flags) as run, tf.Graph().as_default():
        # A resumed run reads its own data again (run.kept names it); settle() compares the flags.
        training, testing, facts = cifar10_input.load(flags, run.kept)
        recipe = recipes.choose(flags, run.kept, facts["sample"])
        run.settle(facts, (*MAY_CHANGE, *recipe.may_change))
        num_classes = len(training.class_names)
        where = "the shipped sample" if facts["sample"] else training.folder
        runs.print_line(
            f"Training on {training.num_examples} images of {where} for {flags.generations} "
            f"generations, recipe {flags.recipe}."
        )
        tf.set_random_seed(flags.seed)

        # The input is part of the graph: one iterator yields distorted training images, another
        # yields plain test images. Every Session.run that uses images takes the next batch.
        inputs = cifar10_input.TrainingInput(training, flags, recipe.distort)
        with tf.name_scope("test_input"):
            batches = cifar10_input.evaluation_batches(testing)
            test_iterator = tf.data.make_initializable_iterator(batches)
            test_images, test_targets = test_iterator.get_next()

        # The training net, its objective, and the op that takes a training step.
        global_step = tf.train.get_or_create_global_step()
        drop = recipe.drop(global_step, flags.generations, flags.seed)
        loss, objective, net = add_losses(inputs.images, inputs.targets, recipe, num_classes, drop)
        rate = recipe.rate(global_step, flags)
        optimizer, average = recipe.optimizer(rate, net.last_weights), recipe.average(global_step)
        train_op = cifar10.training(objective, rate, optimizer, average)
        tf.summary.scalar("loss", loss)
        # Merge now: the test net below adds the same summaries again to the same collections.
        summary, details = tf.summary.merge_all(), summaries.merged_details()

        # The test net reads the same variables (reuse=True), or their moving averages.
        getter = None if average is None else cifar10.averaged(average)
        with (
            tf.name_scope("test_net"),
            tf.variable_scope(cifar10.SCOPE, reuse=True, custom_getter=getter),
        ):
            test_net = cifar10.inference(test_images, num_classes)
        correct = cifar10.evaluation(test_net.logits, test_targets)
        init = tf.global_variables_initializer()
        # A tf.train.Saver that refuses to save NaN and flushes its files to the disk.
        saver = checkpoints.Saver(keep=flags.keep_checkpoints)

        # The session holds the values of the variables. The initializer sets them; in a resumed
        # run, restoring the newest checkpoint then overwrites them.
        with tf.Session(config=config or runs.session_config()) as sess:
            sess.run(init)
            checkpoint = run.newest_checkpoint()
            if checkpoint is not None:
                saver.restore(sess, checkpoint)
            first_step = int(sess.run(global_step))
            inputs.begin(sess, first_step)
            writer = tf.summary.FileWriter(run.folder, sess.graph, filename_suffix=run.event_suffix)
            run.begin(writer, first_step, flags.generations)
            split = VALIDATION if flags.validation_size else TEST

            for step in run.steps(first_step, flags.generations, unit="generation"):
                generation = step + 1
                is_output = generation % flags.output_every == 0
                is_last = generation == flags.generations
                is_evaluation = generation % flags.eval_every == 0 or is_last

                # One generation. Nothing is fed, because the input is in the graph. Fetch the
                # summaries in the same run: another run would take another batch. A list times True
                # is the list; times False it is empty.
                wanted = [summary] * is_output + [details] * is_evaluation
                _, loss_value, summary_values = sess.run([train_op, loss, wanted])
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", generation)
                for summary_value in summary_values:
                    writer.add_summary(summary_value, generation)
                if is_output:
                    runs.print_line(f"Generation {generation}: Loss = {loss_value:.5f}")

                # Evaluate before saving: a run that is killed in between evaluates again when it
                # resumes. A checkpoint saved because of a signal is not evaluated.
                if is_evaluation:
                    counts = cifar10_input.one_pass(sess, test_iterator, correct)
                    accuracy = sum(map(int, counts)) / testing.num_examples
                    runs.print_line(f" --- {split.capitalize()} Accuracy= {100 * accuracy:.2f}%.")
                    summaries.write_scalar(writer, f"accuracy/{split}", accuracy, generation)
                    writer.flush()
                if run.is_save_step(generation, every=flags.save_every):
                    writer.flush()
                    saver.save(sess, run.checkpoint_prefix, global_step=generation)

            if not run.is_stopping:
                batches = cifar10_input.one_pass(sess, test_iterator, test_net.logits)
                logits = np.concatenate(list(batches))
                draw_filters(run.path / "filters.png", sess.run(test_net.filters))
                drawn = testing.labels, logits, testing.class_names, testing.pictures
                run.draw(*drawn, more=["filters.png"], split=split)
    return run.exit_code


def draw_filters(path: pathlib.Path, filters: np.ndarray) -> None:
    """Draws the filters of the first kernel, float32 [5, 5, 3, n], each scaled to [0, 1]."""
    images = filters.transpose(3, 0, 1, 2)
    low, high = (end(images, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    images = (images - low) / np.maximum(high - low, 1e-12)
    title = f"{path.parent.name}: the first layer's filters, each stretched to its own range"
    plots.picture_sheet(path, images, [""] * len(images), title, columns=8)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags shared by all programs that train this net."""
    recipes.add_flags(parser)
    add, count = parser.add_argument_group("evaluation").add_argument, number(int, 1)
    add("--output_every", type=count, default=50, help="Generations between printed losses.")
    add("--eval_every", type=count, default=500, help="Generations between evaluations.")
    add("--save_every", type=count, default=1000, help="Generations between checkpoints.")
    add(
        "--validation_size",
        type=number(int, 0),
        default=0,
        help="Evaluate on this many training images, held out from the end, instead of the test "
        "images. Use it to choose settings.",
    )
    runs.add_flags(parser, "--train_dir", TRAIN_DIR)
    cifar10_input.add_flags(parser)


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and trains."""
    parser = programs.ArgumentParser(__doc__)
    add_flags(parser)
    return run_training(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
