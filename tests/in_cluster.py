"""A cluster whose tasks are threads of this process: as fast to start as a function."""

import concurrent.futures
import json

from tutorial_support.cluster import clusters, launcher


def train(run_worker, parse, num_workers=2):
    """Runs a ps and the tasks that compute; returns their exit codes.

    Args:
        run_worker: function from flags and a clusters.Cluster to an exit code.
        parse: function without arguments that returns flags.
        num_workers: int, the chief included.
    """
    tasks = [
        clusters.from_environment({clusters.VARIABLE: json.dumps(config)})
        for config in launcher.plan(1, num_workers).values()
    ]
    ps = [task.start_server() for task in tasks if task.job == clusters.PS]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        computing = [task for task in tasks if task.job != clusters.PS]
        futures = [threads.submit(run_worker, parse(), task) for task in computing]
        codes = [future.result(timeout=120) for future in futures]
    del ps
    return codes
