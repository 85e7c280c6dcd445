"""The fuzz program: its files depend only on the seed, and it classifies results correctly."""

import pathlib

import numpy as np
import pytest

from benchmarks import fuzz, fuzz_readers
from tutorial_support import files
from tutorial_support.programs import UsageError


def test_the_same_seed_makes_the_same_files():
    contents = []
    for seed in (1, 1, 2):
        random = np.random.default_rng(seed)
        contents.append([fuzz.mutated(bytes(range(200)), random) for _ in range(50)])
    assert contents[0] == contents[1] != contents[2]
    changed = [content != bytes(range(200)) for content in contents[0]]
    assert sum(changed) > 45


def outcome(error):
    def read(folder):
        if error:
            raise error
        with files.reading("theirs", "replace it"):
            raise MemoryError

    return fuzz._outcome(fuzz_readers.Reader(None, read), None)


def test_what_is_no_usage_error_is_a_finding():
    assert outcome(UsageError("theirs: bad"))[0] == "refused"
    assert outcome(ValueError("bad"))[0] == "failed"
    assert outcome(AssertionError("wrong"))[0] == "failed"
    assert outcome(None)[0] == "failed"  # out of memory, whatever sentence it became


@pytest.mark.parametrize("name", ["idx", "CIFAR and names", "tar and zip", "h5 and keras"])
def test_whole_files_are_read_and_damaged_ones_end_well(name, tmp_path):
    reader = fuzz_readers.READERS[name]
    reader.make(tmp_path)
    reader.read(tmp_path)
    for number in range(15):
        folder = tmp_path / "damaged"
        fuzz_readers.clean(folder)
        fuzz.make_damaged(reader, folder, np.random.default_rng(number))
        assert fuzz._outcome(reader, folder)[0] in ("read", "refused")


@pytest.mark.slow
def test_every_reader_ends_well(tmp_path):
    assert fuzz.main(["--count", "330", "--seed", "9", "--keep", "findings"]) == 0
    assert not pathlib.Path("findings").exists()
