"""Trains a new head on a pretrained net, then fine-tunes the upper layers of the net with it.

python -m catsdogs_finetune.train
python -m catsdogs_finetune.train --data_dir my_photos --weights mobilenet_v2.h5
python -m catsdogs_finetune.train --no_augmentation --train_dir logs/catsdogs_plain
tensorboard --logdir logs
"""

import functools
import sys
import types

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from six.moves import xrange

from catsdogs_finetune import (
    best,
    mobilenet_v2,
    optimizers,
    photo_input,
    pretrained,
    reports,
    summaries,
)
from catsdogs_finetune import flags as training_flags
from catsdogs_finetune.kept_bottlenecks import KeptBottlenecks
from tutorial_support import checkpoints, events, image_lists, progress, sessions
from tutorial_support.programs import program

SUMMARY_EVERY = 10  # steps


def build_graph(flags, num_classes, photos):
    """Adds the net and the ops of both phases to the default graph.

    Args:
        flags: from `flags.parse`, settled.
        num_classes: int.
        photos: photo_input.PhotoInput.

    Returns:
        a namespace of what a session runs or is fed.
    """
    # The base: MobileNetV2, its variables named as in Keras.
    seen = mobilenet_v2.bottlenecks(mobilenet_v2.features(photos.images, flags.alpha))
    base_variables = tf.global_variables()
    # What it gives can be fed instead: then a session neither reads photos nor runs the base.
    bottlenecks = tf.placeholder_with_default(seen, seen.shape, "bottlenecks")

    # The head. Nothing is dropped unless a rate is fed.
    global_step = tf.train.get_or_create_global_step()
    dropout_rate = tf.placeholder_with_default(0.0, (), "dropout_rate")
    dropout = functools.partial(
        tf2.nn.experimental.stateless_dropout,
        rate=dropout_rate,
        seed=tf.stack([tf.constant(flags.seed, tf.int64), global_step]),
    )
    logits = mobilenet_v2.inference(bottlenecks, num_classes, dropout)
    loss = mobilenet_v2.loss(logits, photos.labels)

    # The two phases: the head alone, then with it the layers from `fine_tune_at` on.
    num_layers = len(mobilenet_v2.layer_names(flags.alpha))
    head = mobilenet_v2.variables_from(num_layers, flags.alpha)
    upper = mobilenet_v2.variables_from(flags.fine_tune_at, flags.alpha)
    head_op = mobilenet_v2.training(loss, optimizers.adam(flags.learning_rate), head)
    fine_tune_op = mobilenet_v2.training(
        loss, optimizers.RMSPropOptimizer(flags.fine_tune_rate), upper
    )

    # Loss, correct predictions and images, summed over a batch, and over an epoch of training: in
    # a variable, so that a run that is stopped in mid-epoch keeps them.
    size = tf.cast(tf.size(photos.labels), tf.float32)
    correct = tf.cast(mobilenet_v2.evaluation(logits, photos.labels), tf.float32)
    batch_totals = tf.stack([loss * size, correct, size])
    epoch_totals = tf.get_variable("epoch_totals", initializer=tf.zeros([3]), trainable=False)
    return types.SimpleNamespace(
        seen=seen,
        base_variables=base_variables,
        bottlenecks=bottlenecks,
        dropout_rate=dropout_rate,
        class_logits=mobilenet_v2.class_logits(logits),
        head_op=head_op,
        fine_tune_op=fine_tune_op,
        batch_totals=batch_totals,
        add_to_epoch=epoch_totals.assign_add(batch_totals),
        begin_epoch=epoch_totals.initializer,
        loss=loss,
        summary=summaries.of_variables(head),
        net_variables=[*base_variables, *head, global_step],
        variables_finite=checkpoints.all_finite(),
    )


