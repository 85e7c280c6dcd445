"""What every command-line program has in common: flags, error messages, exit codes.

Exit codes: 0 done; 1 training or writing failed; 2 wrong use or unusable data; 130 and 143
after SIGINT and SIGTERM.
"""

import argparse
import functools
import logging
import math
import os
import re
import sys
import threading


class UsageError(Exception):
    """Wrong use or unusable data. The message names the file or flag and the remedy."""


class TrainingError(Exception):
    """Training cannot go on, for example because the loss is NaN."""


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser that shows every default in --help and reports errors in one line."""

    def __init__(self, description):
        super().__init__(
            description=description, formatter_class=_HelpFormatter, allow_abbrev=False
        )

    def error(self, message):
        """Raises UsageError in place of printing the usage and exiting."""
        raise UsageError(f"{message} (--help lists the flags)")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Adds the defaults, keeps the description's own lines."""


def number(kind, low=-math.inf, high=math.inf):
    """Returns an argparse type: a finite `kind` (int or float) with low <= value <= high."""
    bounds = [f"from {low}"] * (low != -math.inf) + [f"up to {high}"] * (high != math.inf)
    wanted = " ".join(["a whole number" if kind is int else "a finite number", *bounds])

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high):
            raise argparse.ArgumentTypeError(f"expected {wanted}, not {text!r}")
        return value

    return parse


def program(main):
    """Decorates a `main(argv=None)`: expected failures become one sentence and an exit code.

    The decorated function returns the exit code, also for `--help` and for wrong flags.
    """

    @functools.wraps(main)
    def run(argv=None):
        _show_log()
        threading.excepthook = _thread_failed
        if hasattr(sys.stdout, "reconfigure"):
            # `... | tee log` shows lines as they come, and a file's name may be no proper text.
            sys.stdout.reconfigure(line_buffering=True, errors="surrogateescape")
        try:
            return main(argv) or 0
        except SystemExit as error:  # argparse, after --help
            return error.code or 0
        except KeyboardInterrupt:
            return _report("interrupted", 130)
        except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except UsageError as error:
            return _report(error, 2)
        except TrainingError as error:
            return _report(error, 1)
        except Exception as error:
            unusable = _UNUSABLE_DATA.search(str(error))
            if unusable:
                return _report(unusable[1], 2)
            sentence = _failed_write(error)
            if sentence is None:
                raise
            return _report(sentence, 1)

    return run


LOG = logging.getLogger("graph_tutorials")


def _show_log():
    """Sends LOG to standard error, and keeps TensorFlow's notes on deprecation off it."""
    if not LOG.handlers:
        logging.getLogger("tensorflow").addFilter(
            lambda record: "is deprecated and will be removed" not in record.getMessage()
        )
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        LOG.addHandler(handler)


def _thread_failed(failure):
    """Prints a thread's traceback, but for a failed write, which the main thread reports."""
    if _failed_write(failure.exc_value) is None:
        threading.__excepthook__(failure)


def _report(sentence, exit_code):
    print(f"error: {sentence}", file=sys.stderr)
    return exit_code


# A UsageError that a function of an input pipeline raised, as TensorFlow's error quotes it.
_UNUSABLE_DATA = re.compile(rf"^{UsageError.__module__}\.{UsageError.__qualname__}: (.*)$", re.M)

# What the operating system says, in Python's exceptions and inside TensorFlow's messages alike.
_WRITE_FAILURES = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Permission denied",
    "Read-only file system",
)


def _failed_write(error):
    """Returns a sentence on a failed write, or None where `error` is something else."""
    text = str(error)
    for failure in _WRITE_FAILURES:
        if failure in text:
            name = getattr(error, "filename", None)
            where = f"'{name}' could not be written" if name else "a file could not be written"
            return (
                f"{where}: {failure}; make room or name another folder, and start again: "
                "what was saved before is whole"
            )
    return None
