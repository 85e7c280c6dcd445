"""The members of a training cluster, and which of them this process is.

Both come from the environment variable TF_CONFIG, as Kubeflow's TFJob and others set it:

    {"cluster": {"ps": ["host:port"], "chief": ["host:port"], "worker": ["host:port", ...]},
     "task": {"type": "worker", "index": 0}}

Variables are stored on the ps tasks (parameter servers). The chief and the workers compute, and the
chief also saves. Without a chief, worker 0 is the chief. An evaluator is not part of the cluster:
it only watches the run folder.
"""

import dataclasses
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import tensorflow.compat.v1 as tf

from tutorial_support import runs
from tutorial_support.cluster import CHIEF, EVALUATOR, JOBS, PS, VARIABLE, WORKER
from tutorial_support.programs import StopSignals, UsageError, one_line, reason

LINGER = 20.0  # seconds that a ps keeps serving after SIGTERM, so that the chief can save


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The tasks of a cluster, and this process's task.

    Attributes:
        addresses: the addresses ("host:port") of each job's tasks, without evaluators.
        job: this task's job, one of JOBS.
        index: this task's index in its job.
    """

    addresses: dict[str, list[str]]
    job: str
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this task is the chief, which saves checkpoints."""
        return self.job == CHIEF or (
            CHIEF not in self.addresses and (self.job, self.index) == (WORKER, 0)
        )

    @property
    def computing(self) -> list[str]:
        """The addresses of the computing tasks (chief and workers), the chief first."""
        return [address for job in (CHIEF, WORKER) for address in self.addresses.get(job, [])]

    @property
    def num_workers(self) -> int:
        """The number of computing tasks, including the chief."""
        return len(self.computing)

    @property
    def worker_number(self) -> int:
        """The index of this task among the computing tasks, in 0 .. num_workers - 1."""
        return self.index + (self.job == WORKER) * len(self.addresses.get(CHIEF, []))

    @property
    def share(self) -> slice:
        """Gives a task every num_workers-th element of a sequence, from worker_number on."""
        return slice(self.worker_number, None, self.num_workers)

    @property
    def device(self) -> str:
        """The name of this task's device."""
        return f"/job:{self.job}/task:{self.index}"

    def variables_on_ps(self) -> Callable:
        """Returns a device function that places variables on the ps and all other ops here."""
        return tf.train.replica_device_setter(worker_device=self.device, cluster=self.addresses)

    def session_config(self, wait_secs: float) -> tf.ConfigProto:
        """Returns the session configuration of a computing task.

        The task sees only the ps tasks and itself, so it is not affected if another worker dies.
        An op that waits for other tasks longer than `wait_secs` seconds fails.
        """
        config = runs.session_config()
        config.device_filters.extend([f"/job:{PS}", self.device])
        config.operation_timeout_in_ms = int(1000 * wait_secs)
        return config

    def start_server(self) -> tf.train.Server:
        """Starts the server of this task, which listens on every network interface.

        Raises:
            UsageError: its port is in use.
        """
        # Otherwise a call to a task that has ended waits for it, whatever the session's time-out.
        os.environ.setdefault("GRPC_FAIL_FAST", "true")
        # gRPC would call the other tasks through the proxy of http_proxy, which rarely finds them.
        # Users who want a proxy between the tasks name it in grpc_proxy.
        if "grpc_proxy" not in os.environ:
            tasks = itertools.chain.from_iterable(self.addresses.values())
            hosts = ",".join(_host_and_port(address)[0] for address in tasks)
            os.environ["no_grpc_proxy"] = hosts  # noqa: SIM112  (gRPC's name)
        config = runs.session_config()
        try:
            return tf.train.Server(self.addresses, self.job, self.index, config=config)
        except tf.errors.OpError as error:
            address = self.addresses[self.job][self.index]
            raise UsageError(
                f"{VARIABLE}: {self.device} cannot listen on {address} ({reason(error)}); free "
                "the port or name another one"
            ) from error

    def wait_for_ps(self, wait_secs: float) -> None:
        """Waits until every ps accepts connections.

        Raises:
            UsageError: a ps does not within `wait_secs` seconds.
        """
        due = time.monotonic() + wait_secs
        for index, address in enumerate(self.addresses[PS]):
            while not _accepts(address):
                if time.monotonic() > due:
                    raise UsageError(
                        f"{VARIABLE}: /job:{PS}/task:{index} at {address} did not answer within "
                        f"{wait_secs:g} s; start it, correct the address, or raise --wait_secs"
                    )
                time.sleep(0.1)


