"""The store of vectors, killed at any point and damaged in any way."""

import os
import pathlib
import resource
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tutorial_support import feature_store
from tutorial_support.feature_store import FeatureStore
from tutorial_support.programs import UsageError

SIZE = 6
FOLDER = pathlib.Path("store")


def vectors(first, count):
    return np.random.default_rng(first).normal(size=(count, SIZE)).astype(np.float32)


def fill(batches=5, each=4):
    """A store of `batches` appended batches; returns its vectors."""
    with FeatureStore(FOLDER, SIZE) as store:
        for batch in range(batches):
            keys = [f"{batch}-{i}" for i in range(each)]
            store.append(keys, [(1, batch)] * each, vectors(batch, each))
    return np.concatenate([vectors(batch, each) for batch in range(batches)])


@pytest.mark.parametrize("held_at_most", [1 << 20, 0])
def test_what_was_appended_is_read_back_to_the_bit(held_at_most, monkeypatch):
    monkeypatch.setattr(feature_store, "_HELD_AT_MOST", held_at_most)
    expected = fill()
    with FeatureStore(FOLDER, SIZE) as store:
        assert len(store) == 20
        rows = np.array([store.find(f"{b}-{i}", (1, b)) for b in range(5) for i in range(4)])
        np.testing.assert_array_equal(store.read(rows), expected)
        np.testing.assert_array_equal(store.read(rows[[7, 3, 3]]), expected[[7, 3, 3]])
        assert store.read(rows[:0]).shape == (0, SIZE)
        assert store.read(rows).ctypes.data % 64 == 0  # or a session copies it
        assert store.find("0-0", (1, 1)) is None  # changed since
        store.append(["0-0"], [(1, 1)], vectors(99, 1))
        np.testing.assert_array_equal(store.read([store.find("0-0", (1, 1))]), vectors(99, 1))


@pytest.mark.parametrize("held_at_most", [1 << 20, 0])
def test_a_file_that_has_become_shorter_is_told(held_at_most, monkeypatch):
    monkeypatch.setattr(feature_store, "_HELD_AT_MOST", held_at_most)
    fill()
    with FeatureStore(FOLDER, SIZE) as store:
        os.truncate(FOLDER / feature_store.VECTORS, 19 * SIZE * 4)
        with pytest.raises(UsageError, match=r"vectors.f32' has become shorter; run this program"):
            store.read([19])


def test_it_is_as_compact_as_its_numbers():
    fill()
    assert (FOLDER / feature_store.VECTORS).stat().st_size == 20 * SIZE * 4


def test_wrong_vectors_are_not_taken():
    with FeatureStore(FOLDER, SIZE) as store:
        for bad in (np.full((1, SIZE), np.nan), np.zeros((1, SIZE + 1)), np.zeros((2, SIZE))):
            with pytest.raises(ValueError, match="expected finite numbers"):
                store.append(["k"], [(1, 1)], bad)
        assert len(store) == 0


