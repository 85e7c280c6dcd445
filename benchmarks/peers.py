"""Shared parts of the training loops in other libraries."""

import functools


def keras_fitted(model, inputs, labels, batch):
    """Returns a contestant that fits a compiled Keras model on arrays, shuffled in each epoch.

    All whole epochs are one call of `fit`, as Keras' users would have it.
    """

    def work(count):
        losses = []
        steps = len(labels) // batch
        epochs, rest = divmod(count, steps)
        for times, some in ((epochs, steps), (1, rest)):
            if times and some:
                part = slice(0, some * batch)
                fitted = model.fit(inputs[part], labels[part], batch, times, verbose=0)
                losses += fitted.history["loss"]
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
