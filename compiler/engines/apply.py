"""Applies objects in an order in which each can be judged, and takes back what it applied when a later one is refused.

A webhook that looks for another object, as Kaito's looks for the ConfigMap, sees only what is stored, on dry runs too:
so each stage is stored before the next is judged.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.kubectl import (
    EXIT_INTERRUPTED,
    AwayError,
    ClusterError,
    Kubectl,
    RefusedError,
    WebhookAwayError,
)

_FIRST = "Namespace"
_CACHE_SECONDS = 15.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterObject:
    """One object to apply; `text` is the whole of it as JSON."""

    kind: str
    namespace: str
    name: str
    text: str

    def __str__(self) -> str:
        """Name the object in messages."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @classmethod
    def of(cls, content: dict[str, Any]) -> ClusterObject:
        """Return an object from its content."""
        metadata = content.get("metadata", {})
        text = json.dumps(content)
        return cls(content.get("kind", ""), metadata.get("namespace", ""), metadata.get("name", ""), text)


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How to apply: over the fields of other managers, and how long to wait for an API server that is away."""

    force_conflicts: bool = False
    wait_for_api_seconds: float = 600.0
    pause_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class _Change:
    """An object that was applied, with what was stored before (empty: nothing) and after."""

    object: ClusterObject
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def verb(self) -> str:
        if not self.before:
            return "created"
        return "unchanged" if _version(self.before) == _version(self.after) else "changed"


class StoppedError(ClusterError):
    """A run that the user stopped before it was started."""

    exit_code = EXIT_INTERRUPTED


class Application:
    """What one run has applied; used as a context, it takes all of it back when the run is refused or interrupted."""

    def __init__(self, kubectl: Kubectl, echo: Callable[[str], None], options: ApplyOptions) -> None:
        self._kubectl = kubectl
        self._echo = echo
        self._options = options
        self._changes: list[_Change] = []

    def __enter__(self) -> Application:
        """Return this application."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        """Take back what was applied, unless the run went on or the API server is away, when what is stored is told."""
        if kind is None:
            return
        if isinstance(error, AwayError) and not isinstance(error, WebhookAwayError):
            for change in self._undoable():
                self._echo(f"{change.object}: was {change.verb} and is not reverted: the API server is unreachable")
            return
        for change in self._undoable():
            self._undo(change)
        if isinstance(error, KeyboardInterrupt):
            raise StoppedError("stopped by Ctrl-C before the run was started") from None

    def judge(self, item: ClusterObject) -> None:
        """Have the API server judge an object without storing it; raises `ClusterError`.

        A webhook that looks up what this run has just stored may ask a cache that has not heard of it yet.
        """
        end = time.monotonic() + _CACHE_SECONDS
        while True:
            try:
                self.patiently(lambda: self._run(item, "--dry-run=server"))
            except RefusedError as error:
                is_stored = any(_is_missed(change.object, str(error)) for change in self._changes)
                if not is_stored or time.monotonic() >= end:
                    raise
            else:
                return
            time.sleep(self._options.pause_seconds)

    def apply(self, items: Sequence[ClusterObject]) -> None:
        """Have all objects of a stage judged, then store them; raises `ClusterError`."""
        for item in items:
            self.judge(item)
        for item in items:
            before = self.patiently(partial(self._kubectl.stored, item.text))
            after = json.loads(self.patiently(partial(self._run, item)))
            change = _Change(item, before, after)
            self._changes.append(change)
            self._echo(f"{item}: {change.verb}")

    def generation_of(self, item: ClusterObject) -> tuple[int, int]:
        """Return the generation of an object that was applied, before and after; 0 is that of nothing."""
        change = next(change for change in reversed(self._changes) if change.object == item)
        return _generation(change.before), _generation(change.after)

    def uid_of(self, item: ClusterObject) -> str:
        """Return the uid of an object that was applied."""
        return next(_uid(change.after) for change in reversed(self._changes) if change.object == item)

    def patiently(self, ask: Callable[[], T]) -> T:
        """Return an answer, asking again while the API server is away: applying the same twice changes nothing."""
        end = time.monotonic() + self._options.wait_for_api_seconds
        is_told = False
        while True:
            try:
                return ask()
            except AwayError as error:
                if time.monotonic() >= end:
                    raise
                if not is_told:
                    self._echo(f"{error.trouble}; waiting for it: {error}")
                is_told = True
            time.sleep(self._options.pause_seconds)

    def _run(self, item: ClusterObject, *options: str) -> str:
        force = ["--force-conflicts"] if self._options.force_conflicts else []
        try:
            return self._kubectl.run(
                "apply", "--server-side", *force, *options, "--filename", "-", "--output=json", text=item.text
            )
        except ClusterError as error:
            raise type(error)(f"{item}: {error}") from error

    def _undoable(self) -> list[_Change]:
        return [change for change in reversed(self._changes) if change.verb != "unchanged"]

    def _undo(self, change: _Change) -> None:
        """Remove what this run created and put back what it changed, unless somebody else has changed it since."""
        item = change.object
        try:
            now = self.patiently(lambda: self._kubectl.stored(item.text))
            if _uid(now) != _uid(change.after):
                return
            if not change.before:
                self._kubectl.run("delete", "--wait=false", "--filename", "-", text=item.text)
                self._echo(f"{item}: removed again")
                return
            # With the version that this run stored, the API server refuses to overwrite a later change.
            metadata = {**change.before["metadata"], "resourceVersion": _version(change.after)}
            self._kubectl.run("replace", "--filename", "-", text=json.dumps({**change.before, "metadata": metadata}))
            self._echo(f"{item}: restored")
        except ClusterError as error:
            self._echo(f"{item}: was {change.verb} by this run and cannot be reverted: {error}")


def objects_in(kubectl: Kubectl, texts: Sequence[str]) -> list[ClusterObject]:
    """Return the objects of manifests; raises `RefusedError` for a kind that the cluster does not know."""
    with tempfile.TemporaryDirectory(prefix="kaitoc-") as folder:
        for number, text in enumerate(texts):
            Path(folder, f"{number}.yaml").write_text(text, encoding="utf-8")
        return [ClusterObject.of(content) for content in kubectl.objects_of(folder)]


def stages(items: Sequence[ClusterObject], last_kinds: frozenset[str]) -> list[list[ClusterObject]]:
    """Return the objects in the order to apply them: Namespaces, what is referred to, and at last what runs it."""
    order = [
        [item for item in items if item.kind == _FIRST],
        [item for item in items if item.kind != _FIRST and item.kind not in last_kinds],
        [item for item in items if item.kind in last_kinds],
    ]
    return [stage for stage in order if stage]


def dry_run(application: Application, kubectl: Kubectl, order: Sequence[Sequence[ClusterObject]]) -> list[str]:
    """Have the API server judge all that it can without storing anything; return in words what it could not judge.

    Raises `RefusedError` for an object that is refused whatever else is stored.
    """
    unstored: list[ClusterObject] = []
    unjudged: list[str] = []
    for stage in order:
        for item in stage:
            try:
                application.judge(item)
            except RefusedError as error:
                missing = next((other for other in unstored if _is_missed(other, str(error))), None)
                if missing is None:
                    raise
                unjudged.append(
                    f"{item}: cannot be checked before {missing} is stored, and a dry run stores nothing; "
                    "a real run applies them in this order"
                )
        unstored += [item for item in stage if not application.patiently(partial(kubectl.stored, item.text))]
    return unjudged


def _is_missed(item: ClusterObject, complaint: str) -> bool:
    """Return whether a refusal says that an object is not there."""
    text = complaint.lower()
    return "not found" in text and item.kind.lower() in text and item.name in complaint


def _uid(content: dict[str, Any]) -> str:
    return str(content.get("metadata", {}).get("uid", ""))


def _version(content: dict[str, Any]) -> str:
    return str(content.get("metadata", {}).get("resourceVersion", ""))


def _generation(content: dict[str, Any]) -> int:
    return int(content.get("metadata", {}).get("generation", 0))
