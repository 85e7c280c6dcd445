r"""Trains the CIFAR-10 net with several workers and parameter servers (ps).

    python -m tutorial_support.local_cluster --ps 1 --workers 2 --evaluator -- \
        python -m cifar10_cnn.train_replicated --sync
    TF_CONFIG=... python -m cifar10_cnn.train_replicated            (each task of a cluster)

Asynchronous workers update the variables on the ps as soon as they have a gradient. With --sync,
each worker computes the gradient of its part of the batch, and a generation applies their mean.
"""

import argparse

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, recipes, train
from cifar10_cnn.trained import TrainedNet
from tutorial_support.cluster import clusters, replicas


def run_worker(flags: argparse.Namespace, cluster: clusters.Cluster) -> int:
    """Trains up to `flags.generations` or until a signal comes; returns the exit code."""
    tutorial, graph = "cifar10_cnn", tf.Graph()
    with replicas.Replica(cluster, flags, flags.train_dir, tutorial) as replica, graph.as_default():
        records, _, facts = cifar10_input.load(flags, replica.kept)
        recipe = recipes.choose(flags, replica.kept, facts["sample"])
        tf.set_random_seed(flags.seed)
        # Variables and their update ops are placed on the ps; the input and the net run here.
        with tf.device(cluster.variables_on_ps()):
            batch = cifar10_input.TrainingInput(records, flags, recipe.distort, cluster.share)
            step, last = tf.train.get_or_create_global_step(), flags.generations
            drop = recipe.drop(step, last, flags.seed, cluster.worker_number)
            loss, objective, net = train.losses(
                batch.images, batch.targets, recipe, len(records.class_names), drop
            )
            rate = recipe.rate(step, flags)
            optimizer, average = recipe.optimizer(rate, net.last_weights), recipe.average(step)
            if flags.sync:  # the optimizer then updates the averages, once per generation
                optimizer, average = replica.optimizer(optimizer, average), None
            train_op = cifar10.training(objective, rate, optimizer, average)
            tf.summary.scalar("loss", loss)

        may_change, every = (*train.MAY_CHANGE, *recipe.may_change), flags.save_every
        # batch.begin moves the pipeline to the global step when the worker starts.
        with replica.training(facts, may_change, last, every, batch.begin) as training:
            # `generation` is the global step, a variable on the ps that all workers share.
            for generation in training.steps():
                loss_value = training.take_step(train_op, loss)
                if (generation + 1) % flags.output_every == 0:
                    print(f"Generation {generation + 1}: Loss = {loss_value:.5f}")
    return replica.exit_code


main = replicas.program(__doc__, train.add_flags, run_worker, TrainedNet)

if __name__ == "__main__":
    replicas.end(main())
