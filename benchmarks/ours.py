"""What the loops of this package's training programs do around a step."""

import time

import numpy as np

from tutorial_support import checkpoints, files

_LINE_EVERY = 100  # steps


def trained(take_step, count):
    """Takes steps as the programs do: with their bar, clock, finite check and printed lines.

    Args:
        take_step: function that takes a step and returns its loss.
        count: int, how many.

    Returns:
        list of the losses.
    """
    losses = []
    with files.progress_bar(count, "training", "step") as bar:
        for step in range(count):
            started = time.time()
            losses.append(take_step())
            duration = time.time() - started
            checkpoints.check_finite(np.isfinite(losses[-1]), "the loss", step)
            if step % _LINE_EVERY == 0:
                print(f"Step {step}: loss = {losses[-1]:.2f} ({duration:.3f} sec)")
            bar.update()
    return losses
