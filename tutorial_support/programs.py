"""Flags, messages and exit codes of all command-line programs.

Exit codes: 0 success; 1 training or writing failed; 2 wrong use or unusable data; 129, 130 and 143
after SIGHUP, SIGINT and SIGTERM. This module does not load TensorFlow.
"""

import argparse
import contextlib
import difflib
import errno
import faulthandler
import functools
import logging
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import tutorial_support
from tutorial_support import early_parsing

LOG = logging.getLogger("graph_tutorials")
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
DEBUG = "GRAPH_TUTORIALS_DEBUG"  # if set, errors show their traceback

ENVIRONMENT = {
    # Hide all but fatal messages of TensorFlow's C++ code; it raises what matters as exceptions.
    LOG_LEVEL: "3",
    # Where TensorFlow leaves oneDNN off, turning it on makes convolutions 1.5 to 1.8 times faster.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
# Threads per op; 0 lets TensorFlow choose. The first session of a process fixes this for all later
# sessions, so it is changed only when a program runs in its own process.
op_threads = 0


class UsageError(Exception):
    """Wrong use or unusable data. The message names the file or flag and the remedy."""


class TrainingError(Exception):
    """Training cannot go on, for example because the loss is NaN."""


# Windows has no SIGHUP.
STOP_SIGNALS = [
    number for number in signal.Signals if number.name in ("SIGINT", "SIGTERM", "SIGHUP")
]


class StopSignals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a flag that a loop can check.

    A second signal has its usual effect, so pressing Ctrl-C twice ends the program at once.
    """

    exit_code = 0  # 128 plus the number of the received signal

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has been received."""
        return self.exit_code > 0

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: object) -> None:
        self.exit_code = 128 + number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser that shows the defaults in --help and raises errors as UsageError."""

    def __init__(self, description: str | None) -> None:
        module = sys.modules["__main__"].__spec__
        script = pathlib.PurePath(sys.argv[0]).stem
        name = module.name.removesuffix(".__main__") if module else script
        super().__init__(
            prog=f"python -m {name}",
            description=description,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
            epilog=f"Set the environment variable {DEBUG}=1 to see tracebacks of errors.",
        )
        version = f"graph-tutorials {tutorial_support.__version__}"
        show, version_help = "Show this help and exit.", "Show the version and exit."
        self.add_argument("-h", "--help", action="help", help=show)
        self.add_argument("--version", action="version", version=version, help=version_help)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses like argparse; then ends the program if only its flags are to be parsed."""
        flags = super().parse_args(args, namespace)
        for action in self._actions:
            value = getattr(flags, action.dest, None)
            values = value if isinstance(value, list) else [value]
            if value != action.default and "" in values:
                name = next(iter(action.option_strings), action.metavar or action.dest)
                self.error(f"argument {name}: its value is empty; give one or leave it out")
        if early_parsing.is_parsing_only:
            raise early_parsing.FlagsParsed
        return flags

    def error(self, message: str) -> Any:
        """Raises UsageError instead of printing the usage and exiting."""
        hint = ""
        if unknown := re.match(r"unrecognized arguments: (--[^\s=]+)", message):
            near = nearest(unknown[1], list(self._option_string_actions))
            hint = f"; did you mean {near}?" if near else ""
        raise UsageError(f"{message}{hint} (--help lists the flags)")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the description's line breaks; shows defaults other than None and False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        no_default = any(action.default is none for none in (None, False, argparse.SUPPRESS))
        if not action.option_strings or no_default:
            return action.help
        return f"{action.help} (default: %(default)s)"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        """Returns DIR or SECS if the flag's name ends so, N for a number, else the whole name."""
        *_, last = words = action.dest.upper().split("_")
        is_number = hasattr(action.type, "kind")
        return last if last in ("DIR", "SECS") else "N" if is_number else "_".join(words)


