"""Checks the parts of the deployment that need no cluster."""

import gzip
import importlib
import json
import re

import jsonschema
import pytest
import yaml

from tests.conftest import REPOSITORY
from tutorial_support import programs
from tutorial_support.cluster import clusters, replicas, watchdog

DEPLOY = REPOSITORY / "deploy"


@pytest.fixture
def job():
    return yaml.safe_load((DEPLOY / "tfjob.yaml").read_text())


@pytest.fixture
def job_set():
    return yaml.safe_load((DEPLOY / "jobset.yaml").read_text())


def strict(schema):
    """The schema of a Kubernetes resource, changed to refuse unknown fields."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        stricter.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        stricter["type"] = ["integer", "string"]
    return stricter


@pytest.mark.parametrize("kind", ["tfjob", "jobset"])
def test_the_manifest_fits_its_published_schema(kind):
    with gzip.open(REPOSITORY / "tests" / "schemas" / f"{kind}.json.gz") as file:
        validator = jsonschema.Draft7Validator(strict(json.load(file)))
    manifest = yaml.safe_load((DEPLOY / f"{kind}.yaml").read_text())
    assert [error.message for error in validator.iter_errors(manifest)] == []
    (pod, *_) = pods(manifest)
    pod["spec"]["containers"][0]["imagePolicy"] = "Always"  # misspelt: imagePullPolicy
    assert any("imagePolicy" in error.message for error in validator.iter_errors(manifest))


def pods(manifest):
    """The pod templates of a TFJob or a JobSet."""
    if manifest["kind"] == "TFJob":
        return [spec["template"] for spec in manifest["spec"]["tfReplicaSpecs"].values()]
    jobs = manifest["spec"]["replicatedJobs"]
    return [job["template"]["spec"]["template"] for job in jobs]


@pytest.mark.parametrize("kind", ["tfjob", "jobset"])
def test_no_mesh_comes_between_the_tasks_and_they_are_not_root(kind):
    for pod in pods(yaml.safe_load((DEPLOY / f"{kind}.yaml").read_text())):
        assert pod["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_the_tf_config_of_each_pod_of_the_job_set_is_accepted(job_set):
    name, tasks = job_set["metadata"]["name"], []
    subdomain = job_set["spec"]["network"]["subdomain"]
    for job in job_set["spec"]["replicatedJobs"]:
        spec = job["template"]["spec"]
        assert (job["replicas"], spec["completionMode"]) == (1, "Indexed")
        assert spec["completions"] == spec["parallelism"]
        (main,) = spec["template"]["spec"]["containers"]
        index_field, type_field, config = main["env"]
        for variable, field in (
            (type_field, "metadata.labels['jobset.sigs.k8s.io/replicatedjob-name']"),
            (index_field, "metadata.annotations['batch.kubernetes.io/job-completion-index']"),
        ):
            assert variable["valueFrom"]["fieldRef"]["fieldPath"] == field
        for index in range(spec["completions"]):
            values = {type_field["name"]: job["name"], index_field["name"]: str(index)}
            # Like the kubelet: only variables that are defined before this one.
            text = re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], config["value"])  # noqa: B023
            cluster = clusters.from_environment({config["name"]: text})
            assert (cluster.job, cluster.index) == (job["name"], index)
            tasks.append((cluster, f"{name}-{job['name']}-0-{index}.{subdomain}:2222"))
    everyone = tasks[0][0].addresses
    assert sorted(address for found in everyone.values() for address in found) == sorted(
        address for cluster, address in tasks if cluster.job != "evaluator"
    )
    for cluster, address in tasks:
        assert cluster.addresses == everyone
        assert cluster.job == "evaluator" or everyone[cluster.job][cluster.index] == address
    assert sum(cluster.is_chief for cluster, _ in tasks) == 1


def container(spec):
    (found,) = spec["template"]["spec"]["containers"]
    return found


def tf_configs(job):
    """The TF_CONFIG that Kubeflow's operator sets for each task: service names, no evaluators."""
    name, namespace = job["metadata"]["name"], "default"
    specs = {kind.lower(): spec for kind, spec in job["spec"]["tfReplicaSpecs"].items()}
    addresses = {
        kind: [f"{name}-{kind}-{i}.{namespace}.svc:2222" for i in range(spec["replicas"])]
        for kind, spec in specs.items()
        if kind != "evaluator"
    }
    for kind, spec in specs.items():
        for index in range(spec["replicas"]):
            task = {"type": kind, "index": index}
            yield {"cluster": addresses, "task": task, "environment": "cloud"}


