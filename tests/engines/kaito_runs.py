"""Runs of `--on cluster` against the stand-in, and the steps of a scripted controller."""

from __future__ import annotations

from collections.abc import Callable

import yaml
from standin.kaito import NAMESPACE, container, job, pod
from standin.server import StandIn
from standin.store import Object

from kaitoc.compiler.engines.apply import ApplyOptions
from kaitoc.compiler.engines.follow import FollowOptions
from kaitoc.compiler.engines.kaito import ClusterTarget, run_on_cluster
from kaitoc.compiler.engines.kubectl import ClusterError

NAME = "tune"
CONFIG: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "params", "namespace": NAMESPACE},
    "data": {"training_config.yaml": "training_config: {}\n"},
}
WORKSPACE: Object = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "resource": {"instanceType": "Standard_NC24ads_A100_v4"},
    "tuning": {"config": "params", "method": "qlora"},
}
LOG = "2026-01-01T00:00:01.000000000Z step 1\n2026-01-01T00:00:02.000000000Z step 2\n"


def run(
    *objects: Object, is_dry_run: bool = False, force: bool = False, timeout: float = 90.0, wait: float = 90.0
) -> tuple[list[str], ClusterError | None]:
    """Return what a run tells, and how it failed."""
    told: list[str] = []
    try:
        run_on_cluster(
            [yaml.safe_dump_all(objects or (WORKSPACE, CONFIG))],
            ClusterTarget(NAME, NAMESPACE),
            told.append,
            applying=ApplyOptions(force, wait, pause_seconds=0),
            following=FollowOptions(timeout, wait, poll_seconds=0),
            is_dry_run=is_dry_run,
        )
    except ClusterError as error:
        return told, error
    return told, None


def starts(cluster: StandIn, uid: str = "new", log: str = LOG) -> Callable[[], None]:
    """A step of Kaito's controller: the Job and its pod are there, and the pod runs."""

    def step() -> None:
        cluster.put(job(NAME, uid))
        cluster.put(pod(f"{NAME}-abc", uid, containerStatuses=[container(NAME, running={})]))
        cluster.logs[f"{NAME}-abc/{NAME}"] = log

    return step


def ends(cluster: StandIn, ending: str = "Complete", message: str = "", uid: str = "new") -> Callable[[], None]:
    return lambda: cluster.put(job(NAME, uid, ending=ending, message=message)) and None


def has_pod(cluster: StandIn, uid: str = "new", **status: object) -> Callable[[], None]:
    def step() -> None:
        cluster.put(job(NAME, uid))
        cluster.put(pod(f"{NAME}-abc", uid, **status))

    return step


def applied(cluster: StandIn) -> None:
    """An earlier run applied what this one applies."""
    for item in (CONFIG, WORKSPACE):
        cluster.store.apply(cluster.kind(item["kind"]), item, "kubectl", force=False, dry_run=False)


def nothing() -> None:
    """A step in which nothing happens."""
