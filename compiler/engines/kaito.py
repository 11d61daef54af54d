"""Runs a fine-tune through Kaito: applies compiled manifests, follows the Workspace, streams its log.

The outcome is read from the Kubernetes Job, whose name is the Workspace's, and from its pod: with an image as output
the pod's helper containers keep a crashed run looking alive, so a container that ended badly ends the run.

Kaito makes a Job anew when the Workspace's spec changes, and only then (`workspace_controller.go`, `ComputeHash`): the
Job of an earlier run is not taken for this one, nor are its pods, which may still be terminating.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.apply import Application, ApplyOptions, ClusterObject, dry_run, objects_in, stages
from kaitoc.compiler.engines.follow import Follower, FollowOptions, LogSource, Observation, require_followable
from kaitoc.compiler.engines.kubectl import ClusterError, Kubectl
from kaitoc.compiler.engines.troubles import Warnings, containers, exit_of, is_going, troubles_of

_RUNS_IT = frozenset({"Workspace", "InferenceSet"})
_WORKSPACE = "workspaces.kaito.sh/"
_JOB = "jobs.batch/"


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """The Workspace to follow; an empty namespace is that of kubectl's context."""

    name: str
    namespace: str = ""


def run_on_cluster(
    texts: Sequence[str],
    target: ClusterTarget,
    echo: Callable[[str], None],
    *,
    applying: ApplyOptions | None = None,
    following: FollowOptions | None = None,
    is_dry_run: bool = False,
) -> list[str]:
    """Apply manifests, follow a Workspace to its end and return the lines of its log, none for a dry run.

    Raises `ClusterError` when the API server or the run fails. What was applied before a refusal is taken back.
    """
    if not target.name:
        raise ClusterError(
            "the Workspace has no `metadata.name`, by which a run is followed; `generateName` makes many"
        )
    kubectl = Kubectl.find(target.namespace)
    order = stages(objects_in(kubectl, texts), _RUNS_IT)
    application = Application(kubectl, echo, applying or ApplyOptions())
    if is_dry_run:
        unjudged = dry_run(application, kubectl, order)
        for line in unjudged or ["the API server accepts the manifests"]:
            echo(line)
        echo("nothing was applied")
        return []
    workspace = _workspace_of(order, target)
    application.patiently(lambda: require_followable(kubectl))
    (earlier_job,) = application.patiently(lambda: kubectl.named(_JOB + target.name))
    with application:
        for stage in order:
            application.apply(stage)
        stale_uid = _stale_job(application, workspace, earlier_job, echo)
    run = _KaitoRun(kubectl, workspace, application.uid_of(workspace), stale_uid)
    return Follower(kubectl, run, echo, following or FollowOptions()).follow()


def _workspace_of(order: Sequence[Sequence[ClusterObject]], target: ClusterTarget) -> ClusterObject:
    for item in order[-1] if order else ():
        if item.kind == "Workspace" and item.name == target.name:
            return item
    raise ClusterError(f"{target.name}: there is no such Workspace in the compiled manifests")


def _stale_job(
    application: Application, workspace: ClusterObject, job: Mapping[str, Any], echo: Callable[[str], None]
) -> str:
    """Return the uid of an earlier run's Job that Kaito is about to replace, empty when there is none.

    Raises `ClusterError` when Kaito keeps the Job of a run that is over.
    """
    before, after = application.generation_of(workspace)
    if not job or before != after:
        return str(job.get("metadata", {}).get("uid", ""))
    if _ending(job) is not None:
        raise ClusterError(
            f"{workspace.name}: the Workspace is unchanged, so Kaito keeps the Job of its earlier run and starts none; "
            f"run `{_deletion(workspace)}`, or give the Workspace another name"
        )
    echo(f"{workspace.name}: the Workspace is unchanged; following the current run")
    return ""


def _deletion(workspace: ClusterObject) -> str:
    options = f" --namespace {workspace.namespace}" if workspace.namespace else ""
    return f"kubectl delete workspace {workspace.name}{options}"


class _KaitoRun:
    """A Workspace that was applied, and the Job that Kaito makes for it."""

    def __init__(self, kubectl: Kubectl, workspace: ClusterObject, uid: str, stale_uid: str) -> None:
        self.name = workspace.name
        self.stop_command = _deletion(workspace)
        self._kubectl = kubectl
        self._workspace = workspace
        self._uid = uid
        self._stale_uid = stale_uid
        self._warnings = Warnings(kubectl)
        self._cause = ""

    def observe(self) -> Observation:
        """Query the Workspace and its pods; raises `ClusterError`."""
        workspace, job = self._kubectl.named(_WORKSPACE + self.name, _JOB + self.name)
        if not workspace or workspace.get("metadata", {}).get("uid", self._uid) != self._uid or is_going(workspace):
            return Observation(outcome="the Workspace was deleted, which ends its run")
        states = list(_conditions(workspace))
        if not job or job.get("metadata", {}).get("uid") == self._stale_uid or is_going(job):
            return Observation([*states, *self._waiting(workspace, {}, ())])
        pods = self._pods(job)
        states += self._waiting(workspace, job, pods)
        logs = [LogSource(pod["metadata"]["name"], self.name) for pod in pods if _has_log(pod, self.name)]
        return Observation(states, logs, self._outcome(job, pods))

    def _pods(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the pods of this very Job, found by the uid in the selector that the API server gives each Job."""
        labels = job.get("spec", {}).get("selector", {}).get("matchLabels") or {
            "controller-uid": job["metadata"]["uid"]
        }
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        pods = self._kubectl.all_of("pods", "--selector", selector, *self._kubectl.namespace_options)
        return [pod for pod in pods if not is_going(pod)]

    def _waiting(
        self, workspace: Mapping[str, Any], job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[str, str]]:
        """Yield why the run does not train; once it does, nobody asks for the cluster's warnings."""
        for pod in pods:
            for text in troubles_of(pod):
                self._cause = text
                yield text, text
        if any(_is_running(pod, self.name) for pod in pods):
            return
        uids = frozenset(str(item["metadata"]["uid"]) for item in (workspace, job, *pods) if item)
        for text in self._warnings.events_of(uids):
            yield text, text
        if not pods:
            for text in self._warnings.node_claims_of(self.name, self._workspace.namespace):
                yield text, text

    def _outcome(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> str | None:
        ending = _ending(job)
        if ending is not None:
            cause = f"; {self._cause}" if self._cause else ""
            return f"the tuning job failed: {ending}{cause}" if ending else ""
        for pod in pods:
            for container in containers(pod):
                if failure := exit_of(container.get("state") or {}):
                    return f"the tuning job failed: container `{container['name']}` {failure}"
        return None


def _conditions(workspace: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for condition in workspace.get("status", {}).get("conditions") or ():
        parts = (condition.get("status"), condition.get("reason"), condition.get("message"))
        yield condition["type"], f"{condition['type']}: {' '.join(str(part) for part in parts if part)}"


def _ending(job: Mapping[str, Any]) -> str | None:
    """Return "" for a Job that is complete, a reason for one that failed, None for one that goes on."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return "" if condition["type"] == "Complete" else str(condition.get("message") or condition.get("reason"))
    return None


def _has_log(pod: Mapping[str, Any], container: str) -> bool:
    states = [status.get("state") or {} for status in containers(pod) if status.get("name") == container]
    return any("running" in state or "terminated" in state for state in states)


def _is_running(pod: Mapping[str, Any], container: str) -> bool:
    return any("running" in (status.get("state") or {}) for status in containers(pod) if status["name"] == container)
