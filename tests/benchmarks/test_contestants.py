"""All contestants of a benchmark do the same work: their losses agree step by step.

The set has as many examples as a batch. So each step sees all of it, in whatever order.
"""

import importlib.util
import pathlib
import tempfile

import numpy as np
import pytest

from benchmarks import catsdogs, cifar10, contest, extraction, flowers, limits, mnist
from tests.conftest import REPOSITORY
from tests.flowers_transfer import tiny

STEPS = 4


def losses(module, contestants, monkeypatch, count):
    monkeypatch.setenv("BENCHMARK_EXAMPLES", str(count))
    monkeypatch.setattr(tempfile, "tempdir", str(pathlib.Path.cwd()))  # the test's own folder
    monkeypatch.setattr(module, "BATCH", count)
    found = {}
    for contestant in contestants:
        if importlib.util.find_spec(contestant.needs) is not None:
            work = getattr(module, contestant.prepare)()
            found[contestant.name] = np.concatenate([work(1) for _ in range(STEPS)])
    assert len(found) >= 2
    return found


def assert_equal(found, tolerance, reference="original way"):
    expected = found[reference]
    assert expected[-1] < expected[0]
    for name, values in found.items():
        np.testing.assert_allclose(values, expected, rtol=tolerance, err_msg=name)


def test_mnist_contestants_take_the_same_steps(monkeypatch):
    trained = [c for c in mnist.CONTESTANTS if not c.name.startswith("limit")]
    assert_equal(losses(mnist, trained, monkeypatch, 40), 1e-5)


def test_cifar10_contestants_take_the_same_steps(monkeypatch):
    monkeypatch.setattr(cifar10, "IS_RANDOM", False)
    same_net = ("original way", "Keras fit", "PyTorch", "JAX, jit", "here", "here, with tf.nn.lrn")
    trained = [c for c in cifar10.CONTESTANTS if c.name in same_net]
    assert_equal(losses(cifar10, trained, monkeypatch, 16), 1e-4)


def test_flowers_contestants_take_the_same_steps(monkeypatch):
    monkeypatch.setattr(flowers, "SAMPLING", "image")
    same_size = [c for c in flowers.CONTESTANTS if c.prepare != "large_store"]
    assert_equal(losses(flowers, same_size, monkeypatch, 40), 1e-5)


_for_others = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="Keras' head is in test_mobilenet_v2"
)


@pytest.mark.slow
@pytest.mark.parametrize("phase", [pytest.param("head", marks=_for_others), "fine"])
def test_catsdogs_contestants_take_the_same_steps(phase, monkeypatch):
    small = {"IS_RANDOM": False, "SIZE": 64, "ALPHA": 0.35, "RATE": 1e-3, "FINE_RATE": 1e-4}
    photos = {"PHOTO_SIZE": (64, 64), "PHOTO_TYPE": "png"}  # decoders of JPEG differ
    for name, value in (small | photos).items():
        monkeypatch.setattr(catsdogs, name, value)
    trained = [c for c in catsdogs.CONTESTANTS if c.prepare.endswith(phase)]
    found = losses(catsdogs, trained, monkeypatch, 8)
    if "PyTorch, phase 2" in found:  # its RMSprop adds epsilon outside the root, others inside
        others = found.pop("PyTorch, phase 2")
        np.testing.assert_allclose(others, found["here: phase 2"], rtol=0.03)
    assert_equal(found, 1e-4, trained[-1].name)


def test_extraction_contestants_find_the_same_bottlenecks(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(pathlib.Path.cwd()))
    monkeypatch.setattr(extraction, "BATCH", 6)
    monkeypatch.setattr(extraction, "_frozen", tiny.frozen)
    expected, found = (np.stack(work(1)) for work in (extraction.original_way(), extraction.here()))
    assert expected.shape == (6, tiny.VALUES)
    assert expected.std(axis=0).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_contestants_work_in_turn_in_processes_of_their_own(monkeypatch, capsys):
    monkeypatch.syspath_prepend(REPOSITORY)
    contestants = [
        contest.Contestant("one", "limit"),
        contest.Contestant("missing", "limit", {}, "no_such_package"),
        contest.Contestant("two", "limit"),
    ]
    results = contest.run("benchmarks.mnist", contestants, {"": 2, "two": 1}, 3)
    assert [(r.name, len(r.rates)) for r in results] == [("one", 3), ("two", 3)]
    assert all(rate > 0 for result in results for rate in result.rates)
    assert "missing is left out: no_such_package is not installed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="the contestant 'broken' ended"):
        contest.run("benchmarks.mnist", [contest.Contestant("broken", "none")], {"": 1}, 1)
    assert "has no attribute 'none'" in capsys.readouterr().err


def test_products_of_dense_layers():
    assert limits.dense(7, (5, 3, 2)) == [
        (7, 5, 3),
        (5, 7, 3),
        (7, 3, 2),
        (3, 7, 2),
        (7, 2, 3),
    ]
