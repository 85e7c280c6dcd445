"""Ends this process if TensorFlow waits too long for a frozen task.

A call to a killed task fails. But a frozen task, stopped by SIGSTOP or on a machine that hangs,
keeps its connections open, so a call to it may never return, whatever the session's time-out.
While the main thread waits in such a call, Python cannot run signal handlers. So a second thread
watches the time and reads signals from a socket that Python's signal module writes to.
"""

import contextlib
import faulthandler
import math
import os
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

from tutorial_support import programs

STOP_SECS = 25.0  # longest time from a signal to the end; Kubernetes sends SIGKILL after 30
_EXIT_SECS = 3.0
_SLACK = 5.0  # seconds more for TensorFlow's own time-outs, whose errors say more


class Watchdog:
    """Ends the process if a wait, or stopping after a signal, takes too long.

    Outside of the main thread, which alone receives signals, it does nothing.
    """

    def __init__(self, wait_secs: float = math.inf, message: str = "") -> None:
        """Takes the longest wait without `progress`, and the error message after it."""
        self._wait_secs, self._message = wait_secs + _SLACK, message
        self._wait_due = self._stop_due = math.inf
        self._signal = 0
        self._written: socket.socket | None = None

    def __enter__(self) -> "Watchdog":
        if threading.current_thread() is threading.main_thread():
            read, self._written = socket.socketpair()
            self._written.setblocking(False)
            self._previous = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(read,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.rest()
        if self._written is not None:
            signal.set_wakeup_fd(self._previous)
            self._written.close()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Limits the time that the block may wait for other tasks.

        After an exception, the rest of the time remains for closing the session.
        """
        self.progress()
        yield
        self.rest()

    def closing(self) -> None:
        """Limits the time for closing the session, unless a failed wait has already done so."""
        if self._wait_due == math.inf:
            self.progress()

    def progress(self) -> None:
        """Starts or restarts the time limit of a wait."""
        self._wait_due = time.monotonic() + self._wait_secs

    def rest(self) -> None:
        """Ends the time limit: nothing is being waited for."""
        self._wait_due = math.inf

    def _watch(self, read: socket.socket) -> None:
        read.settimeout(0.5)
        while True:
            with contextlib.suppress(TimeoutError):
                numbers = read.recv(64)
                if not numbers:  # closed
                    return
                for number in set(numbers) & set(programs.STOP_SIGNALS):
                    self._signal = number
                    self._stop_due = min(self._stop_due, time.monotonic() + STOP_SECS)
            if time.monotonic() > self._stop_due:
                _end(f"did not stop within {STOP_SECS:g} s after a signal", 128 + self._signal)
            if time.monotonic() > self._wait_due:
                _end(self._message, 1)


def _end(message: str, exit_code: int) -> None:
    limit_exit()
    os.write(2, f"error: {message}\n".encode())
    os._exit(exit_code)


def limit_exit() -> None:
    """Ends this process with exit code 1 if it has not ended by itself within _EXIT_SECS.

    Another thread may hold Python's global lock while it waits in TensorFlow for a frozen task, so
    that no Python code can run any more. faulthandler's timer does not need the lock.
    """
    nowhere = pathlib.Path(os.devnull).open("w")  # noqa: SIM115, the timer keeps it
    faulthandler.dump_traceback_later(_EXIT_SECS, exit=True, file=nowhere)
