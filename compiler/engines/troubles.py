"""Why a pod does not run, in words: what its status, the warnings about it and Kaito's node claims say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.kubectl import Kubectl, RefusedError

_STARTING = frozenset({"", "PodInitializing", "ContainerCreating"})
_TOLD_BY_STATUS = frozenset({"FailedScheduling", "BackOff", "Failed"})
"""Reasons of warnings that say what a pod's own status says too, again and again."""


def containers(pod: Mapping[str, Any], part: str = "containerStatuses") -> Sequence[Mapping[str, Any]]:
    """Return the statuses of a pod's containers, or of its init containers."""
    return pod.get("status", {}).get(part) or ()


def is_going(item: Mapping[str, Any]) -> bool:
    """Return whether an object is being deleted."""
    return bool(item.get("metadata", {}).get("deletionTimestamp"))


def exit_of(state: Mapping[str, Any]) -> str:
    """Describe how a container failed by its state, empty when it did not."""
    ended = state.get("terminated") or {}
    if ended.get("exitCode", 0) == 0:
        return ""
    reason = ended.get("message") or ended.get("reason") or ""
    why = f": {_one_line(reason)}" if reason not in ("", "Error") else ""
    return f"ended with exit code {ended['exitCode']}{why}"


def troubles_of(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps a pod from running, each with its cause."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"pod {name} cannot be scheduled: {_one_line(condition.get('message') or condition.get('reason'))}"
    for part, title in (("initContainerStatuses", "init container"), ("containerStatuses", "container")):
        for container in containers(pod, part):
            waiting = (container.get("state") or {}).get("waiting") or {}
            cause = exit_of(container.get("state") or {}) or exit_of(container.get("lastState") or {})
            if waiting.get("reason", "") not in _STARTING:
                more = _one_line(waiting.get("message") or "")
                cause = f"{waiting['reason']}{f': {more}' if more else ''}{f' ({cause})' if cause else ''}"
            if cause:
                yield f"pod {name}, {title} `{container['name']}`: {cause}"
    if status.get("phase") == "Failed" and status.get("reason"):
        yield f"pod {name}: {status['reason']}: {_one_line(status.get('message') or '')}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class About:
    """Objects whose uids nobody asked for: by name and kind, and what happened to them since a time."""

    names: frozenset[str]
    kinds: frozenset[str]
    since: str

    def covers(self, event: Mapping[str, Any]) -> bool:
        """Return whether a warning is about one of them."""
        about = event.get("involvedObject") or {}
        at = str(event.get("lastTimestamp") or event.get("eventTime") or "")
        return about.get("kind") in self.kinds and about.get("name") in self.names and at >= self.since


class Warnings:
    """Reads what the cluster warns of; a kind that it does not have, or that may not be read, is asked for once."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._unreadable: set[str] = set()

    def events_of(self, uids: frozenset[str], others: About | None = None) -> Iterator[str]:
        """Yield the warnings about some objects."""
        for event in self._items("events", "--field-selector", "type=Warning", *self._kubectl.namespace_options):
            about = event.get("involvedObject") or {}
            is_meant = about.get("uid") in uids or (others is not None and others.covers(event))
            if is_meant and event.get("reason") not in _TOLD_BY_STATUS:
                message = _one_line(event.get("message") or "")
                yield f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {message}"

    def node_claims_of(self, workspace: str, namespace: str) -> Iterator[str]:
        """Yield why the nodes that Kaito asked for do not come."""
        selector = f"kaito.sh/workspace={workspace},kaito.sh/workspacenamespace={namespace}"
        for claim in self._items("nodeclaims.karpenter.sh", "--selector", selector):
            for condition in claim.get("status", {}).get("conditions") or ():
                message = _one_line(condition.get("message") or "")
                if condition.get("status") == "False" and message:
                    yield f"node {claim['metadata']['name']}: {condition['type']}: {condition.get('reason')}: {message}"

    def _items(self, kind: str, *options: str) -> Sequence[Mapping[str, Any]]:
        if kind in self._unreadable:
            return ()
        try:
            return self._kubectl.all_of(kind, *options)
        except RefusedError:
            self._unreadable.add(kind)
            return ()


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
