"""What has to be settled before TensorFlow is first imported: its defaults, and a quiet start."""

import contextlib
import os
import re
import sys
import tempfile

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

DEFAULTS = {
    # Only fatal messages of the C++ runtime; an error that matters also arrives as an exception.
    LOG_LEVEL: "3",
    # On processors where TensorFlow leaves oneDNN off, it makes convolutions 1.5 to 1.8 times
    # faster. On the others it is on already.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}

# What newer versions of TensorFlow write while they are loaded, whatever the log level.
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|I\d{4} \d\d:\d\d:"
    rb"|E\d{4} .* Unable to register cu\w+ factory"
)


def prepare():
    """Sets the defaults and imports TensorFlow without its informational messages.

    A log level that the user has set stays, and then nothing is hidden.
    """
    chosen_by_user = LOG_LEVEL in os.environ
    set_defaults()
    with contextlib.nullcontext() if chosen_by_user else _without_chatter():
        import tensorflow  # noqa: F401


def set_defaults(environ=os.environ):
    """Sets each of DEFAULTS that `environ` does not hold yet: the user's own values stay."""
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)


@contextlib.contextmanager
def _without_chatter():
    """Holds back what is written to standard error's file descriptor, and passes on the rest."""
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _CHATTER.match(line)))
