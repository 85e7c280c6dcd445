"""A cluster whose tasks are threads of this process, so that it starts quickly."""

import concurrent.futures
import json

from tutorial_support.cluster import clusters, launcher


def start(num_workers=2):
    """Starts a ps; returns its server and the clusters.Cluster of each computing task."""
    ps, *computing = [
        clusters.from_environment({clusters.VARIABLE: json.dumps(config)})
        for config in launcher.plan(1, num_workers).values()
    ]
    return ps.start_server(), computing


def train(run_worker, parse, num_workers=2):
    """Runs a ps and the computing tasks; returns their exit codes.

    Args:
        run_worker: function from flags and a clusters.Cluster to an exit code.
        parse: function without arguments that returns flags.
        num_workers: number of workers, including the chief.
    """
    ps, computing = start(num_workers)
    futures = run_all(run_worker, [(parse(), task) for task in computing])
    codes = [future.result() for future in futures]
    del ps
    return codes


def run_all(run_worker, arguments):
    """Runs tasks in parallel until they end; returns a concurrent.futures.Future for each."""
    with concurrent.futures.ThreadPoolExecutor() as threads:
        futures = [threads.submit(run_worker, *task) for task in arguments]
        concurrent.futures.wait(futures, timeout=120)
    return futures