def run_training(flags):
    """Trains for all epochs of both phases, or goes on to their end from the newest checkpoint.

    Returns:
        the exit code: 0, or 130 or 143 after a signal.
    """
    source, distort, run = training_flags.open_run(flags)
    images = source.images
    training, validation, testing = (images.of_split(split) for split in image_lists.SPLITS)
    num_epochs = flags.initial_epochs + flags.fine_tune_epochs
    steps = photo_input.steps_per_epoch(len(training), flags.batch_size)
    first_fine_step, last_step = flags.initial_epochs * steps, num_epochs * steps

    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)
        photos = photo_input.PhotoInput(
            images, training, flags.image_size, flags.batch_size, flags.seed, distort
        )
        net = build_graph(flags, len(images.class_names), photos)
        init = tf.global_variables_initializer()
        saver = tf.train.Saver()
        best_saver = tf.train.Saver(net.net_variables, max_to_keep=1)

        with (
            tf.Session(config=sessions.config()) as sess,
            tf.summary.FileWriter(
                str(run.path), sess.graph, filename_suffix=events.file_suffix(run.path)
            ) as writer,
            sessions.StopSignals() as stop,
        ):
            # A new run begins with pretrained weights, a resumed one with those that it saved.
            feed_dict = {}
            if checkpoints.newest_or_none(run.path) is None:
                feed_dict = pretrained.fill_feed_dict(source.weights, net.base_variables)
            sess.run(init, feed_dict)
            start = checkpoints.resume(saver, sess, run, writer, last_step)

            # As long as the base is frozen, it gives the same for the same photo. So photos that
            # are not distorted go through it once.
            kept, first_photo_step = None, start
            if start < first_fine_step:
                undistorted = validation
                if flags.no_augmentation:
                    undistorted = np.append(training, validation)
                    first_photo_step = first_fine_step
                kept = KeptBottlenecks(
                    images,
                    undistorted,
                    source.store_folder,
                    mobilenet_v2.bottleneck_size(flags.alpha),
                    lambda chosen: photos.one_pass(sess, chosen, net.seen),
                    lambda vectors, labels: {net.bottlenecks: vectors, photos.labels: labels},
                )
            photos.begin(sess, start, first_photo_step)

            def validate(is_frozen):
                source = kept if is_frozen else photos
                return summaries.means(source.one_pass(sess, validation, net.batch_totals))

            if start == 0:
                reports.draw_input(run, images, training, flags.image_size, distort, flags.seed)
                before = validate(is_frozen=first_fine_step > 0)
                progress.say("Before training: " + summaries.described("validation ", *before))
                summaries.write_epoch(writer, "validation", *before, step=0)

            for epoch in xrange(start // steps, num_epochs):
                is_frozen = epoch < flags.initial_epochs
                train_op = net.head_op if is_frozen else net.fine_tune_op
                name = f"Epoch {epoch + 1} of {num_epochs} ({'head' if is_frozen else 'fine'})"
                first = max(start, epoch * steps)

                with progress.bar(steps, name, initial=first - epoch * steps) as bar:
                    for step in xrange(first, (epoch + 1) * steps):
                        if stop.requested:
                            writer.flush()
                            saver.save(sess, run.checkpoint_prefix, global_step=step)
                            progress.say(f"Stopped by a signal; step {step} is saved.")
                            return stop.exit_code

                        # One step: the photos are ready in the graph, or bottlenecks are fed.
                        feed_dict = photos.training_feed
                        if is_frozen and flags.no_augmentation:
                            feed_dict = kept.feed(sess.run(photos.next_indices))
                        feed_dict = {**feed_dict, net.dropout_rate: flags.dropout}
                        _, batch_loss, totals = sess.run(
                            [train_op, net.loss, net.add_to_epoch], feed_dict
                        )
                        checkpoints.check_finite(np.isfinite(batch_loss), "the loss", step + 1)
                        if (step + 1) % SUMMARY_EVERY == 0:
                            events.write_scalar(writer, "batch_loss", batch_loss, step + 1)
                        loss_value, accuracy = summaries.means([totals])
                        bar.set_postfix(loss=loss_value, accuracy=accuracy, refresh=False)
                        bar.update()

                # The end of an epoch.
                done = (epoch + 1) * steps
                found = validate(is_frozen)
                progress.say(
                    f"{name}: {summaries.described('', loss_value, accuracy)}; "
                    f"{summaries.described('validation ', *found)}"
                )
                summaries.write_epoch(writer, "training", loss_value, accuracy, done)
                summaries.write_epoch(writer, "validation", *found, done)
                writer.add_summary(sess.run(net.summary), done)
                writer.flush()
                sess.run(net.begin_epoch)
                checkpoints.check_finite(sess.run(net.variables_finite), "a variable", done)
                best.keep_if_best(best_saver, sess, run.file(training_flags.BEST), *found, done)
                saver.save(sess, run.checkpoint_prefix, global_step=done)

            reports.draw_curves(run, steps, flags.initial_epochs)
            test_logits = np.concatenate(list(photos.one_pass(sess, testing, net.class_logits)))
            reports.report_split(
                run.path, images.only(testing), test_logits, flags.image_size, image_lists.TESTING
            )
            return stop.exit_code


@program
def main(argv=None):
    """Parses the flags and trains."""
    return run_training(training_flags.parse(__doc__, argv))


if __name__ == "__main__":
    sys.exit(main())
