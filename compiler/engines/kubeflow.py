"""Runs emitted manifests: asks for what they need, applies them, and follows a TrainJob or a JobSet to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.apply import Application, ApplyOptions, ClusterObject, dry_run, stages
from kaitoc.compiler.engines.emission import Emission
from kaitoc.compiler.engines.follow import Follower, FollowOptions, LogSource, Observation, require_followable
from kaitoc.compiler.engines.kubectl import Kubectl
from kaitoc.compiler.engines.prerequisites import known_objects, require_prerequisites
from kaitoc.compiler.engines.troubles import About, Warnings, containers, is_going, troubles_of

_CONTAINER = "node"
_JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
_ATTEMPT_LABEL = "jobset.sigs.k8s.io/restart-attempt"


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
    order = stages(known_objects(kubectl, emission), frozenset({kind.name}))
    application = Application(kubectl, echo, applying or ApplyOptions())
    application.patiently(lambda: require_prerequisites(kubectl, emission, echo))
    if is_dry_run:
        for line in dry_run(application, kubectl, order) or ["the API server accepts the manifests"]:
            echo(line)
        echo("nothing was applied")
        return []
    application.patiently(lambda: require_followable(kubectl))
    with application:
        for stage in order:
            application.apply(stage)
    (job,) = order[-1]
    before, _ = application.generation_of(job)
    run = _KubeflowRun(kubectl, kind, job, application.uid_of(job), was_there=before > 0)
    return Follower(kubectl, run, echo, following or FollowOptions()).follow()


class _KubeflowRun:
    """A TrainJob or JobSet that was applied, with the pods of all its nodes."""

    def __init__(self, kubectl: Kubectl, kind: _Kind, job: ClusterObject, uid: str, *, was_there: bool) -> None:
        self.name = job.name
        options = f" --namespace {job.namespace}" if job.namespace else ""
        self.stop_command = f"kubectl delete {kind.resource} {job.name}{options}"
        self._kubectl = kubectl
        self._kind = kind
        self._uid = uid
        self._warnings = Warnings(kubectl)
        self._may_be_over = was_there
        self._num_restarts = 0
        self._cause = ""

    def observe(self) -> Observation:
        """Query the run's object and its pods; raises `ClusterError`."""
        (job,) = self._kubectl.named(f"{self._kind.resource}/{self.name}")
        if not job or job.get("metadata", {}).get("uid", self._uid) != self._uid or is_going(job):
            return Observation(outcome=f"the {self._kind.name} was deleted, which ends its run")
        pods = self._pods(_created(job))
        states = [*self._conditions(job), *self._attempt(pods), *self._troubles(job, pods)]
        logs = [LogSource(pod["metadata"]["name"], _CONTAINER) for pod in pods if self._is_first(pod) and _ran(pod)]
        outcome = self._outcome(job)
        if self._may_be_over and outcome is not None:
            states.append(
                (
                    "earlier",
                    f"{self.name}: has ended in an earlier run; delete it with `{self.stop_command}` to run again",
                )
            )
        self._may_be_over = False
        return Observation(states, logs, outcome)

    def _pods(self, since: str) -> list[dict[str, Any]]:
        """Return the pods of this run, the oldest first; those of one that had its name are older than it."""
        selector = f"{_JOBSET_LABEL}={self.name}"
        pods = self._kubectl.all_of("pods", "--selector", selector, *self._kubectl.namespace_options)
        return sorted((pod for pod in pods if _created(pod) >= since), key=_created)

    def _conditions(self, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for condition in job.get("status", {}).get("conditions") or ():
            parts = (condition.get("status"), condition.get("reason"), condition.get("message"))
            yield condition["type"], f"{condition['type']}: {' '.join(str(part) for part in parts if part)}"

    def _attempt(self, pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """Yield that all nodes started again, which no condition tells."""
        self._num_restarts = max((self._num_restarts, *map(_attempt_of, pods)))
        if self._num_restarts:
            yield "restarts", f"all nodes restarted (restart {self._num_restarts})"

    def _troubles(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """Yield what keeps the pods of the latest attempt from running; those that are ended say nothing of it."""
        pods = [pod for pod in pods if not is_going(pod) and _attempt_of(pod) == self._num_restarts]
        if pods:
            self._cause = ""  # why those before them ended is not why these do
        for pod in pods:
            for text in troubles_of(pod):
                self._cause = text
                yield text, text
        if pods and all(_ran(pod) for pod in pods):
            return
        uids = frozenset(str(item["metadata"]["uid"]) for item in (job, *pods))
        below = About(
            frozenset({self.name, f"{self.name}-{_CONTAINER}-0"}), frozenset({"JobSet", "Job"}), _created(job)
        )
        for text in self._warnings.events_of(uids, below):
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


def _created(item: Mapping[str, Any]) -> str:
    """Return when an object was made, as text that sorts by time."""
    return str(item.get("metadata", {}).get("creationTimestamp") or "")


def _attempt_of(pod: Mapping[str, Any]) -> int:
    """Read the JobSet restart attempt that created a pod."""
    stated = str((pod["metadata"].get("labels") or {}).get(_ATTEMPT_LABEL, "0"))
    return int(stated) if stated.isascii() and stated.isdigit() else 0


def _ran(pod: Mapping[str, Any]) -> bool:
    states = [status.get("state") or {} for status in containers(pod) if status.get("name") == _CONTAINER]
    return any("running" in state or "terminated" in state for state in states)
