"""TensorBoard reads the event files of a finished run."""

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import pytest

from mnist_mechanics import fully_connected_feed
from tutorial_support import event_files


@contextlib.contextmanager
def tensorboard(folder):
    """Starts TensorBoard on a free loopback port; yields a function that requests a path."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
        + ["--host", "127.0.0.1", "--port", "0", "--load_fast", "false"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            pytest.fail("TensorBoard ended without naming its address")
        threading.Thread(target=process.stderr.read, daemon=True).start()

        def get(path, **query):
            url = f"{found[0]}data/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=20) as response:
                return response.read().decode()

        yield get
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.slow
def test_tensorboard_shows_scalars_graph_and_trace(tmp_path):
    flags = ["--sample", "--max_steps", "201", "--summaries", "full", "--trace", "5"]
    assert fully_connected_feed.main([*flags, "--log_dir", "logs/run"]) == 0
    with tensorboard(tmp_path / "logs") as get:
        deadline = time.monotonic() + 60
        while "run" not in json.loads(get("plugin/scalars/tags")):
            assert time.monotonic() < deadline, "TensorBoard loaded no scalars"
            time.sleep(0.3)
        steps, values = event_files.scalars("logs/run")["loss"]
        points = json.loads(get("plugin/scalars/scalars", run="run", tag="loss"))
        assert [point[1] for point in points] == steps == [0, 100, 200]
        assert [point[2] for point in points] == pytest.approx(values)

        graph = get("plugin/graphs/graph", run="run")
        for name in ("hidden1/weights", "softmax_linear/MatMul", "xentropy_mean"):
            assert f'name: "{name}"' in graph

        trace = get("plugin/graphs/run_metadata", run="run", tag="step5")
        assert re.search(r'node_name: ".*hidden1/MatMul', trace)
        assert "all_end_rel_micros" in trace

        assert "variables/hidden1/weights" in get("plugin/histograms/tags")
