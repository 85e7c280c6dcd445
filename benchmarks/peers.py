"""What the loops of other libraries have in common, whatever they train."""

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
    """Lets a torch.optim.Optimizer take a step down a loss; returns the loss, a float."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def jax_scanned(step):
    """Returns a compiled loop over steps, which picks its batches from arrays on the device.

    Args:
        step: function of (weights, the arrays of a batch), which returns (weights, loss).

    Returns:
        function of (weights, arrays of all examples, int [steps, batch]), which returns (weights,
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
