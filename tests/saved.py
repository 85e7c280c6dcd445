"""Reads and compares what runs have saved."""

import numpy as np

from tutorial_support import checkpoints


def variables(folder):
    """Returns the values in the newest checkpoint of a run folder, by variable name."""
    return checkpoints.values(checkpoints.find(folder))


def assert_same(one, other, atol=0.0):
    """Compares the variables of two runs, bit by bit if `atol` is 0; returns them by name."""
    expected, found = variables(one), variables(other)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        if atol:
            np.testing.assert_allclose(found[name], value, atol=atol, err_msg=name)
        else:
            assert value.tobytes() == found[name].tobytes(), name
    return expected
