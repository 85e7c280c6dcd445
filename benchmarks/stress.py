"""Kills programs at random moments, restarts them, and compares with undisturbed runs.

    python -m benchmarks.stress --kills 100 --cluster-kills 30 --seed 1
    python -m benchmarks.stress --kills 20 --only cifar10 towers

It sends SIGKILL, SIGTERM, SIGINT or SIGHUP at a random moment after the start of the process or
after its first line of output; SIGINT only after Python itself has started. A killed program is
restarted until it ends by itself. Then every variable of the last checkpoint, every scalar in the
event files, and the files of an export, a download or an archive must be identical. No temporary
file may be left, and no traceback printed. All runs use the shipped samples. `cluster_stress` says
what clusters must do.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tutorial_support import programs
from tutorial_support.programs import ArgumentParser, number, program

if __name__ == "__main__":
    programs.before_tensorflow()

from benchmarks import cluster_stress
from tutorial_support import checkpoints, event_files, files

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MOST_KILLS_IN_A_RUN = 6
_PYTHONS_START = 1.0  # seconds, on a busy machine
_LONGEST_SECS = 3600  # of one process, on a very busy machine


def run_result(folder: pathlib.Path) -> Any:
    """Returns the result of a run: its variables as bytes, its scalars, and its best net."""
    values = checkpoints.values(checkpoints.find(folder))
    has_events = any(folder.glob("*tfevents*"))  # the folder of the best net has none
    best = run_result(folder / "best") if (folder / "best").exists() else None
    scalars = event_files.scalars(folder) if has_events else None
    return {name: value.tobytes() for name, value in values.items()}, scalars, best


def fresh_result(folder: pathlib.Path) -> Any:
    """Returns the same for a run started with --fresh and for the run that it moved aside."""
    first_aside = min(folder.parent.glob("run-*"))
    return run_result(folder), run_result(first_aside)


def export_result(folder: pathlib.Path) -> Any:
    """Returns the variables and the file names of an export."""
    values = checkpoints.values(str(folder / "saved_model" / "variables" / "variables"))
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {name: value.tobytes() for name, value in values.items()}, names


def tree_result(folder: pathlib.Path) -> Any:
    """Returns the checksum of every file."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), files.sha256(path)) for path in found]


@dataclasses.dataclass(frozen=True)
class Case:
    """A program to kill, and the function that reads its result.

    Attributes:
        command: the arguments of the interpreter; {out} stands for the output folder.
        result: a function from that folder to something that can be compared.
        before: commands to run once in that folder before, undisturbed.
    """

    command: list[str]
    result: Callable[[pathlib.Path], Any] = run_result
    before: Sequence[list[str]] = ()


_MNIST = ["mnist_mechanics.fully_connected_feed", "--sample", "--log_dir", "{out}"]
_CIFAR10 = [
    *["--sample", "--train_dir", "{out}", "--generations", "60"],
    *["--save_every", "10", "--eval_every", "30", "--output_every", "10"],
]
_DOWNLOAD = """
import pathlib, sys
from tutorial_support import archives, files, programs
remote = files.RemoteFile("f.tar.gz", {size}, "{sha256}", ("{url}",))
fetch = programs.program(lambda argv: archives.fetch_unpacked(remote, pathlib.Path(argv[0]), "f"))
sys.exit(0 if isinstance(code := fetch(sys.argv[1:]), pathlib.Path) else code)
"""
_TRAIN_TO_EXPORT = ["-m", *_MNIST[:-1], "trained", "--max_steps", "200"]
_EXPORT = ["-m", "mnist_mechanics.export", "--checkpoint", "trained", "--export_dir", "{out}"]
CASES = {  # those that take longest first
    "cats and dogs": Case(
        [
            *["-m", "catsdogs_finetune.train", "--sample", "--train_dir", "{out}"],
            *["--initial_epochs", "2", "--fine_tune_epochs", "1"],
        ]
    ),
    "cats and dogs, kept bottlenecks": Case(
        [
            *["-m", "catsdogs_finetune.train", "--sample", "--train_dir", "{out}"],
            *["--initial_epochs", "6", "--fine_tune_epochs", "1", "--no_augmentation"],
        ]
    ),
    "cifar10 cookbook": Case(["-m", "cifar10_cnn.train", *_CIFAR10]),
    "cifar10 best": Case(["-m", "cifar10_cnn.train", *_CIFAR10, "--recipe", "best"]),
    "cifar10 towers": Case(["-m", "cifar10_cnn.train_towers", *_CIFAR10]),
    "flowers, kept bottlenecks": Case(
        [
            *["-m", "flowers_transfer.retrain", "--sample", "--train_dir", "{out}"],
            *["--bottleneck_dir", "bottlenecks", "--how_many_training_steps", "4000"],
        ]
    ),
    "mnist fed": Case(["-m", *_MNIST, "--max_steps", "4000"]),
    "mnist looped": Case(
        [
            *["-m", "mnist_mechanics.fully_connected_looped", "--sample", "--log_dir", "{out}"],
            *["--max_steps", "6000"],
        ]
    ),
    "--fresh": Case(
        ["-m", *_MNIST, "--max_steps", "900", "--seed", "1", "--fresh"],
        fresh_result,
        before=[["-m", *_MNIST, "--max_steps", "900"]],
    ),
    "export": Case(_EXPORT, export_result, before=[_TRAIN_TO_EXPORT]),
    "export over an older one": Case(
        _EXPORT,
        export_result,
        before=[_TRAIN_TO_EXPORT, _EXPORT, [*_TRAIN_TO_EXPORT, "--seed", "1", "--fresh"]],
    ),
    "download and unpacking": Case(["-c", _DOWNLOAD, "{out}"], tree_result),
}


