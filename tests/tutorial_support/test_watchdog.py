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


def test_a_task_that_skips_pythons_exit_removes_its_temporary_folders(
    tmp_path, program_environment
):
    code = """
from tutorial_support import files
from tutorial_support.cluster import replicas
print(files.folder_until_exit("data").is_dir())
replicas.end(3)
"""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = program_environment | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (3, "True\n"), ended.stderr
    assert not list(temporary.iterdir())
