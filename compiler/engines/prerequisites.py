"""What a cluster must have before a run's manifests are applied: kinds, queue, claims, and nodes that have the devices.

Each refusal names the command that shows what is there. What may not be read is left to the cluster to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.engines.apply import ClusterObject, objects_in
from kaitoc.compiler.engines.emission import Emission
from kaitoc.compiler.engines.kubectl import ClusterError, Kubectl, RefusedError
from kaitoc.compiler.manifest.plan_objects import INSTANCE_TYPE_LABEL, PLAN_GROUPS

_SHARED_MODES = frozenset({"ReadWriteMany"})
_UNKNOWN_KIND = re.compile(r'no matches for kind "(\w+)"')
_UNKNOWN_RESOURCE = "the server doesn't have a resource type"
_LOCAL_QUEUES = "localqueues.kueue.x-k8s.io"
_PRIORITIES = "workloadpriorityclasses.kueue.x-k8s.io"
_CLUSTER_QUEUES = "clusterqueues.kueue.x-k8s.io"
_CLAIMS = "persistentvolumeclaims"


def known_objects(kubectl: Kubectl, emission: Emission) -> list[ClusterObject]:
    """Return the objects of a run; raises `ClusterError` for a kind that the cluster does not know."""
    try:
        return objects_in(kubectl, [emission.text])
    except RefusedError as error:
        unknown = list(dict.fromkeys(_UNKNOWN_KIND.findall(str(error))))
        group = PLAN_GROUPS.get(unknown[0]) if unknown else None
        if group is None:
            raise
        raise ClusterError(
            f"the cluster has no {join_names(unknown)} of {group}; `kubectl api-resources --api-group={group}` lists "
            "what it has"
        ) from None


def require_prerequisites(kubectl: Kubectl, emission: Emission, echo: Callable[[str], None]) -> None:
    """Raise `ClusterError` for what the cluster lacks; tell what could not be looked up."""
    cluster = _Cluster(kubectl, " ".join(["", *kubectl.namespace_options]))
    if emission.queue:
        _require_admissible(cluster, emission, cluster.require(_LOCAL_QUEUES, emission.queue))
    if emission.priority_class:
        cluster.require(_PRIORITIES, emission.priority_class)
    for claim in emission.claims:
        content = cluster.require(_CLAIMS, claim)
        modes = frozenset(content.get("spec", {}).get("accessModes") or ())
        if claim == emission.results_claim and emission.num_nodes > 1 and modes and not modes & _SHARED_MODES:
            raise ClusterError(
                f"claim `{claim}` is {', '.join(sorted(modes))}, and {emission.num_nodes} nodes write into it; name a "
                f"ReadWriteMany one with --results-claim (`kubectl get {_CLAIMS}{cluster.space}` lists them)"
            )
    _require_devices(cluster, emission, echo)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """A cluster to look things up in; `space` are the options of a command for the run's namespace."""

    kubectl: Kubectl
    space: str

    def require(self, resource: str, name: str) -> Mapping[str, Any]:
        """Return an object; raises `ClusterError` where it is not there."""
        try:
            (content,) = self.kubectl.named(f"{resource}/{name}") or ({},)
        except RefusedError as error:
            plural, _, group = resource.partition(".")
            if _UNKNOWN_RESOURCE in str(error):
                raise ClusterError(
                    f"the cluster has no {plural} of {group}, so none is called `{name}`; `kubectl api-resources "
                    f"--api-group={group}` lists what it has"
                ) from None
            raise ClusterError(f"{resource} `{name}` cannot be looked up: {error}") from error
        if not content:
            command = f"kubectl get {resource}{self.space}"
            raise ClusterError(f"{resource} `{name}` not found; `{command}` lists what exists")
        return content

    def readable(self, *arguments: str) -> Sequence[Mapping[str, Any]]:
        """Return the objects that a user may read, none where that is refused."""
        try:
            return self.kubectl.all_of(*arguments)
        except RefusedError:
            return ()


def _require_admissible(cluster: _Cluster, emission: Emission, queue: Mapping[str, Any]) -> None:
    """Raise `ClusterError` for a ClusterQueue that does not cover what the pods ask for: it would never admit them."""
    name = queue.get("spec", {}).get("clusterQueue", "")
    for content in cluster.readable(f"{_CLUSTER_QUEUES}/{name}") if name else ():
        groups = content.get("spec", {}).get("resourceGroups") or ()
        covered = {resource for group in groups for resource in group.get("coveredResources") or ()}
        for device in emission.devices:
            if device.resource not in covered:
                raise ClusterError(
                    f"ClusterQueue `{name}` of queue `{emission.queue}` does not cover `{device.resource}`, so it "
                    f"never admits the run; `kubectl get {_CLUSTER_QUEUES} {name} --output=yaml` shows what it covers"
                )


def _require_devices(cluster: _Cluster, emission: Emission, echo: Callable[[str], None]) -> None:
    """Raise `ClusterError` where the nodes of the instance type are there and none has the devices of a pod."""
    selector = f"{INSTANCE_TYPE_LABEL}={emission.instance_type}"
    nodes = cluster.readable("nodes", "--selector", selector)
    if not nodes:
        echo(f"no {emission.instance_type} node is running or can be listed, so their devices were not checked")
        return
    for device in emission.devices:
        most = max(_allocatable(node, device.resource) for node in nodes)
        if most < device.count:
            raise ClusterError(
                f"each node needs {device.count} of `{device.resource}`, and no {emission.instance_type} node has more "
                f"than {most}; `kubectl describe nodes --selector {selector}` lists them under Allocatable"
            )


def _allocatable(node: Mapping[str, Any], resource: str) -> int:
    stated = str((node.get("status", {}).get("allocatable") or {}).get(resource, "0"))
    return int(stated) if stated.isascii() and stated.isdigit() else 0
