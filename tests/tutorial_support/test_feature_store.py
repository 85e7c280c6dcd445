"""The store of vectors when programs are killed and files are damaged."""

import contextlib
import os
import pathlib
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest

from tutorial_support import feature_store
from tutorial_support.feature_store import FeatureStore
from tutorial_support.programs import TrainingError, UsageError

SIZE = 6
FOLDER = pathlib.Path("store")
DATABASE = FOLDER / feature_store.DATABASE


def vectors(first, count):
    return np.random.default_rng(first).normal(size=(count, SIZE)).astype(np.float32)


def fill(batches=5, each=4):
    """A store of `batches` appended batches; returns its vectors."""
    with FeatureStore(FOLDER, SIZE) as store:
        for batch in range(batches):
            keys = [f"{batch}-{i}" for i in range(each)]
            store.append(keys, [(1, batch)] * each, vectors(batch, each))
    return np.concatenate([vectors(batch, each) for batch in range(batches)])


def found_in(store, count=20):
    """The rows that `fill` wrote, by number, without those that the store has lost."""
    rows = {n: store.find(f"{n // 4}-{n % 4}", (1, n // 4)) for n in range(count)}
    return {n: row for n, row in rows.items() if row is not None}


def change(statement, *values):
    with contextlib.closing(sqlite3.connect(DATABASE, isolation_level=None)) as database:
        database.execute(statement, values)


@pytest.mark.parametrize("max_in_memory", [1 << 20, 0])
def test_what_was_appended_is_read_back_to_the_bit(max_in_memory, monkeypatch):
    monkeypatch.setattr(feature_store, "_MAX_IN_MEMORY", max_in_memory)
    expected = fill()
    with FeatureStore(FOLDER, SIZE) as store:
        assert len(store) == 20
        rows = np.array(list(found_in(store).values()))
        np.testing.assert_array_equal(store.read(rows), expected)
        np.testing.assert_array_equal(store.read(rows[[7, 3, 3]]), expected[[7, 3, 3]])
        assert store.read(rows[:0]).shape == (0, SIZE)
        assert store.read(rows).ctypes.data % 64 == 0  # otherwise a session copies it
        assert store.find("0-0", (1, 1)) is None and store.find("0-0", (2, 0)) is None  # changed
        store.append(["0-0"], [(1, 1)], vectors(99, 1))
        np.testing.assert_array_equal(store.read([store.find("0-0", (1, 1))]), vectors(99, 1))
        np.testing.assert_array_equal(store.read(rows), expected)


@pytest.mark.parametrize("max_in_memory", [1 << 20, 0])
def test_a_vector_that_another_program_has_removed_is_told(max_in_memory, monkeypatch):
    monkeypatch.setattr(feature_store, "_MAX_IN_MEMORY", max_in_memory)
    fill()
    with FeatureStore(FOLDER, SIZE) as store:
        rows = list(found_in(store).values())
        change("DELETE FROM vectors WHERE row = ?", rows[19])
        with pytest.raises(UsageError, match=r"store 'store' cannot be used: row 20 is missing"):
            store.read(rows)


def test_keys_may_be_any_file_name():
    names = ["a b.jpg", "fünf 花.jpg", os.fsdecode(b"\xfe.jpg"), "1 1 x", "x\n"]
    expected = vectors(0, len(names))
    with FeatureStore(FOLDER, SIZE) as store:
        store.append(names, [(1, 1)] * len(names), expected)
    with FeatureStore(FOLDER, SIZE) as store:
        rows = [store.find(name, (1, 1)) for name in names]
        np.testing.assert_array_equal(store.read(rows), expected)


def test_it_is_nearly_as_compact_as_its_numbers():
    with FeatureStore(FOLDER, 1280) as store:
        keys = [f"{n}" for n in range(500)]
        store.append(keys, [(1, 1)] * 500, np.ones((500, 1280), np.float32))
    assert DATABASE.stat().st_size < 1.1 * 500 * 1280 * 4


def test_wrong_vectors_are_not_taken():
    with FeatureStore(FOLDER, SIZE) as store:
        for bad in (np.full((1, SIZE), np.nan), np.zeros((1, SIZE + 1)), np.zeros((2, SIZE))):
            with pytest.raises(ValueError, match="expected finite numbers"):
                store.append(["k"], [(1, 1)], bad)
        assert len(store) == 0


def test_a_batch_that_fails_leaves_nothing_of_itself():
    fill(1)
    with FeatureStore(FOLDER, SIZE) as store:
        change(
            "CREATE TRIGGER full BEFORE INSERT ON vectors WHEN NEW.version = CAST('1 1 c' AS BLOB) "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
        with pytest.raises(UsageError, match="disk is full; free some space, delete"):
            store.append(list("abcd"), [(1, 1)] * 4, vectors(9, 4))
        assert len(store) == 4 and store.find("a", (1, 1)) is None
    with FeatureStore(FOLDER, SIZE) as store:
        assert len(store) == 4


def test_what_is_appended_reaches_the_disk():
    with FeatureStore(FOLDER, SIZE) as store:
        (synchronous,) = store._database.execute("PRAGMA synchronous").fetchone()
        (journal,) = store._database.execute("PRAGMA journal_mode").fetchone()
    assert synchronous == 2 and journal == "delete"  # SQLite's FULL: fsync before and after


def test_cut_off_anywhere_it_gives_nothing_wrong_and_goes_on(caplog):
    expected = fill(batches=2)
    content = DATABASE.read_bytes()
    for length in range(0, len(content), 997):
        DATABASE.write_bytes(content[:length])
        with FeatureStore(FOLDER, SIZE) as store:
            found = found_in(store, 8)
            np.testing.assert_array_equal(store.read(list(found.values())), expected[list(found)])
            for n in {*range(8)} - {*found}:
                store.append([f"{n // 4}-{n % 4}"], [(1, n // 4)], expected[[n]])
        with FeatureStore(FOLDER, SIZE) as store:
            assert len(store) == 8
            np.testing.assert_array_equal(store.read(list(found_in(store, 8).values())), expected)
    assert "vectors.sqlite' is damaged" in caplog.text


def test_a_flipped_byte_anywhere_never_gives_a_picture_another_vector():
    expected = fill()
    content = DATABASE.read_bytes()
    used = [place for place, byte in enumerate(content) if byte]
    kept = []
    for place in used[:100:9] + used[100::5]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        DATABASE.write_bytes(damaged)
        # A damaged page may hide entries, but the entries that are found are correct.
        with contextlib.suppress(UsageError), FeatureStore(FOLDER, SIZE) as store:
            found = found_in(store)
            read = store.read(list(found.values()))
            np.testing.assert_array_equal(read, expected[list(found)])
            kept.append(len(found))
    assert len(kept) > 50 and np.mean(kept) > 10


@pytest.mark.parametrize(
    "damage",
    [
        "checksum = -1",
        "checksum = 1 << 40",
        "checksum = NULL",
        "vector = zeroblob(24)",
        "vector = zeroblob(20)",
        "vector = 'text'",
        "version = CAST('1 4 4-1' AS BLOB)",  # another picture's
        "version = CAST('1 5 4-3' AS BLOB)",  # another modification time
    ],
)
def test_an_entry_that_its_checksum_does_not_fit_costs_itself_alone(damage, caplog):
    expected = fill()
    change(f"UPDATE vectors SET {damage} WHERE row = 20")
    with FeatureStore(FOLDER, SIZE) as store:
        assert list(found_in(store)) == list(range(19)) and store.find("4-3", (1, 5)) is None
        assert "has 1 damaged" in caplog.text
        np.testing.assert_array_equal(store.read([store.find("4-1", (1, 4))]), expected[[17]])
        store.append(["4-3"], [(1, 4)], expected[[19]])
    caplog.clear()
    with FeatureStore(FOLDER, SIZE) as store:
        np.testing.assert_array_equal(store.read(list(found_in(store).values())), expected)
    assert not caplog.text


def test_the_files_of_an_earlier_version_are_left_alone():
    FOLDER.mkdir()
    (FOLDER / "vectors.f32").write_bytes(b"old")
    (FOLDER / "index.jsonl").write_bytes(b"[0, 1]\n")
    fill()
    assert (FOLDER / "vectors.f32").read_bytes() == b"old"
    assert (FOLDER / "index.jsonl").read_bytes() == b"[0, 1]\n"


FILLER = """
import sys
import numpy as np
from tutorial_support.feature_store import FeatureStore
number = int(sys.argv[1])
with FeatureStore("store", 6, slice(number, None, 2)) as store:
    print("open", flush=True)
    for batch in range(number, 10_000, 2):
        keys = [f"{batch}-{i}" for i in range(4)]
        if store.find(keys[0], (1, batch)) is None:
            store.append(keys, [(1, batch)] * 4,
                         np.random.default_rng(batch).normal(size=(4, 6)).astype(np.float32))
            print(batch, flush=True)
"""


def start_filler(program_environment, number):
    return subprocess.Popen(
        [sys.executable, "-c", FILLER, str(number)], stdout=subprocess.PIPE, env=program_environment
    )


def test_tasks_that_are_killed_at_random_points_lose_nothing(program_environment):
    said = set()
    for pause in np.random.default_rng(0).uniform(0.1, 0.3, 2):
        processes = [start_filler(program_environment, number) for number in range(2)]
        for process in processes:
            assert process.stdout.readline() == b"open\n"
            said.add(int(process.stdout.readline()))
        time.sleep(pause)
        for process in processes:
            process.kill()
            said |= {int(line) for line in process.communicate()[0].split()}
        with FeatureStore(FOLDER, SIZE) as store:
            assert len(store) % 4 == 0 and len(store) >= 4 * len(said)
            for batch in said:
                rows = [store.find(f"{batch}-{i}", (1, batch)) for i in range(4)]
                np.testing.assert_array_equal(store.read(rows), vectors(batch, 4))
    assert {batch % 2 for batch in said} == {0, 1}


def test_a_second_program_waits_until_the_first_has_filled(caplog):
    first = FeatureStore(FOLDER, SIZE)
    opened = []
    thread = threading.Thread(target=lambda: opened.append(FeatureStore(FOLDER, SIZE)))
    thread.start()
    thread.join(0.4)
    assert not opened and "waiting" in caplog.text
    first.append(["k"], [(1, 1)], vectors(0, 1))
    first.finish_filling()
    thread.join(5)
    assert len(opened[0]) == 1
    np.testing.assert_array_equal(first.read([1]), vectors(0, 1))


def test_tasks_fill_a_store_together_and_learn_of_each_other():
    tasks = [FeatureStore(FOLDER, SIZE, slice(number, None, 3), 0.3) for number in range(3)]
    wanted = {f"{n}": (1, 1) for n in range(30)}
    for number in (2, 0):
        keys = list(wanted)[number::3]
        tasks[number].append(keys, [(1, 1)] * 10, vectors(number, 10))
    with pytest.raises(TrainingError, match="lacks 10 bottlenecks, .* none for 0.3 s"):
        tasks[0].await_others(wanted, lambda key: None)
    never = tasks[0].await_others(wanted, lambda key: "bad" if int(key) % 3 == 1 else None)
    assert never == dict.fromkeys(list(wanted)[1::3], "bad")
    rows = [tasks[0].find(key, (1, 1)) for key in list(wanted)[2::3]]
    np.testing.assert_array_equal(tasks[0].read(rows), vectors(2, 10))


def test_whatever_others_add_extends_the_wait():
    mine, other = (FeatureStore(FOLDER, SIZE, slice(number, None, 2), 0.6) for number in range(2))

    def add_slowly():
        for number in range(4):
            time.sleep(0.3)
            other.append([f"{number}"], [(1, 1)], vectors(number, 1))

    thread = threading.Thread(target=add_slowly)
    thread.start()
    assert mine.await_others({f"{n}": (1, 1) for n in range(4)}, lambda key: None) == {}
    thread.join()
    assert len(mine) == 4


def test_a_folder_that_cannot_be_used_is_named():
    FOLDER.write_text("a file")
    with pytest.raises(UsageError, match="store 'store' cannot be used.*name another"):
        FeatureStore(FOLDER, SIZE)
    (pathlib.Path("other") / feature_store.DATABASE).mkdir(parents=True)
    with pytest.raises(UsageError, match="store 'other' cannot be used: unable to open"):
        FeatureStore("other", SIZE)


def test_a_lock_that_is_a_link_is_refused_and_its_target_kept():
    FOLDER.mkdir()
    pathlib.Path("precious").write_text("x")
    (FOLDER / ".lock").symlink_to(pathlib.Path("precious").resolve())
    with pytest.raises(UsageError, match="is a link; remove it"):
        FeatureStore(FOLDER, SIZE)
    assert pathlib.Path("precious").read_text() == "x"


def test_reading_64_mebibytes_takes_little_memory(monkeypatch):
    monkeypatch.setattr(feature_store, "_MAX_IN_MEMORY", 1 << 25)
    size, count = 2048, 8 * 1024
    with FeatureStore(FOLDER, size) as store:
        for batch in range(8):
            keys = [f"{batch}-{i}" for i in range(1024)]
            store.append(keys, [(1, 1)] * 1024, np.full((1024, size), batch, np.float32))
    tracemalloc.start()
    with FeatureStore(FOLDER, size) as store:
        order = np.random.default_rng(0).permutation(count)
        for start in range(0, count, 128):
            rows = order[start : start + 128]
            np.testing.assert_array_equal(store.read(rows + 1)[:, 5], rows // 1024)
    peak = tracemalloc.get_traced_memory()[1] / (1 << 20)
    tracemalloc.stop()
    assert peak < 8, f"{peak} MiB"


@pytest.mark.parametrize("number_of_tasks", [1, 2])
def test_a_cache_that_cannot_be_written_costs_one_task_nothing(
    number_of_tasks, monkeypatch, caplog
):
    pathlib.Path("file").write_text("")
    monkeypatch.setenv("GRAPH_TUTORIALS_DATA", "file/cache")  # not even root can make this folder
    share = slice(0, None, number_of_tasks)
    folder = feature_store.store_folder(None, "photos", "base", share)
    if number_of_tasks > 1:  # the tasks would not find each other's
        assert folder.is_relative_to("file/cache")
    else:
        assert "cannot be written" in caplog.text
        with FeatureStore(folder, 2) as store:
            store.append(["a"], [(1, 1)], np.float32([[3, 4]]))
            assert store.read([store.find("a", (1, 1))]).tolist() == [[3, 4]]
        assert feature_store.store_folder(None, "photos", "base", share) == folder
