"""Shared parts of the training loops in other libraries."""

import functools


def keras_fitted(model, inputs, labels, batch):
    """Returns a contestant that fits a compiled Keras model on arrays, shuffled in each epoch."""

    def work(count):
        losses = []
        while count:
            some = min(count, len(labels) // batch)
            part = slice(0, some * batch)
            losses += model.fit(inputs[part], labels[part], batch, verbose=0).history["loss"]
            count -= some
        return losses

    return work


def torch_step(optimizer, loss):
    """Takes one step with a torch.optim.Optimizer; returns the loss as a float."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def jax_scanned(step):
    """Returns a compiled loop over steps that takes its batches from arrays on the device.

    Args:
        step: a function (weights, arrays of a batch) -> (weights, loss).

    Returns:
        a function (weights, arrays of all examples, indices int [steps, batch]) -> (weights,
        losses).
    """
    import jax

    @functools.partial(jax.jit, donate_argnums=0)
    def several(weights, arrays, indices):
        return jax.lax.scan(
            lambda weights, chosen: step(weights, [array[chosen] for array in arrays]),
            weights,
            indices,
        )

    return several
