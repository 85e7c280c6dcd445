"""One training on several processes: who is in the cluster, and which of them this process is.

The variable TF_CONFIG says both, as Kubeflow's TFJob and others set it:

    {"cluster": {"ps": ["host:port"], "chief": ["host:port"], "worker": ["host:port", ...]},
     "task": {"type": "worker", "index": 0}}

Variables live on the ps tasks (parameter servers); chief and workers compute; the chief also saves.
Without a chief, worker 0 is it. An evaluator stands outside and watches the checkpoints.
"""

import dataclasses
import json
import os
import socket
import time

import tensorflow.compat.v1 as tf

from tutorial_support import feature_store, runs
from tutorial_support.programs import UsageError

VARIABLE = "TF_CONFIG"
PS, CHIEF, WORKER, EVALUATOR = JOBS = ("ps", "chief", "worker", "evaluator")
LINGER = 20.0  # seconds; Kubernetes gives 30 from SIGTERM to SIGKILL


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The tasks of a cluster, and this process's place among them.

    Attributes:
        addresses: dict from a job to its tasks' addresses, a list of "host:port"; no evaluators.
        job: one of JOBS.
        index: int, the task's number in its job.
    """

    addresses: dict
    job: str
    index: int

    @property
    def is_chief(self):
        """Whether this task saves."""
        return self.job == CHIEF or (
            CHIEF not in self.addresses and (self.job, self.index) == (WORKER, 0)
        )

    @property
    def num_workers(self):
        """How many tasks compute, the chief included."""
        return sum(len(self.addresses.get(job, [])) for job in (CHIEF, WORKER))

    @property
    def worker_number(self):
        """The number of this task among those that compute, in 0 .. num_workers - 1."""
        return self.index + (self.job == WORKER) * len(self.addresses.get(CHIEF, []))

    @property
    def share(self):
        """The slice of what all computing tasks divide: every num_workers-th, from its own on."""
        return slice(self.worker_number, None, self.num_workers)

    def feature_share(self, wait_secs):
        """Returns the same as a feature_store.Share, with the longest wait for other tasks."""
        return feature_store.Share(self.worker_number, self.num_workers, wait_secs)

    @property
    def device(self):
        """The name of this task's device."""
        return f"/job:{self.job}/task:{self.index}"

    def variables_on_ps(self):
        """Returns the device function that puts variables on the ps tasks, all else here."""
        return tf.train.replica_device_setter(worker_device=self.device, cluster=self.addresses)

    def session_config(self, wait_secs):
        """Returns the ConfigProto of a computing task.

        It sees the ps tasks and itself alone, so that no other worker's death touches it; an
        operation that waits longer than `wait_secs` seconds for others fails.
        """
        config = runs.session_config()
        config.device_filters.extend([f"/job:{PS}", self.device])
        config.operation_timeout_in_ms = int(1000 * wait_secs)
        return config

    def start_server(self):
        """Returns the tf.train.Server of this task.

        Raises:
            UsageError: its port cannot be listened on.
        """
        # Else a call to a task that is gone waits for it without an end, whatever the timeout.
        os.environ.setdefault("GRPC_FAIL_FAST", "true")
        try:
            return tf.train.Server(
                self.addresses, self.job, self.index, config=runs.session_config()
            )
        except tf.errors.OpError as error:
            address = self.addresses[self.job][self.index]
            raise UsageError(
                f"{VARIABLE}: {self.device} cannot listen on {address} "
                f"({error.message.splitlines()[0]}); free the port or name another"
            ) from error

    def wait_for_ps(self, wait_secs):
        """Waits until every ps accepts connections.

        Raises:
            UsageError: one did not within `wait_secs` seconds.
        """
        due = time.monotonic() + wait_secs
        for index, address in enumerate(self.addresses[PS]):
            while not _answers(address):
                if time.monotonic() > due:
                    raise UsageError(
                        f"{VARIABLE}: /job:{PS}/task:{index} at {address} did not answer within "
                        f"{wait_secs:g} s; start it, correct the address, or raise --wait_secs"
                    )
                time.sleep(0.1)


def from_environment(environ=os.environ, needs_ps=True):
    """Returns the Cluster that TF_CONFIG in `environ` tells of.

    Args:
        environ: dict of variables.
        needs_ps: whether there must be a ps.

    Raises:
        UsageError: it is missing, malformed, or contradicts itself.
    """
    text = environ.get(VARIABLE)
    if not text:
        raise UsageError(
            f"this program is one of several and needs the variable {VARIABLE}, "
            '{"cluster": {"ps": ["host:port"], "chief": ["host:port"], "worker": ["host:port"]}, '
            '"task": {"type": "worker", "index": 0}}; python -m tutorial_support.local_cluster '
            "starts all of them on this machine and sets it"
        )
    try:
        config = json.loads(text)
        addresses = {_job(job): list(tasks) for job, tasks in config["cluster"].items()}
        job, index = _job(config["task"]["type"]), int(config["task"].get("index", 0))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{VARIABLE} is malformed ({type(error).__name__}: {error}); it needs a cluster, a "
            "dict from job to addresses, and a task with type and index"
        ) from error
    _check(addresses, job, index, needs_ps)
    addresses.pop(EVALUATOR, None)
    return Cluster(addresses, job, index)


def _job(name):
    return CHIEF if name == "master" else name  # as older versions of TFJob call it


def _check(addresses, job, index, needs_ps):
    unknown = [name for name in (*addresses, job) if name not in JOBS]
    if unknown:
        _refuse(f"has the job '{unknown[0]}'; there are {', '.join(JOBS)}")
    for name, tasks in addresses.items():
        for address in tasks:
            if not _is_address(address):
                _refuse(f"has the address {address!r} of {name}; it must be host:port")
    if needs_ps and not addresses.get(PS):
        _refuse("has no ps, where the variables live; add one")
    if not (addresses.get(CHIEF) or addresses.get(WORKER)):
        _refuse("has neither a chief nor a worker; add one")
    if len(addresses.get(CHIEF, [])) > 1:
        _refuse("has several chiefs; make all but one of them workers")
    everyone = [address for tasks in addresses.values() for address in tasks]
    twice = [address for address in everyone if everyone.count(address) > 1]
    if twice:
        _refuse(f"has the address {twice[0]} twice; give each task its own")
    count = len(addresses.get(job, []))
    if job != EVALUATOR and not 0 <= index < count:
        _refuse(f"says that this is {job} {index}, but its cluster has {count} {job} tasks")


def _refuse(reason):
    raise UsageError(f"{VARIABLE} {reason}")


def _is_address(address):
    host, _, port = str(address).rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def _answers(address):
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except OSError:
        return False


def serve_variables(cluster):
    """Serves as a ps until a signal comes, and the computing tasks, which save, have ended.

    Args:
        cluster: Cluster.

    Returns:
        the exit code.
    """
    server = cluster.start_server()
    print(f"Serving variables at {server.target}.")
    with runs.StopSignals() as stop:
        while not stop.requested:
            time.sleep(0.1)
        due = time.monotonic() + LINGER
        computing = [a for job in (CHIEF, WORKER) for a in cluster.addresses.get(job, [])]
        while any(_answers(address) for address in computing) and time.monotonic() < due:
            time.sleep(0.1)
    return stop.exit_code
