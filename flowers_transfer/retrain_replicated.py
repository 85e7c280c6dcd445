"""Trains a new head on several processes, which also divide the bottlenecks among themselves.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m flowers_transfer.retrain_replicated --image_dir my_photos --sync
    TF_CONFIG=... python -m flowers_transfer.retrain_replicated     (each task of a cluster)

Asynchronous workers each change the head as soon as they have a gradient. With `--sync`, a step is
the mean of all workers' gradients: it follows a single process with the same batch size, of which
each of n workers takes one n-th.
"""

import argparse
import contextlib
import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, bottlenecks, head, retrain
from flowers_transfer.trained import TrainedNet
from tutorial_support import TRAIN, checkpoints
from tutorial_support.cluster import clusters, replicas


def run_worker(flags: argparse.Namespace, cluster: clusters.Cluster) -> int:
    """Trains for `flags.how_many_training_steps`, or until a signal; returns the exit code."""
    with replicas.Replica(cluster, flags, flags.train_dir, "flowers_transfer") as replica:
        images, facts = bottlenecks.create_image_lists(flags, replica.kept)
        base = base_graph.find(flags, replica.kept, facts["sample"])
        share = cluster.feature_share(flags.wait_secs)
        found = bottlenecks.get_or_create_bottleneck(base, images, flags.bottleneck_dir, share)
        sampler = bottlenecks.Sampler(found, TRAIN, flags.sampling, flags.seed)
        distortions = bottlenecks.Distortions.of(flags)
        with tf.Graph().as_default():
            tf.set_random_seed(flags.seed)
            # The graph of the single process; but each variable, and what changes it, is on a ps.
            with tf.device(cluster.variables_on_ps()):
                bottleneck_input, ground_truth = head.placeholder_inputs(found.size)
                logits = head.inference(bottleneck_input, len(found.images.class_names))
                loss = head.loss(logits, ground_truth)
                objective = loss + head.weight_decay(flags.weight_decay)
                if flags.momentum:
                    optimizer = tf.train.MomentumOptimizer(flags.learning_rate, flags.momentum)
                else:
                    optimizer = tf.train.GradientDescentOptimizer(flags.learning_rate)
                optimizer = replica.optimizer(optimizer)
                train_op = head.training(objective, flags.learning_rate, optimizer=optimizer)

            last, every = flags.how_many_training_steps, retrain.SAVE_EVERY
            with (
                bottlenecks.Extractor(base)
                if distortions
                else contextlib.nullcontext() as extractor,
                replica.training(facts | base.facts, retrain.MAY_CHANGE, last, every) as training,
            ):
                for step in training.steps():
                    # This worker's part of the batch, which is a function of seed and step.
                    batch = found, sampler, flags.train_batch_size, step
                    if extractor is None:
                        vectors, labels = bottlenecks.get_random_cached_bottlenecks(
                            *batch, part=cluster.share
                        )
                    else:
                        vectors, labels = bottlenecks.get_random_distorted_bottlenecks(
                            *batch, extractor, distortions, cluster.share
                        )
                    feed_dict = {bottleneck_input: vectors, ground_truth: labels}
                    _, loss_value = training.run([train_op, loss], feed_dict)
                    checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                    if (step + 1) % flags.eval_step_interval == 0:
                        print(f"Step {step + 1}: cross entropy = {loss_value:.4f}")
    return replica.exit_code


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and does what TF_CONFIG says that this process is for."""
    parser = programs.ArgumentParser(__doc__)
    retrain.add_flags(parser)
    replicas.add_flags(parser)
    return replicas.run_task(parser, argv, run_worker, TrainedNet, batch_size="train_batch_size")


if __name__ == "__main__":
    sys.exit(main())
