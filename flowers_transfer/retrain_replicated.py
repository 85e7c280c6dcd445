"""Trains a new head on several processes, which also divide the bottlenecks among themselves.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m flowers_transfer.retrain_replicated --image_dir my_photos --sync
    TF_CONFIG=... python -m flowers_transfer.retrain_replicated     (each task of a cluster)

Asynchronous workers each change the head as soon as they have a gradient. With `--sync`, a step is
the mean of all workers' gradients: it follows a single process with the same batch size, of which
each of n workers takes one n-th.
"""

import contextlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import evaluate, head, retrain, sampling
from flowers_transfer import flags as training_flags
from tutorial_support import checkpoints, clusters, image_lists, replicas
from tutorial_support.programs import program


def run_worker(flags, cluster):
    """Takes part in the training for `flags.how_many_training_steps`, or until a signal comes.

    Args:
        flags: from `flags.parse`.
        cluster: clusters.Cluster.

    Returns:
        the exit code.
    """
    source = training_flags.find_source(flags)
    found = source.bottlenecks(cluster.feature_share(flags.wait_secs))
    replica = replicas.Replica(
        cluster,
        flags,
        flags.train_dir,
        training_flags.kept_flags(flags, source),
        training_flags.MAY_CHANGE,
    )
    images, distortions = found.images, training_flags.distortions_of(flags)
    training_images = images.of_split(image_lists.TRAINING)
    sampler = sampling.SAMPLINGS[flags.sampling](images.labels[training_images], flags.seed)

    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)

        # The graph of the single process; but each variable, and what changes it, is on a ps.
        with tf.device(cluster.variables_on_ps()):
            bottleneck_input, ground_truth = head.placeholder_inputs(found.size)
            logits = head.inference(bottleneck_input, len(images.class_names))
            loss = head.loss(logits, ground_truth)
            objective = loss + head.weight_decay(flags.weight_decay)
            train_op = head.training(objective, flags.learning_rate, flags.momentum, replica.wrap)

        last_step = flags.how_many_training_steps
        with (
            source.extractor() if distortions else contextlib.nullcontext() as extractor,
            replica.training(last_step, retrain.SAVE_EVERY) as training,
        ):
            for step in training.steps():
                # This worker's part of the batch, which is a function of seed and step.
                batch = training_images[sampler.batch(step, flags.train_batch_size)]
                wanted = found, bottleneck_input, ground_truth, batch[cluster.share]
                if distortions:
                    seeds = retrain.distortion_seeds(flags, step)[cluster.share]
                    feed_dict = retrain.fill_distorted(*wanted, extractor, distortions, seeds)
                else:
                    feed_dict = retrain.fill_feed_dict(*wanted)
                _, loss_value = training.run([train_op, loss], feed_dict)
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                if (step + 1) % flags.eval_step_interval == 0:
                    print(f"Step {step + 1}: cross entropy = {loss_value:.4f}")
    return training.exit_code


@program
def main(argv=None):
    """Parses the flags and does what TF_CONFIG says that this process is for."""
    flags = training_flags.parse(__doc__, argv, replicas.add_flags)
    cluster = clusters.from_environment()
    replicas.check_batch_size(flags.train_batch_size, cluster, "--train_batch_size")
    return replicas.do_task(
        cluster,
        flags,
        lambda: run_worker(flags, cluster),
        lambda: replicas.evaluate_each(
            flags, flags.train_dir, flags.how_many_training_steps, evaluate.main
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
