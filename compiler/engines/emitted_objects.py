"""The objects of each engine: the plan in a ConfigMap first, then what runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaitoc.compiler.engines.emission_bundle import Bundle
from kaitoc.compiler.engines.emitted_pod import MASTER_PORT, MAX_RESTARTS, job_spec, pod_template, set_policies

_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_GROUP = "trainer.kubeflow.org"


def objects_of(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the manifests of a bundle in the order to apply them."""
    from kaitoc.compiler.manifest.render import literal  # ruamel.yaml is for new documents alone

    plan = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": bundle.metadata(),
        "immutable": True,
        "data": {"plan.json": literal(bundle.plan_json)},
    }
    return [plan, *_ENGINES[bundle.options.engine](bundle)]


def _train_job(bundle: Bundle) -> list[dict[str, Any]]:
    """Return a TrainingRuntime of the run's own and a TrainJob with `runtimeRef` and `trainer` alone.

    That is what Trainer 2.0 to main all take; overrides have other names in 2.0, 2.1 and 2.2. Its controller finds the
    pods by the names `node` and `trainer`, and injects PET_* where `mlPolicy.torch` is set.
    """
    node = {
        "name": "node",
        "template": {
            "metadata": {"labels": {f"{_GROUP}/trainjob-ancestor-step": "trainer"}},
            "spec": job_spec(bundle, "node"),
        },
    }
    runtime = {
        "apiVersion": f"{_GROUP}/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": bundle.metadata({f"{_GROUP}/framework": "torch"}),
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {**set_policies(bundle), "replicatedJobs": [node]}},
        },
    }
    trainer = {
        "numNodes": bundle.world.num_nodes,
        "numProcPerNode": bundle.world.processes_per_node,
        "resourcesPerNode": {"limits": bundle.resources},
    }
    job = {
        "apiVersion": f"{_GROUP}/v1alpha1",
        "kind": "TrainJob",
        "metadata": bundle.metadata(bundle.queue_labels),
        "spec": {
            "runtimeRef": {"apiGroup": _GROUP, "kind": "TrainingRuntime", "name": bundle.name},
            "trainer": trainer,
        },
    }
    return [runtime, job]


def _job_set(bundle: Bundle) -> list[dict[str, Any]]:
    """Return a JobSet, which makes the headless Service and the host names; the rest of PET_* is written here."""
    world, name = bundle.world, bundle.name
    environment: list[dict[str, Any]] = [
        {"name": "PET_NNODES", "value": str(world.num_nodes)},
        {"name": "PET_NPROC_PER_NODE", "value": str(world.processes_per_node)},
        {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}},
        {"name": "PET_MASTER_ADDR", "value": f"{name}-node-0-0.{name}"},
        {"name": "PET_MASTER_PORT", "value": str(MASTER_PORT)},
    ]
    job = {"completions": world.num_nodes, "parallelism": world.num_nodes, **job_spec(bundle, "node", environment)}
    return [
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": bundle.metadata(bundle.queue_labels),
            "spec": {**set_policies(bundle), "replicatedJobs": [{"name": "node", "template": {"spec": job}}]},
        }
    ]


def _pytorch_job(bundle: Bundle) -> list[dict[str, Any]]:
    """Return a PyTorchJob v1; its controller retries exit codes from 128 on alone, and injects its own environment."""
    world = bundle.world

    def replicas(count: int) -> dict[str, Any]:
        # With ExitCode the controller itself decides about a pod's restart; the pod is created with Never.
        template = pod_template(bundle, "pytorch", restart_policy="Never")
        del template["spec"]["restartPolicy"]
        return {"replicas": count, "restartPolicy": "ExitCode", "template": template}

    workers = {"Worker": replicas(world.num_nodes - 1)} if world.num_nodes > 1 else {}
    return [
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": bundle.metadata(bundle.queue_labels),
            "spec": {
                "nprocPerNode": str(world.processes_per_node),
                "runPolicy": {
                    "backoffLimit": MAX_RESTARTS,
                    "cleanPodPolicy": "None",
                    "ttlSecondsAfterFinished": 7 * 86_400,
                },
                "pytorchReplicaSpecs": {"Master": replicas(1), **workers},
            },
        }
    ]


_ENGINES: dict[str, Callable[[Bundle], list[dict[str, Any]]]] = {
    "trainjob": _train_job,
    "jobset": _job_set,
    "pytorchjob": _pytorch_job,
}
