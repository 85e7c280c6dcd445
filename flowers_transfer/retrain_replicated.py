r"""Trains a new head on several processes, which also share the work of computing bottlenecks.

    python -m tutorial_support.local_cluster --ps 1 --workers 2 -- \
        python -m flowers_transfer.retrain_replicated --image_dir my_photos --sync
    TF_CONFIG=... python -m flowers_transfer.retrain_replicated     (each task of a cluster)

With `--sync`, each worker takes a part of the batch, and a step applies the mean of the gradients.
"""

import argparse

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow(small_net=True)

import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, bottlenecks, head, retrain
from flowers_transfer.trained import TrainedNet
from tutorial_support import TRAIN
from tutorial_support.cluster import clusters, replicas


def run_worker(flags: argparse.Namespace, cluster: clusters.Cluster) -> int:
    """Trains to the last step, or until a signal; returns the exit code."""
    tutorial, graph = "flowers_transfer", tf.Graph()
    with replicas.Replica(cluster, flags, flags.train_dir, tutorial) as replica, graph.as_default():
        images, facts = bottlenecks.create_image_lists(flags, replica.kept)
        base = base_graph.find(flags, replica.kept, facts["sample"])
        found = bottlenecks.get_or_create_bottleneck(
            base, images, flags.bottleneck_dir, cluster.share, flags.wait_secs
        )
        sampler = bottlenecks.Sampler(found, TRAIN, flags.sampling, flags.seed)
        tf.set_random_seed(flags.seed)
        # The same graph as in retrain.py, with variables and their update ops on the ps tasks.
        with tf.device(cluster.variables_on_ps()):
            bottleneck_input, ground_truth = head.placeholder_inputs(found.size)
            logits = head.inference(bottleneck_input, len(images.class_names))
            loss = head.loss(logits, ground_truth)
            objective = loss + head.weight_decay(flags.weight_decay)
            descent = head.gradient_descent(flags.learning_rate, flags.momentum)
            train_op = head.training(objective, optimizer=replica.optimizer(descent))
        last, size = flags.how_many_training_steps, flags.train_batch_size
        facts |= base.facts
        with (
            bottlenecks.batch_source(base, flags) as get_random_bottlenecks,
            replica.training(facts, retrain.MAY_CHANGE, last, retrain.SAVE_EVERY) as training,
        ):
            for step in training.steps():
                # Look up only this worker's share of the step's batch.
                vectors, labels = get_random_bottlenecks(found, sampler, size, step, cluster.share)
                feed_dict = {bottleneck_input: vectors, ground_truth: labels}
                loss_value = training.take_step(train_op, loss, feed_dict)
                if (step + 1) % flags.eval_step_interval == 0:
                    print(f"Step {step + 1}: cross entropy = {loss_value:.4f}")
    return replica.exit_code


main = replicas.program(
    __doc__, retrain.add_flags, run_worker, TrainedNet, batch_size="train_batch_size"
)

if __name__ == "__main__":
    replicas.end(main())