def from_environment(environ: Mapping[str, str] = os.environ, needs_ps: bool = True) -> Cluster:
    """Returns the cluster that TF_CONFIG in `environ` describes.

    Args:
        environ: the environment variables.
        needs_ps: whether the cluster must have a ps.

    Raises:
        UsageError: TF_CONFIG is missing, malformed, or contradicts itself.
    """
    text = environ.get(VARIABLE)
    if not text:
        raise UsageError(
            f"this program is a task of a cluster and needs the environment variable {VARIABLE}, "
            'such as {"cluster": {"ps": ["host:port"], "chief": ["host:port"], "worker": '
            '["host:port"]}, "task": {"type": "worker", "index": 0}}; python -m '
            "tutorial_support.local_cluster sets it and starts all tasks on this machine"
        )
    try:
        config = json.loads(text)
        addresses = {_job(job): tasks for job, tasks in config["cluster"].items()}
        job = _job(config["task"]["type"])
        index = int(str(config["task"].get("index", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{VARIABLE} is malformed ({type(error).__name__}: {one_line(str(error))}); it needs "
            "a cluster, which maps each job to a list of addresses, and a task with type and index"
        ) from error
    _check(addresses, job, index, needs_ps)
    members = {name: tasks for name, tasks in addresses.items() if tasks and name != EVALUATOR}
    return Cluster(members, job, index)


def _job(name: str) -> str:
    return CHIEF if name == "master" else name  # the chief's name in older versions of TFJob


def _check(addresses: dict[str, Any], job: Any, index: int, needs_ps: bool) -> None:
    for name in (*addresses, job):
        if name not in JOBS:
            _refuse(f"has the unknown job {name!r}; use {', '.join(JOBS)}")
    for name, tasks in addresses.items():
        if not isinstance(tasks, list):
            _refuse(f"has {tasks!r} for {name}; it must be a list of addresses")
        for address in tasks:
            if not _is_address(address):
                _refuse(f"has the address {address!r} of {name}; it must be host:port")
    if needs_ps and not addresses.get(PS):
        _refuse("has no ps, which the variables need; add one")
    if not (addresses.get(CHIEF) or addresses.get(WORKER)):
        _refuse("has neither a chief nor a worker; add one")
    if len(addresses.get(CHIEF, [])) > 1:
        _refuse("has several chiefs; make all but one of them workers")
    everyone = [address for tasks in addresses.values() for address in tasks]
    if twice := [address for address in everyone if everyone.count(address) > 1]:
        _refuse(f"has the address {twice[0]} twice; give each task its own")
    count = len(addresses.get(job, []))
    if job != EVALUATOR and not 0 <= index < count:
        _refuse(
            f"says that this is {job} {index}, but its cluster has {count} {job} tasks; correct it"
        )


def _refuse(why: str) -> NoReturn:
    raise UsageError(f"{VARIABLE} {why}")


def _is_address(address: Any) -> bool:
    if not isinstance(address, str):
        return False
    host, _, port = address.rpartition(":")
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5
    return bool(host) and host.isprintable() and is_number and 0 < int(port) < 65536


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)  # an IPv6 address has brackets


def _accepts(address: str) -> bool:
    """Returns whether a server accepts connections at an address."""
    try:
        with socket.create_connection(_host_and_port(address), timeout=1.0):
            return True
    except (OSError, UnicodeError):  # UnicodeError for an invalid host name
        return False


def serve_variables(cluster: Cluster) -> int:
    """Serves variables until a signal comes and the computing tasks have saved and ended.

    It waits at most LINGER seconds for them, and returns the exit code.
    """
    server = cluster.start_server()
    print(f"Serving variables at {server.target}.")
    with StopSignals() as stop:
        while not stop.requested:
            time.sleep(0.1)
        due = time.monotonic() + LINGER
        while any(map(_accepts, cluster.computing)) and time.monotonic() < due:
            time.sleep(0.1)
    return stop.exit_code
