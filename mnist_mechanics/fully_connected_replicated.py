r"""Trains the fully connected MNIST net with several workers and parameter servers (ps).

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m mnist_mechanics.fully_connected_replicated --sync
    TF_CONFIG=... python -m mnist_mechanics.fully_connected_replicated      (each task of a cluster)

Asynchronous workers update the variables on the ps as soon as they have a gradient. With --sync,
each worker computes the gradient of its part of the batch, and a step applies their mean.
"""

import argparse
import functools

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import tensorflow.compat.v1 as tf

from mnist_mechanics import fully_connected_feed, input_data, mnist
from mnist_mechanics.trained import TrainedNet
from tutorial_support.cluster import clusters, replicas


def run_worker(flags: argparse.Namespace, cluster: clusters.Cluster) -> int:
    """Trains until the workers reach `flags.max_steps` or a signal comes; returns the exit code."""
    tutorial, graph = "mnist_mechanics", tf.Graph()
    with replicas.Replica(cluster, flags, flags.log_dir, tutorial) as replica, graph.as_default():
        data_sets, facts = input_data.load(flags, replica.kept)
        tf.set_random_seed(flags.seed)
        # The single-process graph, but every variable and its update op are placed on a ps.
        with tf.device(cluster.variables_on_ps()):
            images, labels = fully_connected_feed.placeholder_inputs()
            loss = mnist.loss(mnist.inference(images, flags.hidden1, flags.hidden2), labels)
            optimizer = tf.train.GradientDescentOptimizer(flags.learning_rate)
            # With --sync, the wrapped optimizer averages the gradients of all workers.
            train_op = mnist.training(loss, flags.learning_rate, replica.optimizer(optimizer))

        may_change = fully_connected_feed.MAY_CHANGE
        with replica.training(facts, may_change, flags.max_steps, 1000) as training:
            # `step` is the global step, a variable on the ps that all workers share.
            for step in training.steps():
                # Take this worker's share of the step's batch.
                data_sets.train.seek(step * flags.batch_size)
                batch = data_sets.train.next_batch(flags.batch_size)
                feed_dict = {images: batch[0][cluster.share], labels: batch[1][cluster.share]}
                loss_value = training.take_step(train_op, loss, feed_dict)
                if step % 100 == 0:
                    print(f"Step {step}: loss = {loss_value:.2f}")
    return replica.exit_code


add_flags = functools.partial(fully_connected_feed.add_flags, log_dir="logs/mnist_replicated")
main = replicas.program(__doc__, add_flags, run_worker, TrainedNet, folder="log_dir")

if __name__ == "__main__":
    replicas.end(main())
