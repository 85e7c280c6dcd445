"""Trains the fully connected MNIST net on several processes, the variables being on others.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m mnist_mechanics.fully_connected_replicated --sync
    TF_CONFIG=... python -m mnist_mechanics.fully_connected_replicated      (each task of a cluster)

Asynchronous workers each change the variables as soon as they have a gradient. With `--sync`, a
step is the mean of all workers' gradients: it follows a single process with the same batch size,
of which each of n workers takes one n-th.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import evaluate, fully_connected_feed, mnist
from mnist_mechanics import flags as training_flags
from tutorial_support import checkpoints, clusters, replicas
from tutorial_support.programs import program

LOG_DIR = "logs/mnist_replicated"
SAVE_EVERY = 1000  # steps


def worker_batch(data_set, step, batch_size, cluster):
    """Returns a worker's part of the batch of a step: a function of seed, step, worker, workers.

    Args:
        data_set: input_data.DataSet.
        step: int.
        batch_size: int, of all workers together.
        cluster: clusters.Cluster.
    """
    data_set.seek(step * batch_size)
    images, labels = data_set.next_batch(batch_size)
    return images[cluster.share], labels[cluster.share]


def run_worker(flags, cluster):
    """Takes part in the training until it has reached `flags.max_steps`, or a signal comes.

    Args:
        flags: from `flags.parse`.
        cluster: clusters.Cluster.

    Returns:
        the exit code.
    """
    data_sets, kept = training_flags.read_data(flags)
    replica = replicas.Replica(cluster, flags, flags.log_dir, kept, training_flags.MAY_CHANGE)
    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # The graph of the single process; but each variable, and what changes it, is on a ps.
        with tf.device(cluster.variables_on_ps()):
            images_placeholder, labels_placeholder = fully_connected_feed.placeholder_inputs()
            logits = mnist.inference(images_placeholder, flags.hidden1, flags.hidden2)
            loss = mnist.loss(logits, labels_placeholder)
            train_op = mnist.training(loss, flags.learning_rate, replica.wrap)

        with replica.training(flags.max_steps, SAVE_EVERY) as training:
            for step in training.steps():
                images, labels = worker_batch(data_sets.train, step, flags.batch_size, cluster)
                feed_dict = {images_placeholder: images, labels_placeholder: labels}
                _, loss_value = training.run([train_op, loss], feed_dict)
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                if step % 100 == 0:
                    print(f"Step {step}: loss = {loss_value:.2f}")
    return training.exit_code


@program
def main(argv=None):
    """Parses the flags and does what TF_CONFIG says that this process is for."""
    flags = training_flags.parse(__doc__, argv, LOG_DIR, replicas.add_flags)
    cluster = clusters.from_environment()
    replicas.check_batch_size(flags.batch_size, cluster)
    return replicas.do_task(
        cluster,
        flags,
        lambda: run_worker(flags, cluster),
        lambda: replicas.evaluate_each(flags, flags.log_dir, flags.max_steps, evaluate.main),
    )


if __name__ == "__main__":
    sys.exit(main())