class Process:
    """A running program; records when its first line of output came."""

    def __init__(self, case_command: list[str], folder: pathlib.Path) -> None:
        arguments = [argument.replace("{out}", "run") for argument in case_command]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            files.CACHE_VARIABLE: str(folder / "cache"),
        }
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        self._begun, self.lines, self.first_line = threading.Event(), [], 0.0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not self.lines:
                self.first_line = time.monotonic() - self._started
                self._begun.set()
            self.lines.append(line)
        self._begun.set()

    def kill_after(self, delay: float, signal_number: int, from_first_line: bool) -> bool:
        """Sends a signal after `delay` seconds; returns whether it ended the process."""
        if from_first_line:
            self._begun.wait()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(delay)
            return False
        self._process.send_signal(signal_number)
        code = self.finish()
        return code != 0

    def finish(self) -> int:
        """Waits for the end; returns the exit code."""
        code = self._process.wait(timeout=_LONGEST_SECS)
        self._reader.join()
        self.length = time.monotonic() - self._started
        return code


@dataclasses.dataclass
class Tally:
    """The results of a case."""

    kills: Counter[int] = dataclasses.field(default_factory=Counter)
    runs: int = 0
    different: int = 0
    unexpected: list[str] = dataclasses.field(default_factory=list)


_EXPECTED_CODES = {0, *(-s for s in SIGNALS), *(128 + s for s in SIGNALS)}


def stress(case: Case, kills: int, generator: random.Random, folder: pathlib.Path) -> Tally:
    """Compares a program that is killed at least `kills` times with an undisturbed one."""
    tally = Tally()
    whole = _prepared(case, folder / "whole")
    process = Process(case.command, whole)
    if process.finish():
        raise RuntimeError(f"{case.command} failed:\n{''.join(process.lines)}")
    expected = case.result(whole / "run")
    behind_first_line = process.length - process.first_line
    while sum(tally.kills.values()) < kills:
        work = _prepared(case, folder / f"killed{tally.runs}")
        for attempt in range(_MOST_KILLS_IN_A_RUN + 1):
            restarted = Process(case.command, work)
            if attempt < _MOST_KILLS_IN_A_RUN and sum(tally.kills.values()) < kills:
                late = generator.random() < 0.7 and process.first_line > 0
                longest = behind_first_line if late else process.length
                delay = generator.uniform(0.02, 0.9) * longest
                number_sent = generator.choice(SIGNALS)
                if number_sent == signal.SIGINT and not late:
                    delay += _PYTHONS_START
                if restarted.kill_after(delay, number_sent, late):
                    tally.kills[number_sent] += 1
            code = restarted.finish()
            text = "".join(restarted.lines)
            if code not in _EXPECTED_CODES or "Traceback" in text:
                tally.unexpected.append(f"exit code {code}:\n{text}")
            if code in (0, 1, 2):  # by itself
                break
        tally.runs += 1
        try:
            tally.different += case.result(work / "run") != expected
        except Exception as error:
            tally.different += 1
            tally.unexpected.append(f"{work}: {error!r}")
        left = list(work.rglob("*.partial"))
        if left:
            tally.unexpected.append(f"left: {left}")
    return tally


