"""Reading TF_CONFIG, and refusing bad values."""

import json
import socket

import pytest

from tutorial_support.cluster import clusters
from tutorial_support.programs import UsageError

PS, CHIEF, WORKERS = ["h:1"], ["h:2"], ["h:3", "[::1]:4"]


def config(job="worker", index=1, **cluster):
    cluster = cluster or {"ps": PS, "chief": CHIEF, "worker": WORKERS}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}


def test_places_of_the_tasks():
    cluster = clusters.from_environment(config())
    assert (cluster.worker_number, cluster.num_workers, cluster.is_chief) == (2, 3, False)
    assert cluster.device == "/job:worker/task:1"
    chief = clusters.from_environment(config("master", 0, ps=PS, master=CHIEF, worker=WORKERS))
    assert chief.is_chief and chief.worker_number == 0 and chief.addresses["chief"] == CHIEF
    first = clusters.from_environment(config("worker", 0, ps=PS, worker=WORKERS))
    assert first.is_chief and (first.worker_number, first.num_workers) == (0, 2)
    evaluator = clusters.from_environment(config("evaluator", 0))
    assert evaluator.job == "evaluator" and not evaluator.is_chief
    empty = clusters.from_environment(config("worker", 0, ps=PS, chief=[], worker=WORKERS))
    assert empty.is_chief and empty.num_workers == 2
    assert list(range(9)[cluster.share]) == [2, 5, 8]
    filters = list(cluster.session_config(2.5).device_filters)
    assert filters == ["/job:ps", "/job:worker/task:1"]
    assert cluster.session_config(2.5).operation_timeout_in_ms == 2500


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "needs the environment variable TF_CONFIG.*local_cluster"),
        ({"TF_CONFIG": "{"}, "malformed .JSONDecodeError"),
        ({"TF_CONFIG": "[]"}, "malformed .TypeError"),
        ({"TF_CONFIG": "[" * 100_000}, "malformed .RecursionError"),
        ({"TF_CONFIG": '{"cluster": {}}'}, "malformed .KeyError: 'task'"),
        (config("worker", float("inf")), "malformed .ValueError.*'inf'"),
        (config("worker", 1.5), "malformed .ValueError"),
        (config("worker", 0, ps="h:1", worker=WORKERS), "has 'h:1' for ps; it must be a list"),
        (config("worker", 0, ps=[1], worker=WORKERS), "the address 1 of ps; it must be host:port"),
        (config("worker", 0, ps=PS, worker=["h:²"]), "the address 'h:²' of worker"),
        (config(["worker"], 0), r"has the unknown job \['worker'\]"),
        (
            config("worker", 0, ps=PS, worker=["h"]),
            "the address 'h' of worker; it must be host:port",
        ),
        (config("worker", 0, ps=PS, worker=["h:70000"]), "it must be host:port"),
        (config("worker", 0, worker=WORKERS), "has no ps"),
        (config("ps", 0, ps=PS), "neither a chief nor a worker"),
        (config("chief", 0, ps=PS, chief=["h:2", "h:3"]), "several chiefs"),
        (config("worker", 0, ps=PS, worker=["h:1"]), "has the address h:1 twice"),
        (config("worker", 2), "this is worker 2, but its cluster has 2 worker tasks"),
        (config("gpu", 0), "has the unknown job 'gpu'"),
    ],
)
def test_what_cannot_be_is_one_sentence(environ, said):
    with pytest.raises(UsageError, match=said):
        clusters.from_environment(environ)


def test_a_ps_that_does_not_answer_and_a_port_in_use_are_named():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        cluster = clusters.from_environment(config("ps", 0, ps=[address], chief=CHIEF))
        with pytest.raises(
            UsageError, match=rf"ps/task:0 at {address} did not answer within 0.2 s"
        ):
            cluster.wait_for_ps(0.2)
        listener.listen()
        cluster.wait_for_ps(0.2)
