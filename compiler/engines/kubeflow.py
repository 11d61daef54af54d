"""Runs emitted manifests: asks for what they need, applies them, and follows a TrainJob or a JobSet to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.apply import Application, ApplyOptions, ClusterObject, dry_run, objects_in, stages
from kaitoc.compiler.engines.emit.emission import Emission
from kaitoc.compiler.engines.follow import Follower, FollowOptions, LogSource, Observation
from kaitoc.compiler.engines.kubectl import ClusterError, Kubectl, RefusedError
from kaitoc.compiler.engines.troubles import Warnings, containers, is_going, troubles_of

_CONTAINER = "node"
_JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
_SHARED_MODES = frozenset({"ReadWriteMany"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """The object that an engine's controller runs, and the types of conditions by which it ends."""

    name: str
    resource: str
    succeeded: str


_KINDS = {
    "trainjob": _Kind("TrainJob", "trainjobs.trainer.kubeflow.org", "Complete"),
    "jobset": _Kind("JobSet", "jobsets.jobset.x-k8s.io", "Completed"),
}


def run_emitted(
    emission: Emission,
    echo: Callable[[str], None],
    *,
    applying: ApplyOptions | None = None,
    following: FollowOptions | None = None,
    is_dry_run: bool = False,
) -> list[str]:
    """Apply the manifests of a run, follow it to its end and return the lines of rank 0's log, none for a dry run.

    Raises `ClusterError` when the cluster lacks what the run needs, refuses it, or the run fails.
    """
    kind = _KINDS[emission.engine]
    kubectl = Kubectl.find(emission.namespace)
    order = stages(objects_in(kubectl, [emission.text]), frozenset({kind.name}))
    _require_prerequisites(kubectl, emission)
    application = Application(kubectl, echo, applying or ApplyOptions())
    if is_dry_run:
        for line in dry_run(application, kubectl, order) or ["the API server accepts the manifests"]:
            echo(line)
        echo("nothing was applied")
        return []
    with application:
        for stage in order:
            application.apply(stage)
    (job,) = order[-1]
    run = _KubeflowRun(kubectl, kind, job, application.uid_of(job))
    return Follower(kubectl, run, echo, following or FollowOptions()).follow()


def _require_prerequisites(kubectl: Kubectl, emission: Emission) -> None:
    """Raise `ClusterError` for a queue or a claim that is not there, or results that several nodes cannot share."""
    space = " ".join(["", *kubectl.namespace_options])
    if emission.queue:
        _require(kubectl, "localqueues.kueue.x-k8s.io", emission.queue, space)
    for claim in emission.claims:
        content = _require(kubectl, "persistentvolumeclaims", claim, space)
        modes = frozenset(content.get("spec", {}).get("accessModes") or ())
        if claim == emission.results_claim and emission.num_nodes > 1 and modes and not modes & _SHARED_MODES:
            raise ClusterError(
                f"claim `{claim}` is {', '.join(sorted(modes))}, and {emission.num_nodes} nodes write into it; name a "
                f"ReadWriteMany one with --results-claim (`kubectl get persistentvolumeclaims{space}` lists them)"
            )


def _require(kubectl: Kubectl, resource: str, name: str, space: str) -> Mapping[str, Any]:
    try:
        (content,) = kubectl.named(f"{resource}/{name}") or ({},)
    except RefusedError as error:
        raise ClusterError(f"{resource} `{name}` cannot be looked up: {error}") from error
    if not content:
        raise ClusterError(f"{resource} `{name}` is not there; `kubectl get {resource}{space}` lists those that are")
    return content


class _KubeflowRun:
    """A TrainJob or JobSet that was applied, with the pods of all its nodes."""

    def __init__(self, kubectl: Kubectl, kind: _Kind, job: ClusterObject, uid: str) -> None:
        self.name = job.name
        options = f" --namespace {job.namespace}" if job.namespace else ""
        self.stop_command = f"kubectl delete {kind.resource} {job.name}{options}"
        self._kubectl = kubectl
        self._kind = kind
        self._uid = uid
        self._warnings = Warnings(kubectl)
        self._cause = ""

    def observe(self) -> Observation:
        """Return how the run stands; raises `ClusterError`."""
        (job,) = self._kubectl.named(f"{self._kind.resource}/{self.name}")
        if not job or job.get("metadata", {}).get("uid", self._uid) != self._uid or is_going(job):
            return Observation(outcome=f"the {self._kind.name} was deleted, which ends its run")
        selector = f"{_JOBSET_LABEL}={self.name}"
        pods = self._kubectl.all_of("pods", "--selector", selector, *self._kubectl.namespace_options)
        pods = [pod for pod in pods if not is_going(pod)]
        states = [*self._conditions(job), *self._troubles(job, pods)]
        logs = [LogSource(pod["metadata"]["name"], _CONTAINER) for pod in pods if self._is_first(pod) and _ran(pod)]
        return Observation(states, logs, self._outcome(job))

    def _conditions(self, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for condition in job.get("status", {}).get("conditions") or ():
            parts = (condition.get("status"), condition.get("reason"), condition.get("message"))
            yield condition["type"], f"{condition['type']}: {' '.join(str(part) for part in parts if part)}"

    def _troubles(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        for pod in pods:
            for text in troubles_of(pod):
                self._cause = text
                yield text, text
        if pods and all(_ran(pod) for pod in pods):
            return
        uids = frozenset(str(item["metadata"]["uid"]) for item in (job, *pods))
        for text in self._warnings.events_of(uids):
            yield text, text

    def _is_first(self, pod: Mapping[str, Any]) -> bool:
        """Return whether a pod is node 0's, whose first process tells of the run."""
        return str(pod["metadata"]["name"]).startswith(f"{self.name}-node-0-0-")

    def _outcome(self, job: Mapping[str, Any]) -> str | None:
        for condition in job.get("status", {}).get("conditions") or ():
            if condition.get("status") != "True":
                continue
            if condition.get("type") == self._kind.succeeded:
                return ""
            if condition.get("type") == "Failed":
                cause = f"; {self._cause}" if self._cause else ""
                return f"the run failed: {condition.get('message') or condition.get('reason')}{cause}"
        return None


def _ran(pod: Mapping[str, Any]) -> bool:
    states = [status.get("state") or {} for status in containers(pod) if status.get("name") == _CONTAINER]
    return any("running" in state or "terminated" in state for state in states)
