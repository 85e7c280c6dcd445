"""Importing has no side effects, and works without the calls that only Linux has.

Each test imports every module in a separate process, after the libraries that they import, because
the side effects of libraries do not count.
"""

import subprocess
import sys

import pytest

IMPORT_ALL = """
import importlib, pkgutil

def import_all():
    packages = "mnist_mechanics cifar10_cnn flowers_transfer catsdogs_finetune porting exercises"
    names = f"{packages} tutorial_support".split()
    for name in names:
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}."):
            if module.name == "porting.recipes":
                continue  # programs to read, half of them of TensorFlow 1
            if module.ispkg:
                names.append(module.name)  # which the loop comes to
            elif not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    assert len(names) > 8

import logging, os, random, signal, sys, threading, warnings
import h5py, matplotlib.pyplot, numpy, PIL.Image, PIL.ImageFile, tqdm, filelock, sqlite3
import keras, tensorflow, tensorflow.compat.v1 as tf, tensorboard.compat.proto.summary_pb2
import tensorflow.python.tools.optimize_for_inference_lib
"""

CHANGES_NOTHING = """
def loggers():
    every = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    return {log.name: (log.level, log.disabled, log.handlers[:], log.filters[:]) for log in every}

def state():
    from tensorflow.python.eager import context
    return {
        "variables": dict(os.environ),
        "streams": (sys.stdin, sys.stdout, sys.stderr, len(os.listdir("/dev/fd"))),
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "warnings": warnings.filters[:],
        "paths": (os.getcwd(), sys.path[:], os.listdir()),
        "limits": (sys.getrecursionlimit(), threading.active_count()),
        "matplotlib": {k: dict.__getitem__(matplotlib.rcParams, k) for k in matplotlib.rcParams},
        "random": (random.getstate(), str(numpy.random.get_state())),
        "numpy": (numpy.geterr(), numpy.get_printoptions()),
        "pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        "modes": (
            tf.executing_eagerly(),
            tf.resource_variables_enabled(),
            tf.control_flow_v2_enabled(),
            tf.executing_eagerly_outside_functions(),
            type(tf.placeholder_with_default(0, ()).shape),
        ),
        "threads": (
            tensorflow.config.threading.get_intra_op_parallelism_threads(),
            tensorflow.config.threading.get_inter_op_parallelism_threads(),
        ),
        "seed": context.global_seed(),
        "keras": (keras.config.floatx(), keras.config.image_data_format(), keras.backend.backend()),
    }

logging_before, before = loggers(), state()
import_all()
after, logging_after = state(), loggers()
for name in before:
    assert before[name] == after[name], (name, before[name], after[name])
for name in logging_before:
    assert logging_before[name] == logging_after[name], (name, logging_after[name])
assert not any(tf.get_default_graph().get_operations())
"""

WITHOUT_LINUX = """
for name in "SIGHUP SIGKILL SIGSTOP SIGCONT SIGUSR1 SIGALRM SIGPIPE pthread_sigmask".split():
    delattr(signal, name)
for name in (
    "fork forkpty getuid geteuid getgid setuid killpg getpgid setsid umask mkfifo mknod pread "
    "preadv sched_getaffinity sched_setaffinity sysconf "
    "O_NOFOLLOW O_DIRECTORY O_CLOEXEC statvfs"
).split():
    delattr(os, name)
for name in "fcntl resource pwd grp termios pty syslog".split():
    sys.modules[name] = None  # importing it fails
import_all()
from mnist_mechanics import evaluate, fully_connected_feed
assert fully_connected_feed.main(["--sample", "--max_steps", "20", "--log_dir", "run"]) == 0
assert evaluate.main(["--checkpoint", "run"]) == 0
"""


def run(code, environment, folder):
    command = [sys.executable, "-c", IMPORT_ALL + code]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_changes_nothing(program_environment, tmp_path):
    program_environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    program_environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    run(CHANGES_NOTHING, program_environment, tmp_path)


@pytest.mark.slow
def test_what_only_linux_has_is_not_needed(program_environment, tmp_path):
    """Simulates Windows as far as possible."""
    run(WITHOUT_LINUX, program_environment, tmp_path)
