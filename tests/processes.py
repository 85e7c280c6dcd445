"""Runs programs as separate processes, and kills them when they have printed something."""

import subprocess
import sys


def start(module, *flags, env, cwd):
    """Starts `python -m module flags` with standard output in a pipe of lines."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        cwd=cwd,
    )


def kill_at(process, line_start, number):
    """Sends signal `number` when a line starts with `line_start`; returns (exit code, output)."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(line_start):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    return process.returncode, "".join(lines) + out + err