@pytest.mark.parametrize("name", [feature_store.VECTORS, feature_store.INDEX])
def test_cut_off_anywhere_it_keeps_what_is_whole_and_goes_on(name):
    expected = fill(batches=2)
    files = {path: path.read_bytes() for path in FOLDER.iterdir()}
    for length in range(0, len(files[FOLDER / name]), 7):
        for path, content in files.items():
            path.write_bytes(content)
        os.truncate(FOLDER / name, length)
        with FeatureStore(FOLDER, SIZE) as store:
            kept = len(store)
            for number in range(8):
                key, stamp = f"{number // 4}-{number % 4}", (1, number // 4)
                row = store.find(key, stamp)
                assert (row is not None) == (number < kept)
                if row is None:
                    store.append([key], [stamp], expected[[number]])
        with FeatureStore(FOLDER, SIZE) as store:
            rows = [store.find(f"{n // 4}-{n % 4}", (1, n // 4)) for n in range(8)]
            np.testing.assert_array_equal(store.read(rows), expected)
        assert (FOLDER / feature_store.VECTORS).stat().st_size == 8 * SIZE * 4


@pytest.mark.parametrize("name", [feature_store.VECTORS, feature_store.INDEX])
def test_a_flipped_byte_costs_no_more_than_it_touches(name, caplog):
    expected = fill()
    content = bytearray((FOLDER / name).read_bytes())
    content[len(content) // 2] ^= 0x41
    (FOLDER / name).write_bytes(content)
    with FeatureStore(FOLDER, SIZE) as store:
        assert 18 <= len(store) <= 19
        assert "is not whole" in caplog.text
        found = {
            n: store.find(f"{n // 4}-{n % 4}", (1, n // 4))
            for n in range(20)
            if store.find(f"{n // 4}-{n % 4}", (1, n // 4)) is not None
        }
        np.testing.assert_array_equal(store.read(list(found.values())), expected[list(found)])


@pytest.mark.parametrize("number", [-1, 1 << 32, 1 << 70])
def test_a_checksum_that_is_none_costs_its_vector_alone(number):
    fill()
    index = FOLDER / feature_store.INDEX
    *lines, last = index.read_text().splitlines(keepends=True)
    index.write_text("".join([*lines, last.rpartition(" ")[0], f" {number}]\n"]))
    with FeatureStore(FOLDER, SIZE) as store:
        assert len(store) == 19
        store.append(["4-3"], [(1, 4)], vectors(7, 1))
    with FeatureStore(FOLDER, SIZE) as store:
        np.testing.assert_array_equal(store.read([store.find("4-3", (1, 4))]), vectors(7, 1))


FILLER = """
import sys
import numpy as np
from tutorial_support.feature_store import FeatureStore
with FeatureStore("store", 6) as store:
    print("open", flush=True)
    for batch in range(10_000):
        keys = [f"{batch}-{i}" for i in range(4)]
        if store.find(keys[0], (1, batch)) is None:
            store.append(keys, [(1, batch)] * 4,
                         np.random.default_rng(batch).normal(size=(4, 6)).astype(np.float32))
"""


def start_filler(program_environment):
    return subprocess.Popen(
        [sys.executable, "-c", FILLER], stdout=subprocess.PIPE, env=program_environment
    )


def test_killed_at_random_points_it_loses_nothing_and_repeats_nothing(program_environment):
    pauses = np.random.default_rng(0).uniform(0.05, 0.3, 3)
    kept = -1
    for pause in pauses:
        process = start_filler(program_environment)
        process.stdout.readline()
        time.sleep(pause)
        process.kill()
        process.communicate()
        with FeatureStore(FOLDER, SIZE) as store:
            assert len(store) > kept
            kept = len(store)
            for batch in range(kept // 4):
                rows = [store.find(f"{batch}-{i}", (1, batch)) for i in range(4)]
                np.testing.assert_array_equal(store.read(rows), vectors(batch, 4))
    assert (FOLDER / feature_store.VECTORS).stat().st_size == kept * SIZE * 4


def test_a_second_program_waits_until_the_first_has_filled(caplog):
    first = FeatureStore(FOLDER, SIZE)
    opened = []
    thread = threading.Thread(target=lambda: opened.append(FeatureStore(FOLDER, SIZE)))
    thread.start()
    thread.join(0.3)
    assert not opened and "waiting" in caplog.text
    first.append(["k"], [(1, 1)], vectors(0, 1))
    first.finish_filling()
    thread.join(5)
    assert len(opened[0]) == 1
    np.testing.assert_array_equal(first.read([0]), vectors(0, 1))


def test_a_folder_that_cannot_be_used_is_named():
    FOLDER.write_text("a file")
    with pytest.raises(UsageError, match="store 'store' cannot be used.*name another"):
        FeatureStore(FOLDER, SIZE)


def test_reading_256_mebibytes_takes_little_memory():
    size = 2048
    with FeatureStore(FOLDER, size) as store:
        block = np.ones((1024, size), np.float32)
        for batch in range(32):
            keys = [f"{batch}-{i}" for i in range(1024)]
            store.append(keys, [(1, 1)] * 1024, block * batch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with FeatureStore(FOLDER, size) as store:
        order = np.random.default_rng(0).permutation(32 * 1024)
        for start in range(0, len(order), 128):
            rows = order[start : start + 128]
            np.testing.assert_array_equal(store.read(rows)[:, 5], rows // 1024)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 64, f"{grown} MiB"
