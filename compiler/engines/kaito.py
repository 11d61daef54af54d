"""Runs a fine-tune on a cluster: applies compiled manifests with kubectl, follows the Workspace, streams its log.

The outcome is read from the Kubernetes Job, whose name is the Workspace's, and from its pod: with an image as output
the pod's helper containers keep a crashed run looking alive, so a container that ended badly ends the run.

Kaito makes a Job anew when the Workspace's spec changes, and only then (`workspace_controller.go`, `ComputeHash`): the
Job of an earlier run is not taken for this one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.redaction import redacted_text

MAX_FAILURES = 5
"""How often in a row kubectl may fail before a run is no longer followed: an API server has bad moments."""


class ClusterError(KaitocError):
    """A run on a cluster that cannot start or that failed; `str(error)` is for the user."""


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """The Workspace to follow; an empty namespace is that of kubectl's context."""

    name: str
    namespace: str = ""

    @property
    def options(self) -> list[str]:
        """Return the options by which kubectl finds the namespace."""
        return ["--namespace", self.namespace] if self.namespace else []


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The kubectl program of this machine."""

    program: str

    @classmethod
    def find(cls) -> Kubectl:
        """Return the kubectl on the path; raises `ClusterError` when there is none."""
        program = shutil.which("kubectl")
        if program is None:
            raise ClusterError("kubectl is not on the path; it is needed for --on cluster")
        return cls(program)

    def run(self, *arguments: str) -> str:
        """Return what a command prints; raises `ClusterError` with what it complains about."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            reason = redacted_text(done.stderr.strip()) or f"exit code {done.returncode}"
            raise ClusterError(f"kubectl {arguments[0]}: {reason}")
        return done.stdout

    def read(self, *arguments: str) -> dict[str, Any]:
        """Return the JSON that `kubectl get` prints, empty when there is no such object yet."""
        text = self.run("get", *arguments, "--ignore-not-found", "--output", "json")
        try:
            content = json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise ClusterError(f"kubectl get {arguments[0]}: its answer is not JSON") from error
        return content if isinstance(content, dict) else {}


def run_on_cluster(
    texts: Sequence[str],
    target: ClusterTarget,
    echo: Callable[[str], None],
    *,
    dry_run: bool = False,
    poll_seconds: float = 5.0,
) -> list[str]:
    """Apply manifests, follow a Workspace to its end and return the lines of its log, none for a dry run.

    Raises `ClusterError` when the API server or the run fails.

    The API server judges everything first (`--dry-run=server`), so that nothing is applied by halves.
    """
    kubectl = Kubectl.find()
    with tempfile.TemporaryDirectory(prefix="kaitoc-") as folder:
        for number, text in enumerate(texts):
            Path(folder, f"{number}.yaml").write_text(text, encoding="utf-8")
        kubectl.run("apply", "--server-side", "--dry-run=server", "--filename", folder)
        if dry_run:
            echo("the API server accepts the manifests; nothing was applied")
            return []
        before = _present(kubectl, target)
        echo(kubectl.run("apply", "--server-side", "--filename", folder).strip())
    stale_uid = _stale_job(kubectl, target, before, echo) if before.job_uid else ""
    return _follow(kubectl, target, stale_uid, echo, poll_seconds)


@dataclass(frozen=True, slots=True)
class _Present:
    """What is on the cluster: the Workspace's generation, its Job's uid and whether that has ended; empty if none."""

    generation: int
    job_uid: str
    has_ended: bool


def _present(kubectl: Kubectl, target: ClusterTarget) -> _Present:
    job = kubectl.read("job", target.name, *target.options)
    return _Present(_generation(kubectl, target), str(job.get("metadata", {}).get("uid", "")), _ending(job) is not None)


def _generation(kubectl: Kubectl, target: ClusterTarget) -> int:
    return int(kubectl.read("workspace", target.name, *target.options).get("metadata", {}).get("generation", 0))


def _stale_job(kubectl: Kubectl, target: ClusterTarget, before: _Present, echo: Callable[[str], None]) -> str:
    """Return the uid of an earlier run's Job that Kaito is about to replace, empty when there is none.

    Raises `ClusterError` when Kaito keeps the Job of a run that is over.
    """
    if _generation(kubectl, target) != before.generation:
        return before.job_uid
    if before.has_ended:
        raise ClusterError(
            f"{target.name}: the Workspace is as it was, so Kaito keeps the Job of its earlier run and starts none; "
            f"run `{' '.join(('kubectl delete workspace', target.name, *target.options))}`, or give the Workspace "
            "another name"
        )
    echo(f"{target.name}: the Workspace is as it was; following the run that is under way")
    return ""


def _follow(
    kubectl: Kubectl, target: ClusterTarget, stale_uid: str, echo: Callable[[str], None], poll_seconds: float
) -> list[str]:
    """Return the whole log once the Job ends; tell each change of the Workspace's conditions and each line before."""
    shown: dict[str, str] = {}
    lines: list[str] = []
    num_failures = 0
    while True:
        is_ours, outcome = False, None
        try:
            for line in _news(kubectl.read("workspace", target.name, *target.options), shown):
                echo(redacted_text(line))
            job = kubectl.read("job", target.name, *target.options)
            is_ours = not stale_uid or job.get("metadata", {}).get("uid") != stale_uid
            outcome = _outcome(kubectl, target, job) if is_ours else None
            num_failures = 0
        except ClusterError:
            num_failures += 1
            if num_failures == MAX_FAILURES:
                raise
        if is_ours:
            lines = _stream(kubectl, target, lines, echo)
        if outcome == "":
            return lines
        if outcome is not None:
            raise ClusterError(f"{target.name}: the tuning job failed: {redacted_text(outcome)}")
        time.sleep(poll_seconds)


def _news(workspace: dict[str, Any], shown: dict[str, str]) -> list[str]:
    news = []
    for condition in workspace.get("status", {}).get("conditions", ()):
        state = f"{condition.get('status')} {condition.get('reason', '')}".strip()
        if shown.get(condition["type"]) != state:
            shown[condition["type"]] = state
            news.append(f"{condition['type']}: {state} {condition.get('message', '')}".rstrip())
    return news


def _ending(job: dict[str, Any]) -> str | None:
    """Return "" for a Job that is complete, a reason for one that failed, None for one that goes on."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return "" if condition["type"] == "Complete" else str(condition.get("message") or condition.get("reason"))
    return None


def _outcome(kubectl: Kubectl, target: ClusterTarget, job: dict[str, Any]) -> str | None:
    """Return "" for a run that succeeded, a reason for one that failed, None for one that goes on."""
    ending = _ending(job)
    if ending is not None:
        return ending
    pods = kubectl.read("pods", "--selector", f"job-name={target.name}", *target.options)
    for pod in pods.get("items", ()):
        for container in pod.get("status", {}).get("containerStatuses", ()):
            ended = container.get("state", {}).get("terminated") or {}
            if ended.get("exitCode", 0) != 0:
                return f"container `{container['name']}` ended with exit code {ended['exitCode']}"
    return None


def _stream(kubectl: Kubectl, target: ClusterTarget, shown: list[str], echo: Callable[[str], None]) -> list[str]:
    """Tell the lines of the log that are new and return all; a pod that has none yet is waited for."""
    try:
        lines = kubectl.run("logs", f"job/{target.name}", "--container", target.name, *target.options).splitlines()
    except ClusterError:
        return shown
    for line in lines[len(shown) :]:
        echo(redacted_text(line))
    return max(shown, lines, key=len)