def _prepared(case: Case, folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    for command in case.before:
        before = Process(command, folder)
        if before.finish():
            raise RuntimeError("".join(before.lines))
    return folder


def _report(name: str, tally: Tally) -> str:
    by_signal = " | ".join(str(tally.kills[s]) for s in SIGNALS)
    return (
        f"| {name} | {sum(tally.kills.values())} | {by_signal} | {tally.runs} | {tally.different} "
        f"| {len(tally.unexpected)} |"
    )


@contextlib.contextmanager
def _serving(folder: pathlib.Path):
    """Serves an archive of 30 MB on loopback, slowly enough to be killed meanwhile."""
    from tests import loopback

    source = folder / "f"
    source.mkdir()
    for index in range(30):
        (source / f"{index}.bin").write_bytes(random.Random(index).randbytes(1 << 20))
    with tarfile.open(folder / "f.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(source, "f")
    body = (folder / "f.tar.gz").read_bytes()

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for start in range(0, len(body), 1 << 20):
                handler.wfile.write(body[start : start + (1 << 20)])
                time.sleep(0.05)

    with loopback.serve({"/f.tar.gz": answer}) as address:
        yield f"{address}/f.tar.gz", body


@program
def main(argv: list[str] | None = None) -> int:
    """Parses the flags and prints the tables."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--kills", type=number(int, 0), default=100, help="Kills of programs.")
    parser.add_argument("--cluster-kills", type=number(int, 0), default=0, help="Kills of tasks.")
    only = "Run only cases whose names contain one of these words."
    parser.add_argument("--only", nargs="+", metavar="WORD", help=only)
    seed = "Seeds the moments and the signals."
    parser.add_argument("--seed", type=number(int, 0), default=0, help=seed)
    parser.add_argument("--jobs", type=number(int, 1), default=2, help="Cases that run at a time.")
    flags = parser.parse_args(argv)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup makes us and our children ignore it
    chosen = [name for name in CASES if not flags.only or any(w in name for w in flags.only)]
    failures = 0
    with tempfile.TemporaryDirectory() as folder_name:
        folder = pathlib.Path(folder_name)
        if flags.kills:
            failures += _stress_all(chosen, flags, folder)
        if flags.cluster_kills:
            failures += cluster_stress.stress(flags.cluster_kills, flags.seed, folder / "cluster")
    return 1 if failures else 0


def _stress_all(chosen: list[str], flags: Any, folder: pathlib.Path) -> int:
    print("| program | kills | " + " | ".join(s.name for s in SIGNALS) + " | runs | different "
          "| unexpected |", "|---" * 9 + "|", sep="\n")  # fmt: skip
    with (
        _serving(folder) as (url, body),
        concurrent.futures.ThreadPoolExecutor(flags.jobs) as threads,
    ):

        def run(position: int) -> Tally:
            name = chosen[position]
            case = CASES[name]
            if _DOWNLOAD in case.command:
                code = _DOWNLOAD.format(
                    size=len(body), sha256=hashlib.sha256(body).hexdigest(), url=url
                )
                case = dataclasses.replace(case, command=["-c", code, "{out}"])
            share = -(-flags.kills * (position + 1) // len(chosen)) - (
                -(-flags.kills * position // len(chosen))
            )
            generator = random.Random(f"{flags.seed} {name}")
            (folder / name).mkdir()
            try:
                tally = stress(case, share, generator, folder / name)
            except Exception as error:  # the other cases get their turn all the same
                tally = Tally(unexpected=[repr(error)])
            print(_report(name, tally), flush=True)
            return tally

        tallies = list(threads.map(run, range(len(chosen))))
    total = Tally()
    for name, tally in zip(chosen, tallies, strict=True):
        total.kills += tally.kills
        total.runs, total.different = total.runs + tally.runs, total.different + tally.different
        total.unexpected += [f"{name}: {text}" for text in tally.unexpected]
    print(_report("together", total), *total.unexpected, sep="\n")
    return total.different + len(total.unexpected)


if __name__ == "__main__":
    sys.exit(main())
