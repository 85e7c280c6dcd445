"""Trains the CIFAR-10 net on several processes, the variables being on others.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 --evaluator -- \
        python -m cifar10_cnn.train_replicated --sync
    TF_CONFIG=... python -m cifar10_cnn.train_replicated            (each task of a cluster)

Asynchronous workers each change the variables as soon as they have a gradient. With `--sync`, a
generation is the mean of all workers' gradients, each from its part of the batch. With the
cookbook's recipe it then follows a single process; with the best one, each worker drops features of
its own part.
"""

import pathlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from cifar10_cnn import cifar10, cifar10_input, evaluate, summaries, train
from cifar10_cnn import flags as training_flags
from cifar10_cnn.recipes import RECIPES
from tutorial_support import checkpoints, clusters, replicas
from tutorial_support.programs import program


def run_worker(flags, cluster):
    """Takes part in the training for `flags.generations`, or until a signal comes.

    Args:
        flags: from `flags.parse`.
        cluster: clusters.Cluster.

    Returns:
        the exit code.
    """
    records, _, kept, may_change = training_flags.read_data(flags)
    replica = replicas.Replica(cluster, flags, flags.train_dir, kept, may_change)
    recipe = RECIPES[flags.recipe]
    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # Each variable, and what changes it, is on a ps; the input and the net are here.
        with tf.device(cluster.variables_on_ps()):
            first_step = tf.placeholder(tf.int64, (), "first_step")
            iterator = tf.data.make_initializable_iterator(
                cifar10_input.training_batches(
                    records,
                    flags.batch_size,
                    flags.seed,
                    first_step,
                    recipe.distort,
                    cluster.share,
                )
            )
            images, targets = iterator.get_next()
            global_step = tf.train.get_or_create_global_step()
            drop = recipe.drop(global_step, flags.generations, flags.seed)
            loss, objective = train.losses(images, targets, recipe, len(records.class_names), drop)
            rate = train.learning_rate(flags, recipe, global_step)
            average = recipe.average(global_step)
            if flags.sync:  # then the averages are of a generation, not of a worker's part in it
                optimizer = replica.wrap(recipe.optimizer(rate), average)
                train_op = cifar10.training(objective, optimizer)
            else:
                train_op = cifar10.training(objective, recipe.optimizer(rate), average)
            summaries.scalars(loss, rate)

        def begin_input(session, step):
            session.run(iterator.initializer, {first_step: step})

        with replica.training(flags.generations, flags.save_every, begin_input) as training:
            for i in training.steps():
                generation = i + 1
                _, loss_value = training.run([train_op, loss])
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", generation)
                if generation % flags.output_every == 0:
                    print(f"Generation {generation}: Loss = {loss_value:.5f}")
    return training.exit_code


def run_evaluator(flags):
    """Evaluates each new checkpoint on all test images, until the last one or a signal."""
    _, records, *_ = training_flags.read_data(flags)
    path = pathlib.Path(flags.train_dir)
    return evaluate.evaluate_repeatedly(
        path, records, path / "eval", 1.0, flags.generations, flags.checkpoint_wait_secs
    )


@program
def main(argv=None):
    """Parses the flags and does what TF_CONFIG says that this process is for."""
    flags = training_flags.parse(__doc__, argv, replicas.add_flags)
    cluster = clusters.from_environment()
    replicas.check_batch_size(flags.batch_size, cluster)
    return replicas.do_task(
        cluster, flags, lambda: run_worker(flags, cluster), lambda: run_evaluator(flags)
    )


if __name__ == "__main__":
    sys.exit(main())
