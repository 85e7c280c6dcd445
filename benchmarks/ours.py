"""What the loops of this package's training programs do around their steps.

TensorFlow is imported only in the functions: other libraries' processes do not load it.
"""

import time

import numpy as np

_LINE_EVERY = 100  # steps


def small_net_config():
    """Returns the session configuration of the programs that train a small net."""
    from tutorial_support import programs, runs

    programs.op_threads = 1  # as programs.before_tensorflow(small_net=True) sets it
    return runs.session_config(small_net=True)


def trained(take_step, count):
    """Takes steps one by one, as the programs do; returns a list of the losses.

    Args:
        take_step: function that takes a step and returns its loss.
        count: int, how many.
    """
    return trained_in_blocks(lambda _: [take_step()], 1, count)


def trained_in_blocks(take_steps, length, count):
    """Takes steps as the programs do: with their bar, clock, finite check and printed lines.

    Args:
        take_steps: function that takes some steps and returns their losses.
        length: int, the most steps of a call.
        count: int, how many in all.

    Returns:
        list of the losses.
    """
    from tutorial_support import checkpoints, files

    losses = []
    with files.progress_bar(count, "training", "step") as bar:
        for first in range(0, count, length):
            some = min(length, count - first)
            started = time.time()
            block = take_steps(some)
            duration = (time.time() - started) / some
            checkpoints.check_finite(np.isfinite(block).all(), "the loss", first)
            if first % _LINE_EVERY == 0:
                print(f"Step {first}: loss = {block[0]:.2f} ({duration:.3f} sec)")
            losses += block
            bar.update(some)
    return losses
