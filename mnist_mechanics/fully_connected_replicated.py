"""Trains the fully connected MNIST net on several processes, with the variables on others.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m mnist_mechanics.fully_connected_replicated --sync
    TF_CONFIG=... python -m mnist_mechanics.fully_connected_replicated      (each task of a cluster)

Asynchronous workers each change the variables as soon as they have a gradient. With --sync, a step
is the mean of all workers' gradients: it follows a single process with the same batch size, of
which each of n workers takes one n-th.
"""

import argparse
import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import fully_connected_feed, input_data, mnist
from mnist_mechanics.trained import TrainedNet
from tutorial_support import checkpoints
from tutorial_support.cluster import clusters, replicas

LOG_DIR = "logs/mnist_replicated"


def run_worker(flags: argparse.Namespace, cluster: clusters.Cluster) -> int:
    """Trains until all have reached `flags.max_steps`, or a signal comes; returns the exit code."""
    with replicas.Replica(cluster, flags, flags.log_dir, "mnist_mechanics") as replica:
        data_sets, facts = input_data.load(flags, replica.kept)
        with tf.Graph().as_default():
            tf.set_random_seed(flags.seed)
            # The graph of the single process. But each variable is on a ps, and what changes it.
            with tf.device(cluster.variables_on_ps()):
                images, labels = fully_connected_feed.placeholder_inputs()
                loss = mnist.loss(mnist.inference(images, flags.hidden1, flags.hidden2), labels)
                optimizer = tf.train.GradientDescentOptimizer(flags.learning_rate)
                train_op = mnist.training(loss, flags.learning_rate, replica.optimizer(optimizer))

            may_change = fully_connected_feed.MAY_CHANGE
            with replica.training(facts, may_change, flags.max_steps, 1000) as training:
                for step in training.steps():
                    # This worker's part of the batch of this step, whoever takes the others.
                    data_sets.train.seek(step * flags.batch_size)
                    batch = data_sets.train.next_batch(flags.batch_size)
                    feed_dict = {images: batch[0][cluster.share], labels: batch[1][cluster.share]}
                    _, loss_value = training.run([train_op, loss], feed_dict)
                    checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                    if step % 100 == 0:
                        print(f"Step {step}: loss = {loss_value:.2f}")
    return replica.exit_code


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and does what TF_CONFIG says that this process is for."""
    parser = programs.ArgumentParser(__doc__)
    fully_connected_feed.add_flags(parser, LOG_DIR)
    replicas.add_flags(parser)
    return replicas.run_task(parser, argv, run_worker, TrainedNet, folder="log_dir")


if __name__ == "__main__":
    sys.exit(main())