def nearest(word: str, known: list[str]) -> str | None:
    """Returns the known word that is closest to a misspelt one, or None if none is close."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def number(kind: type, low: float = -math.inf, high: float = math.inf) -> Callable[[str], Any]:
    """Returns an argparse type: a finite `kind` (int or float) with low <= value <= high.

    Without `high`, whole numbers are below 2**31, because TensorFlow takes them as int32.
    """
    largest = 2**31 - 1 if kind is int and high == math.inf else high
    bounds = [f"from {low}"] * (low != -math.inf) + [f"up to {high}"] * (high != math.inf)
    wanted = " ".join(["a whole number" if kind is int else "a finite number", *bounds])

    def parse(text: str) -> Any:
        try:
            value = kind(text)
            finite = math.isfinite(value)
        except (ValueError, OverflowError):
            finite = False
        if not (finite and low <= value <= high):
            raise argparse.ArgumentTypeError(f"expected {wanted}, not {text!r}")
        if value > largest:
            raise argparse.ArgumentTypeError(f"expected at most {largest}, not {text!r}")
        return value

    parse.kind = kind  # type: ignore[attr-defined]
    return parse


def before_tensorflow(small_net: bool = False) -> None:
    """Prepares this process for TensorFlow; call it before TensorFlow is imported.

    A program calls it when it is run, never when it is imported. It answers --help and wrong flags
    at once, so the program's `main` must parse its flags before it does anything else. Then it
    sets the variables in ENVIRONMENT unless the user has set them, loads TensorFlow without its
    start-up messages, and lets Ctrl-C end the process quietly in the meantime.

    Args:
        small_net: use one thread per op. The ops of a small net take microseconds, less than
            handing work to another thread.
    """
    global op_threads
    op_threads = 1 if small_net else 0
    _repair_what_is_inherited()
    # This gives signal handlers a stack of their own. On the main thread's stack they apparently
    # overwrite data of a running matrix product of oneDNN (seen with TensorFlow 2.21 and AVX-512:
    # the heap was damaged, and the C library aborted trainings that got a signal).
    faulthandler.enable()
    signal.signal(signal.SIGINT, _interrupted_early)
    caller = sys._getframe(1).f_globals
    specification = caller.get("__spec__")  # None for a script that is run by path
    if caller["__name__"] == "__main__" and specification and "tensorflow" not in sys.modules:
        exit_code = early_parsing.exit_code(specification.name)
        if exit_code is not None:
            sys.exit(exit_code)
        signal.signal(signal.SIGINT, _interrupted_early)  # `main` has changed it
    is_quiet = LOG_LEVEL not in os.environ
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Pictures are only saved, and matplotlib refuses to load for a backend that it does not know.
    os.environ["MPLBACKEND"] = "agg"
    with _without_chatter() if is_quiet else contextlib.nullcontext():
        import tensorflow  # noqa: F401


def _repair_what_is_inherited() -> None:
    """Undoes what the parent process may have set up and no program here expects."""
    # Streams that the shell has closed (`2>&-`): TensorFlow would log into our files.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: PTH123, SIM115
    # Without SIGCHLD, the exit codes of the processes that a program starts would be lost.
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _interrupted_early(number: int, frame: object) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(128 + number)


# Messages that TensorFlow prints while loading, whatever the log level. A separate process filters
# them, so that the last message of a process that dies meanwhile is not lost.
_CHATTER = (
    r"WARNING: All log messages before absl::InitializeLog|I0000 |E0000 .*cuda|E0000 .*cuInit"
)
_FILTER = f"""
import re, sys
for line in sys.stdin.buffer:
    if not re.match(rb"{_CHATTER}", line):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
"""


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Filters everything that is written to file descriptor 2."""
    sys.stderr.flush()
    command = [sys.executable, "-S", "-E", "-c", _FILTER]
    try:
        # A new session keeps Ctrl-C away from the filter.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    except OSError:  # no further process is allowed; the messages do no harm
        yield
        return
    with process as chatter_filter:
        standard_error = os.dup(2)
        assert chatter_filter.stdin is not None
        os.dup2(chatter_filter.stdin.fileno(), 2)
        chatter_filter.stdin.close()
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)


