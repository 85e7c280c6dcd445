"""Trains the CIFAR-10 net on several processes, the variables being on others.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 --evaluator -- \
        python -m cifar10_cnn.train_replicated --sync
    TF_CONFIG=... python -m cifar10_cnn.train_replicated            (each task of a cluster)

Asynchronous workers each change the variables as soon as they have a gradient. With `--sync`, a
generation is the mean of all workers' gradients, each from its part of the batch. With the
cookbook's recipe it then follows a single process; with the best one, each worker drops features of
its own part.
"""

import argparse
import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

import numpy as np
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, recipes, train
from cifar10_cnn.trained import TrainedNet
from tutorial_support import checkpoints
from tutorial_support.cluster import clusters, replicas


def run_worker(flags: argparse.Namespace, cluster: clusters.Cluster) -> int:
    """Trains for `flags.generations`, or until a signal comes; returns the exit code."""
    with replicas.Replica(cluster, flags, flags.train_dir, "cifar10_cnn") as replica:
        records, _, facts = cifar10_input.load(flags, replica.kept)
        recipe = recipes.choose(flags, replica.kept, facts["sample"])
        with tf.Graph().as_default():
            tf.set_random_seed(flags.seed)
            # Each variable is on a ps, and what changes it; the input and the net are here.
            with tf.device(cluster.variables_on_ps()):
                first_step = tf.placeholder(tf.int64, (), "first_step")
                batches = cifar10_input.training_batches(
                    records,
                    flags.batch_size,
                    flags.seed,
                    first_step,
                    recipe.distort,
                    cluster.share,
                )
                iterator = tf.data.make_initializable_iterator(batches)
                images, targets = iterator.get_next()
                global_step = tf.train.get_or_create_global_step()
                drop = recipe.drop(global_step, flags.generations, flags.seed)
                num_classes = len(records.class_names)
                loss, objective, net = train.losses(images, targets, recipe, num_classes, drop)
                rate = recipe.rate(global_step, flags)
                optimizer = recipe.optimizer(rate, net.last_weights)
                average = recipe.average(global_step)
                if flags.sync:  # then the averages are of a generation, not of a worker's part
                    optimizer, average = replica.optimizer(optimizer, average), None
                train_op = cifar10.training(objective, rate, optimizer, average)
                tf.summary.scalar("loss", loss)
                tf.summary.scalar("learning_rate", rate)

            def begin_input(session: tf.Session, step: int) -> None:
                session.run(iterator.initializer, {first_step: step})

            may_change = (*train.MAY_CHANGE, *recipe.may_change)
            last, every = flags.generations, flags.save_every
            with replica.training(facts, may_change, last, every, begin_input) as training:
                for i in training.steps():
                    generation = i + 1
                    _, loss_value = training.run([train_op, loss])
                    checkpoints.check_finite(np.isfinite(loss_value), "the loss", generation)
                    if generation % flags.output_every == 0:
                        print(f"Generation {generation}: Loss = {loss_value:.5f}")
    return replica.exit_code


@programs.program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and does what TF_CONFIG says that this process is for."""
    parser = programs.ArgumentParser(__doc__)
    train.add_flags(parser)
    replicas.add_flags(parser)
    return replicas.run_task(parser, argv, run_worker, TrainedNet)


if __name__ == "__main__":
    sys.exit(main())
