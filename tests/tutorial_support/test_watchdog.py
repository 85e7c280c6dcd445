"""The end of a cluster task whose threads are stuck."""

import subprocess
import sys

from tests.conftest import REPOSITORY

STUCK = """
import ctypes, threading
from tutorial_support.cluster import watchdog
watchdog._EXIT_SECS = 0.5
watchdog.limit_exit()
sleep = ctypes.PyDLL(None).sleep  # PyDLL keeps Python's global lock during the call
threading.Thread(target=sleep, args=(60,)).start()
"""


def test_a_process_ends_even_if_a_thread_keeps_the_global_lock():
    done = subprocess.run([sys.executable, "-c", STUCK], cwd=REPOSITORY, timeout=30, check=False)
    assert done.returncode == 1