def program(main: Callable[[list[str] | None], int | None]) -> Callable[..., int]:
    """Decorates a `main(argv=None)`: expected failures become one sentence and an exit code.

    The decorated function returns the exit code, also for `--help` and for wrong flags. It sends
    LOG to standard error, and makes standard output line-buffered and escape characters that the
    terminal cannot show.
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        if signal.getsignal(signal.SIGINT) is _interrupted_early:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if threading.current_thread() is threading.main_thread():
            _repair_what_is_inherited()
        _show_log()
        threading.excepthook = _thread_failed
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(line_buffering=True, errors="backslashreplace")
        try:
            return main(argv) or 0
        except SystemExit as error:  # from argparse, after --help
            return int(error.code or 0)
        except BaseException as error:
            if os.environ.get(DEBUG) and not isinstance(error, KeyboardInterrupt):
                raise
            sentence, exit_code = _explained(error)
            if sentence is None:
                raise
            with contextlib.suppress(OSError):  # standard error may be full or closed
                print(printable(f"error: {sentence}"), file=sys.stderr)
            return exit_code

    return run


def _explained(error: BaseException) -> tuple[str | None, int]:
    """Returns (message, exit code) for an expected failure, (None, 1) for any other error."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, UsageError):
        return str(error), 2
    if isinstance(error, TrainingError):
        return str(error), 1
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return (
            "the reader of the output has closed it, so the program ended; a training resumes when "
            "it is started again"
        ), 1
    if raised := _RAISED_IN_PIPELINE.search(str(error)):
        return raised[1], 2
    if isinstance(error, PermissionError) and not is_failed_write(error):
        return (
            f"'{error.filename}' cannot be read: {reason(error)}; change its permissions or name "
            "another file"
        ), 2
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"'{error.filename}' cannot be a folder: {reason(error)}; move it or name another", 2
    if is_failed_write(error):
        name = getattr(error, "filename", None)
        where = f"'{name}' could not be written" if name else "a file could not be written"
        is_forbidden = isinstance(error, PermissionError) or "Permission denied" in reason(error)
        remedy = "change its permissions" if is_forbidden else "free some space"
        return (
            f"{where}: {reason(error)}; {remedy} or name another folder, and start again; what was "
            "saved before is intact"
        ), 1
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        remedy = "free some, or use a smaller batch, net or file"
        return f"there is not enough memory ({reason(error)}); {remedy}", 1
    return None, 1


# A UsageError raised in a function of an input pipeline, as TensorFlow's error quotes it.
_RAISED_IN_PIPELINE = re.compile(
    rf"^{UsageError.__module__}\.{UsageError.__qualname__}: (.*)$", re.M
)

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # only writing fails so
_WRITE_FAILURES = (*FULL_DISK, errno.EACCES, errno.EPERM)


def is_failed_write(error: BaseException) -> bool:
    """Returns whether Python or TensorFlow's file system failed to write a file.

    An error that a graph's op raises does not count; TensorFlow stores the op in it. Errors from
    TensorFlow's event file writer do, whatever their kind.
    """
    if isinstance(error, PermissionError) and error.filename:
        # If the file exists but is unreadable, or its folder is not accessible, reading failed.
        path = error.filename
        folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
        is_there = os.path.lexists(path)
        return os.access(path, os.R_OK) if is_there else os.access(folder, os.X_OK)
    if isinstance(error, OSError):
        return error.errno in _WRITE_FAILURES
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").endswith(".event_file_writer"):
            return True
    is_of_file_system = hasattr(error, "error_code") and getattr(error, "op", None) is None
    kinds = ("ResourceExhaustedError", "PermissionDeniedError")
    return is_of_file_system and type(error).__name__ in kinds


def reason(error: BaseException) -> str:
    """Returns one line that says what went wrong, for a Python or TensorFlow exception.

    A TensorFlow op's error starts with "Graph execution error:" and a trace of where the op was
    created; the reason follows the line that names the node.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(getattr(error, "message", None) or error).strip()
    # On a cluster, the name of the failed task comes first.
    if node := re.search(r"^Node: .*\n(?:From /job:.*\n)?(.+)", text, re.M):
        text = node[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def one_line(text: str) -> str:
    """Returns a user's text with everything unprintable escaped, so that it fits on one line.

    Control characters and undecodable bytes become escapes, as in Python's string literals.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def printable(text: str) -> str:
    """Returns the text with `one_line` applied to each line; it cannot control the terminal."""
    return "\n".join(map(one_line, text.split("\n")))


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that Python could not decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _show_log() -> None:
    """Sends LOG to standard error and hides TensorFlow's deprecation warnings."""
    if not LOG.handlers:
        logging.getLogger("tensorflow").addFilter(
            lambda record: "is deprecated and will be removed" not in record.getMessage()
        )
        LOG.addHandler(_StandardError())


class _StandardError(logging.Handler):
    """Prints to the current sys.stderr, not to the one at the time the handler was created."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # standard error may be full or closed
            print(printable(f"{record.levelname}: {record.getMessage()}"), file=sys.stderr)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Prints a thread's traceback, except for a failed write, which the main thread reports."""
    if failure.exc_value is None or not is_failed_write(failure.exc_value):
        threading.__excepthook__(failure)
