"""Tests every reader of users' files with damaged files.

    python -m benchmarks.fuzz --count 20000 --seed 1

It damages small valid files: bits flipped, bytes cut, inserted or swapped, lengths replaced. A
reader must raise UsageError or return a right result. Another exception, a wrong result, a crash,
more than 2 GB of memory or 10 seconds of processor time is a finding: the program prints it,
keeps the files, and ends with exit code 1. The same seed makes the same files.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time
import traceback
import zlib

import numpy as np

MOST_SECS = 10.0  # of processor time
MOST_WALL_SECS = 120.0
MOST_MEMORY = 2 << 30  # bytes
_LENGTHS = (0, 1, 2**7, 2**15 - 1, 2**16, 2**28, 2**31 - 1, 2**32 - 1, 2**35, 2**63 - 1, 2**64 - 1)
_TEXTS = (
    b"[" * 50_000,
    b'{"a":' * 5_000,
    b"null",
    b'"',
    b"\n",
    b"1e999",
    b"\xff\xfe",
    b"-1",
    b"\0",
)


def mutated(content, random):
    """Returns the bytes of a file with one or several changes."""
    content = bytearray(content)
    for _ in range(min(4, random.geometric(0.6))):
        size = len(content)
        if not size:
            break
        # Headers are at the start, directories of zip files at the end: change these more often.
        place = int(random.choice([random.integers(size), min(size - 1, random.geometric(0.03))]))
        length = int(min(size - place, random.geometric(0.05)))
        what = random.integers(9)
        if what == 0:
            content[place] ^= 1 << random.integers(8)
        elif what == 1:
            content[place : place + length] = random.bytes(length)
        elif what == 2:
            del content[place:]
        elif what == 3:
            del content[place : place + length]
        elif what == 4:
            content[place:place] = random.bytes(length)
        elif what == 5:
            other = int(random.integers(size))
            piece = content[other : other + length]
            content[place : place + len(piece)] = piece
        elif what == 6:
            width, order = random.choice([1, 2, 4, 8]), random.choice(["little", "big"])
            number = int(random.choice(np.array(_LENGTHS, object))) % 256 ** int(width)
            content[place : place + width] = number.to_bytes(int(width), str(order))
        elif what == 7:
            content[place : place + length] = bytes(length)
        else:
            content[place:place] = _TEXTS[random.integers(len(_TEXTS))]
    return bytes(content)


def make_damaged(reader, folder, random):
    """Makes a reader's files in a folder and damages one of them."""
    reader.make(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = paths[random.integers(len(paths))]
    is_inside = reader.mutate is not None and random.random() < 0.6
    if not is_inside or not reader.mutate(path, random, mutated):
        path.write_bytes(mutated(path.read_bytes(), random))
    return path


# The process that reads


def serve(name):
    """Reads the folders named on standard input, one per line; answers in JSON."""
    import resource  # which Windows lacks

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from benchmarks import fuzz_readers

    reader = fuzz_readers.READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        reader.make(pathlib.Path(folder))
        reader.read(pathlib.Path(folder))  # undamaged files first, which also warms up the reader
    taken = _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * MOST_MEMORY,) * 2)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak memory
        before = _memory("VmRSS")
        outcome, text = _outcome(reader, pathlib.Path(line.strip()))
        grown = _memory("VmHWM") - before
        if grown > MOST_MEMORY:
            outcome, text = "failed", f"took {grown >> 20} MB"
        answer = {"outcome": outcome, "text": text, "grown": grown}
        print(json.dumps(answer), file=answers, flush=True)


def _outcome(reader, folder):
    from tutorial_support.programs import UsageError

    try:
        reader.read(folder)
        return "read", ""
    except UsageError as error:
        if isinstance(error.__cause__, MemoryError):
            return "failed", f"ran out of memory: {error}"
        return "refused", str(error)
    except BaseException:
        return "failed", traceback.format_exc()


def _memory(field):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) << 10


class Worker:
    """A process that reads; it is restarted after a crash or if it hangs."""

    def __init__(self, name):
        self._name = name
        self._start()

    def _start(self):
        command = [sys.executable, "-m", "benchmarks.fuzz", "--serve", self._name]
        project = pathlib.Path(__file__).parents[1]  # where Python finds this package
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=project
        )
        if not self._line(MOST_WALL_SECS):
            raise SystemExit(f"the reader of {self._name} does not read undamaged files")

    def _line(self, most_wall_secs):
        start, began = time.monotonic(), self._worked()
        while True:
            if select.select([self._process.stdout], [], [], 0.2)[0]:
                return self._process.stdout.readline()
            is_hanging = self._worked() - began > MOST_SECS and most_wall_secs is None
            if is_hanging or time.monotonic() - start > (most_wall_secs or MOST_WALL_SECS):
                return None

    def _worked(self):
        """Returns the processor time of the process so far, in seconds."""
        fields = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def read(self, folder):
        """Returns the result of reading a folder, as `serve` reports it."""
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        line = self._line(None)
        if line:
            return json.loads(line)
        text = "hangs" if line is None else "crashed"
        self.close()
        self._start()
        return {"outcome": "failed", "text": text, "grown": 0}

    def close(self):
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def fuzz(name, count, seed, keep, first=0):
    """Tests one reader; returns a row of the table: counts, seconds, memory."""
    from benchmarks import fuzz_readers

    reader, row = fuzz_readers.READERS[name], {"files": 0, "read": 0, "refused": 0, "failed": 0}
    slowest, most = 0.0, 0
    with contextlib.closing(Worker(name)) as worker, tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder, "files")
        for number in range(first, first + count):
            fuzz_readers.clean(folder)
            random = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
            path = make_damaged(reader, folder, random)
            start = time.monotonic()
            whole = path.read_bytes()
            answer = worker.read(folder)
            slowest = max(slowest, time.monotonic() - start)
            most = max(most, answer["grown"])
            row["files"] += 1
            row[answer["outcome"]] += 1
            if answer["outcome"] == "failed":
                kept = keep / f"{name.replace(' ', '_')}-{seed}-{number}"
                kept.mkdir(parents=True, exist_ok=True)
                (kept / path.name).write_bytes(whole)
                (kept / "why.txt").write_text(answer["text"])
                last = answer["text"].strip().splitlines()[-1]
                print(f"{name}, file {number}: {last}; kept in '{kept}'", flush=True)
    return row | {"slowest s": round(slowest, 1), "most MB": most >> 20}


def main(argv=None):
    """Prints a table; returns 1 if there are findings."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = " (default: %(default)s)"
    add = parser.add_argument_group("files").add_argument
    add("--count", type=int, default=1000, help=f"The number of files in all.{default}")
    seed = "Seed of the damage; another one gives other files."
    add("--seed", type=int, default=0, help=seed + default)
    first = "Number of each reader's first file, to repeat a finding."
    add("--first", type=int, default=0, help=first + default)
    add("--reader", action="append", help="Test only this reader; may be repeated.")
    add = parser.add_argument_group("output").add_argument
    add("--keep", default="fuzz-findings", help=f"The folder for findings.{default}")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.serve:
        serve(flags.serve)
        return 0
    from benchmarks import fuzz_readers

    names = flags.reader or list(fuzz_readers.READERS)
    each = -(-flags.count // len(names))
    rows = {}
    for name in names:
        rows[name] = fuzz(name, each, flags.seed, pathlib.Path(flags.keep), flags.first)
        print(f"{name}: {rows[name]}", flush=True)
    columns = list(rows[names[0]])
    print(f"\n| reader | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(str(row[column]) for column in columns)} |")
    return int(any(row["failed"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
