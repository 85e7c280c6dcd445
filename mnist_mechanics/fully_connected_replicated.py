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
from tutorial_support import checkpoints, clusters, sessions
from tutorial_support.programs import TrainingError, UsageError, number, program

LOG_DIR = "logs/mnist_replicated"
SAVE_EVERY = 1000  # steps


def add_flags(parser):
    """Adds this program's own flags."""
    parser.add_argument("--sync", action="store_true", help="average the gradients of a step")
    parser.add_argument(
        "--wait_secs",
        type=number(float, 0.1),
        default=60.0,
        help="longest wait for other tasks, in seconds",
    )


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
    mine = slice(cluster.worker_number, None, cluster.num_workers)
    return images[mine], labels[mine]


def run_worker(flags, cluster, train):
    """Takes part in the training until it has reached `flags.max_steps`, or a signal comes.

    Args:
        flags: from `flags.parse`.
        cluster: clusters.Cluster.
        train: input_data.DataSet.

    Returns:
        the exit code.
    """
    server = cluster.start_server()
    cluster.wait_for_ps(flags.wait_secs)
    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)
        hooks = []

        def averaged(optimizer):
            """Returns the optimizer that waits for a gradient of every worker."""
            workers = cluster.num_workers
            optimizer = tf.train.SyncReplicasOptimizer(optimizer, workers, workers)
            # Without tokens in the beginning, nobody computes a second gradient for one step.
            hooks.append(optimizer.make_session_run_hook(cluster.is_chief, num_tokens=0))
            return optimizer

        # The graph of the single process; but each variable, and what changes it, is on a ps.
        with tf.device(cluster.variables_on_ps()):
            images_placeholder, labels_placeholder = fully_connected_feed.placeholder_inputs()
            logits = mnist.inference(images_placeholder, flags.hidden1, flags.hidden2)
            loss = mnist.loss(logits, labels_placeholder)
            wrap = averaged if flags.sync else lambda optimizer: optimizer
            train_op = mnist.training(loss, flags.learning_rate, wrap)
            global_step = tf.train.get_global_step()
            # A worker that merely stopped would leave the others waiting for its next gradient.
            # So it tells them, in a variable that all read, which step it still takes part in.
            stop_after = tf.get_variable(
                "stop_after",
                initializer=flags.max_steps,
                trainable=False,
                collections=[tf.GraphKeys.LOCAL_VARIABLES],
            )
            announce = stop_after.assign(tf.minimum(stop_after, global_step + 1))

        config = cluster.session_config(flags.wait_secs)
        if not cluster.is_chief:
            clusters.wait_for_chief(server, config, flags.wait_secs)
        with (
            sessions.StopSignals() as stop,
            tf.train.MonitoredTrainingSession(
                server.target,
                cluster.is_chief,
                flags.log_dir,
                hooks=hooks,
                save_checkpoint_steps=SAVE_EVERY,
                save_checkpoint_secs=None,
                save_summaries_steps=100,
                save_summaries_secs=None,
                log_step_count_steps=None,
                # At the end, the chief's thread that averages waits for a step that never comes.
                stop_grace_period_secs=1,
                max_wait_secs=flags.wait_secs,
                config=config,
            ) as sess,
        ):

            def run_plainly(fetches):
                return sess.run_step_fn(lambda step_context: step_context.session.run(fetches))

            while not sess.should_stop():
                step, last_step = run_plainly([global_step, stop_after])
                if step >= last_step or (stop.requested and not flags.sync):
                    break
                if stop.requested:
                    run_plainly(announce)
                images, labels = worker_batch(train, int(step), flags.batch_size, cluster)
                feed_dict = {images_placeholder: images, labels_placeholder: labels}
                _, loss_value = sess.run([train_op, loss], feed_dict)
                checkpoints.check_finite(np.isfinite(loss_value), "the loss", step)
                if step % 100 == 0:
                    print(f"Step {step}: loss = {loss_value:.2f}")
    return stop.exit_code


def run_evaluator(flags):
    """Evaluates each new checkpoint, until that of the last step or a signal."""
    with sessions.StopSignals() as stop:
        for prefix in checkpoints.each_new(flags.log_dir, 1.0, flags.max_steps, stop):
            evaluate.main(["--checkpoint", prefix])
    return stop.exit_code


@program
def main(argv=None):
    """Parses the flags and does what TF_CONFIG says that this process is for."""
    flags = training_flags.parse(__doc__, argv, LOG_DIR, add_flags)
    cluster = clusters.from_environment()
    if flags.batch_size % cluster.num_workers:
        raise UsageError(
            f"--batch_size {flags.batch_size} does not divide over {cluster.num_workers} workers; "
            "give a multiple of their number"
        )
    if cluster.job == clusters.PS:
        with sessions.StopSignals() as stop:
            return clusters.serve_variables(cluster.start_server(), stop)
    if cluster.job == clusters.EVALUATOR:
        return run_evaluator(flags)
    if cluster.is_chief:
        data_sets, _ = training_flags.open_run(flags)
    else:
        data_sets, _ = training_flags.read_data(flags)
    try:
        return run_worker(flags, cluster, data_sets.train)
    except tf.errors.DeadlineExceededError as error:
        raise TrainingError(
            f"other tasks kept {cluster.job} {cluster.index} waiting for more than "
            f"{flags.wait_secs:g} s: look at their output, or raise --wait_secs"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