def test_the_manifest_has_the_fields_that_the_operator_asks_for(job):
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    specs = job["spec"]["tfReplicaSpecs"]
    assert set(specs) == {"Chief", "Worker", "PS", "Evaluator"}
    assert specs["Chief"]["replicas"] == 1
    for spec in specs.values():
        assert spec["restartPolicy"] == "OnFailure"
        pod, main = spec["template"]["spec"], container(spec)
        assert main["name"] == "tensorflow"
        assert {"name": "tfjob-port", "containerPort": 2222} in main["ports"]
        assert pod["terminationGracePeriodSeconds"] > watchdog.STOP_SECS > clusters.LINGER
        mounted = {mount["name"] for mount in main["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_only_the_tasks_of_the_job_reach_their_port(job, job_set):
    policies = yaml.safe_load_all((DEPLOY / "network.yaml").read_text())
    labels = ("training.kubeflow.org/job-name", "jobset.sigs.k8s.io/jobset-name")
    for policy, manifest, label in zip(policies, (job, job_set), labels, strict=True):
        spec, of_the_job = policy["spec"], {label: manifest["metadata"]["name"]}
        assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
        assert spec["podSelector"] == {"matchLabels": of_the_job}
        assert spec["policyTypes"] == ["Ingress"]
        (rule,) = spec["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": of_the_job}}]
        for pod in pods(manifest):
            (port,) = pod["spec"]["containers"][0]["ports"]
            assert rule["ports"] == [{"port": port["containerPort"]}]


def test_every_claim_is_there_and_can_be_shared(job):
    documents = list(yaml.safe_load_all((DEPLOY / "storage.yaml").read_text()))
    claims = {claim["metadata"]["name"]: claim["spec"] for claim in documents}
    assert all(claim["accessModes"] == ["ReadWriteMany"] for claim in claims.values())
    for spec in job["spec"]["tfReplicaSpecs"].values():
        for volume in spec["template"]["spec"]["volumes"]:
            assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_its_command_line_parses_and_its_tf_config_is_accepted(job):
    spec = job["spec"]["tfReplicaSpecs"]["Chief"]
    module, *arguments = container(spec)["args"]
    program = importlib.import_module(module)
    parser = programs.ArgumentParser("")
    program.train.add_flags(parser)
    replicas.add_flags(parser)
    flags = parser.parse_args(arguments)
    mounts = [mount["mountPath"] for mount in container(spec)["volumeMounts"]]
    assert any(flags.train_dir.startswith(f"{mount}/") for mount in mounts)
    found = [
        clusters.from_environment({clusters.VARIABLE: json.dumps(config)})
        for config in tf_configs(job)
    ]
    jobs = [cluster.job for cluster in found]
    assert sorted(jobs) == ["chief", "evaluator", "ps", "worker", "worker"]
    assert {cluster.num_workers for cluster in found} == {3}
    assert sum(cluster.is_chief for cluster in found) == 1
    assert flags.batch_size % found[0].num_workers == 0


def test_the_image_has_what_is_installed():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.M) for name in line.split()
    ]
    kept = re.findall(r"^!(.*)$", (REPOSITORY / ".dockerignore").read_text(), re.M)
    assert sorted(copied) == sorted(kept)
    tomllib = pytest.importorskip("tomllib", reason="part of Python from 3.11 on")
    given = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {given["package-dir"].get(name, name.replace(".", "/")) for name in given["packages"]}
    assert {folder.partition("/")[0] for folder in folders} <= set(copied)
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.M)
    assert json.loads(entry) == ["/opt/venv/bin/python", "-m"]
    (data,) = re.findall(r"^ENV .*GRAPH_TUTORIALS_DATA=(\S+)", dockerfile, re.M)
    assert data == "/data"
