"""The pod that every engine starts on each node, and which of its failures are worth another attempt."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.catalog.interconnects import nccl_environment
from kaitoc.compiler.engines.emission_bundle import Bundle
from kaitoc.compiler.engines.emitted_storage import DATA_PATH, MODEL_PATH, RESULTS_PATH
from kaitoc.compiler.manifest.recognition import PLAN_LABEL

GRACE_SECONDS = 300
_RESERVE_SECONDS = 20
_USER = 65532
"""The user of examples/job/Dockerfile."""
_SHARED_GIB_PER_GPU = 8
_PLAN_PATH = "/mnt/plan"
_FINAL_EXIT_CODES = frozenset({2, 3})
"""The runtime's codes for what fails again (docs/run.md)."""
MAX_RESTARTS = 3
MASTER_PORT = 29500


def pod_template(
    bundle: Bundle, container: str, *, restart_policy: str, environment: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the template of a node's pod; `environment` is what an engine's controller does not inject itself."""
    return {
        "metadata": {
            "labels": {PLAN_LABEL: "true"},
            "annotations": {"karpenter.sh/do-not-disrupt": "true"},
        },
        "spec": {
            "restartPolicy": restart_policy,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "fsGroup": _USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "nodeSelector": {"node.kubernetes.io/instance-type": bundle.instance_type},
            "tolerations": [{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}],
            "containers": [_container(bundle, container, environment or [])],
            "volumes": _volumes(bundle),
        },
    }


def pod_failure_policy(container: str, *, ignores_disruption: bool) -> dict[str, Any]:
    """Return the policy that ends a Job at once when its pod says that it would fail again."""
    final = {"containerName": container, "operator": "In", "values": sorted(_FINAL_EXIT_CODES)}
    rules: list[dict[str, Any]] = [{"action": "FailJob", "onExitCodes": final}]
    if ignores_disruption:
        rules.append({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
    return {"rules": rules}


def job_spec(bundle: Bundle, container: str, environment: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the spec of the Job under a JobSet.

    One node is replaced by itself. Of several, one that is lost ends all: the group meets once, so JobSet starts it
    anew as a whole.
    """
    is_alone = bundle.world.num_nodes == 1
    return {
        "backoffLimit": MAX_RESTARTS if is_alone else 0,
        "podFailurePolicy": pod_failure_policy(container, ignores_disruption=is_alone),
        "template": pod_template(bundle, container, restart_policy="Never", environment=environment),
    }


def set_policies(bundle: Bundle) -> dict[str, Any]:
    """Build a JobSet's policies: kept for a week, restarted as a whole except after a final failure."""
    final = {"name": "noRetry", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    failure = {} if bundle.world.num_nodes == 1 else {"failurePolicy": {"maxRestarts": MAX_RESTARTS, "rules": [final]}}
    return {"ttlSecondsAfterFinished": 7 * 86_400, **failure}


def _container(bundle: Bundle, name: str, environment: list[dict[str, Any]]) -> dict[str, Any]:
    fixed = {
        "KAITOC_GRACE_SECONDS": str(GRACE_SECONDS - _RESERVE_SECONDS),
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        **(nccl_environment(bundle.instance_type) if bundle.world.num_nodes > 1 else {}),
    }
    return {
        "name": name,
        "image": bundle.options.image,
        "command": ["python", "-m", "kaitoc.runtime"],
        "args": [f"{_PLAN_PATH}/plan.json", "--device", "cuda", "--resume", "--metrics-port", "9400"],
        "ports": [{"name": "metrics", "containerPort": 9400}],
        "env": [*({"name": key, "value": value} for key, value in fixed.items()), *environment],
        "resources": {"limits": bundle.resources},
        "volumeMounts": _mounts(bundle),
    }


def _mounts(bundle: Bundle) -> list[dict[str, Any]]:
    read = [("plan", _PLAN_PATH), ("model", MODEL_PATH)]
    read += [("data", DATA_PATH)] if bundle.storage.data_claim else []
    written = [("results", RESULTS_PATH), ("shm", "/dev/shm")]  # noqa: S108  # the pod's, not this machine's
    return [
        *({"name": name, "mountPath": path, "readOnly": True} for name, path in read),
        *({"name": name, "mountPath": path} for name, path in written),
    ]


def _volumes(bundle: Bundle) -> list[dict[str, Any]]:
    storage = bundle.storage
    shared_gib = _SHARED_GIB_PER_GPU * bundle.world.processes_per_node
    read = [("model", storage.model_claim), *([("data", storage.data_claim)] if storage.data_claim else [])]
    return [
        {"name": "plan", "configMap": {"name": bundle.name}},
        *({"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}} for name, claim in read),
        {"name": "results", "persistentVolumeClaim": {"claimName": storage.results_claim}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared_gib}Gi"}},
    ]
