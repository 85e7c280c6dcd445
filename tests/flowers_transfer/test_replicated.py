"""Bottlenecks and training of the head, divided over a cluster of threads."""

import concurrent.futures
import contextlib
import json
import pathlib
import sqlite3
import threading

import numpy as np
import pytest

from flowers_transfer import extract, retrain, retrain_replicated
from tests import in_cluster, painted
from tests.flowers_transfer import tiny
from tests.saved import assert_same
from tutorial_support import feature_store, programs
from tutorial_support.cluster import launcher, replicas
from tutorial_support.programs import TrainingError


@pytest.fixture
def where():
    painted.write_pictures(pathlib.Path("photos"), count=30)
    pathlib.Path("photos/red/bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return ["--image_dir", "photos", "--base_graph", str(tiny.write_graph("base.pb"))]


def vectors(folder):
    """The vectors of a store by key; each must be stored once."""
    (store,) = pathlib.Path(folder).iterdir()
    with contextlib.closing(sqlite3.connect(store / feature_store.DATABASE)) as database:
        entries = database.execute("SELECT version, vector FROM vectors").fetchall()
    found = {
        version.decode().split(" ", 2)[2]: np.frombuffer(data, "<f4") for version, data in entries
    }
    assert len(found) == len(entries)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("distortion", [[], ["--flip_left_right", "--random_crop", "20"]])
def test_synchronous_workers_follow_one_process(where, distortion):
    steps = ["--how_many_training_steps", "30", "--train_batch_size", "12", "--learning_rate", "1"]
    common = [*where, *steps, *distortion]
    assert retrain.main([*common, "--train_dir", "single", "--bottleneck_dir", "one"]) == 0

    def parse():
        more = ["--train_dir", "replicated", "--bottleneck_dir", "divided", "--sync"]
        parser = programs.ArgumentParser("")
        retrain.add_flags(parser)
        replicas.add_flags(parser)
        return parser.parse_args([*common, *more])

    assert in_cluster.train(retrain_replicated.run_worker, parse, num_workers=3) == [0] * 3
    assert assert_same("single", "replicated", atol=1e-6)["global_step"] == 30
    expected, found = vectors("one"), vectors("divided")
    assert expected.keys() == found.keys() and "red/bad.jpg" not in found
    for key, vector in expected.items():
        np.testing.assert_allclose(found[key], vector, rtol=1e-4, atol=1e-6)


def test_extraction_alone_and_what_others_do_not_add(where, monkeypatch, capsys):
    """A task reports that the other one is missing; restarted alone, it completes the store."""
    config = launcher.plan(0, 2)["worker", 0]
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert extract.main([*where, "--bottleneck_dir", "store", "--wait_secs", "0.3"]) == 1
    assert "lacks 45 bottlenecks, and other tasks have added none" in capsys.readouterr().err
    mine = vectors("store")
    assert len(mine) == 45
    monkeypatch.delenv("TF_CONFIG")
    assert extract.main([*where, "--bottleneck_dir", "store"]) == 0
    assert "holds the bottlenecks of 90 images" in capsys.readouterr().out
    everything = vectors("store")
    assert len(everything) == 90
    for key, vector in mine.items():
        np.testing.assert_array_equal(everything[key], vector)
    monkeypatch.setenv("TF_CONFIG", json.dumps(launcher.plan(1, 1)["ps", 0]))
    assert extract.main(where) == 2
    assert "start only workers" in capsys.readouterr().err


def test_two_tasks_fill_a_store_that_a_third_died_in():
    """The store keeps what a task added before it died; the others do not compute it again."""
    keys = [f"{n}" for n in range(400)]
    expected = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    dead = feature_store.FeatureStore("store", 6, slice(2, None, 3))
    dead.append(keys[2:3], [(1, 1)], expected[2:3])
    both_done = threading.Barrier(2, timeout=60)

    def opened(number):
        return feature_store.FeatureStore("store", 6, slice(number, None, 3), wait_secs=0.5)

    def fill(number, store):
        with store:
            for n in range(number, 400, 3):
                store.append(keys[n : n + 1], [(1, 1)], expected[n : n + 1])
            both_done.wait()
            with pytest.raises(TrainingError, match="lacks 132 bottlenecks"):
                store.await_others(dict.fromkeys(keys, (1, 1)), lambda key: None)

    early = opened(0)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        first = threads.submit(fill, 0, early)
        threads.submit(lambda: fill(1, opened(1))).result()
        first.result()
    with feature_store.FeatureStore("store", 6) as store:
        there = [n for n in range(400) if n % 3 < 2 or n == 2]
        rows = [store.find(keys[n], (1, 1)) for n in there]
        np.testing.assert_array_equal(store.read(rows), expected[there])
        assert len(store) == len(there)
