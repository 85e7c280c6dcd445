"""Several training steps in one `Session.run`: the loop over them is a part of the graph.

Each run costs as much as some ops of a small net: Python prepares it, the session starts it,
results are handed back. A loop inside the graph pays that once for all its steps. Compiled by XLA,
the step is a few fused loops of machine code as well, and not dozens of ops.
"""

import tensorflow as tf2
import tensorflow.compat.v1 as tf


def looped(add_step, batches, first, end):
    """Adds a loop over training steps.

    Args:
        add_step: function from the tensors of one batch to (op that takes a step, loss): the same
            one that has added the step outside of the loop before, for its variables serve here.
        batches: tuple of tensors [steps, ...], a batch for each step. `steps` must be known.
        first, end: int32 scalar tensors; steps first .. end - 1 of the block are taken.

    Returns:
        losses: float32 [steps], 0 where no step was taken.
    """
    variables = tf.global_variables()

    @tf2.function(jit_compile=True, autograph=False)
    def run(batches, first, end):
        def one_step(i, losses):
            with _reusing(variables):
                train_op, loss = add_step(*(batch[i] for batch in batches))
            with tf.control_dependencies([train_op]):
                return i + 1, tf.tensor_scatter_nd_update(losses, [[i]], [loss])

        losses = tf.zeros(batches[0].shape[:1])
        return tf.while_loop(lambda i, _: i < end, one_step, [first, losses])[1]

    return run(batches, first, end)


def _reusing(variables):
    """Returns a context in which builders get variables that exist, in the order of creation."""
    existing = iter(variables)
    return tf.variable_creator_scope(lambda next_creator, **description: next(existing))


def spans(first_step, max_steps, steps_per_run):
    """Yields (first step, step behind the last) of each run, which ends where a block does."""
    while first_step < max_steps:
        end = min(first_step - first_step % steps_per_run + steps_per_run, max_steps)
        yield first_step, end
        first_step = end
