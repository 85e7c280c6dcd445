"""Ends the tasks of a launcher, even if the launcher itself is killed.

    python guard.py 30 < pipe

The launcher writes the process id of each task into the pipe, and the negative id when the task has
ended. When the pipe is closed, which the system does for a killed launcher, the guard ends the
remaining tasks and everything that they have started.
"""

import contextlib
import os
import signal
import sys
import time


def main(grace: float) -> None:
    """Reads process ids until the pipe is closed, then ends these processes.

    Args:
        grace: seconds between SIGTERM and SIGKILL.
    """
    groups: set[int] = set()  # each task leads its own process group
    for line in sys.stdin:
        group = int(line)
        if group > 0:
            groups.add(group)
        else:
            groups.discard(-group)
    for group in groups:
        _send(signal.SIGTERM, group)
        _send(signal.SIGCONT, group)  # a stopped task would not handle SIGTERM
    due = time.monotonic() + grace
    while any(_send(0, group) for group in groups) and time.monotonic() < due:
        time.sleep(0.1)
    for group in groups:
        _send(signal.SIGKILL, group)


def _send(number: int, group: int) -> bool:
    """Sends a signal (0 only checks); returns whether the process group exists."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main(float(sys.argv[1]))
