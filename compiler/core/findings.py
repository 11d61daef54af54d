"""What a check reports: findings, their severity, related places and fixes."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, Span


class Severity(str, Enum):
    """How bad a finding is; the order is from worst to mildest."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    def is_at_least(self, level: Severity) -> bool:
        """Return whether this is as bad as a level, or worse."""
        return _ORDER[self] <= _ORDER[level]


_ORDER = {severity: place for place, severity in enumerate(Severity)}


class Applicability(str, Enum):
    """Who may apply a fix: anybody (safe), somebody who asked (unsafe), nobody (display)."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    DISPLAY = "display"


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the text under a span of one source; an empty span inserts, an empty replacement deletes."""

    source: Source
    span: Span
    replacement: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A change that removes a finding: a title in the imperative and edits that do not overlap."""

    title: str
    applicability: Applicability
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that explains a finding, in the same or another file."""

    message: str
    source: Source
    span: Span


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """The Kubernetes object a finding belongs to; `namespace` is empty when the manifest names none."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at one place.

    `pointer` is an RFC 6901 pointer into the object; below `training_config.yaml` it goes on into the inner
    document (`/data/training_config.yaml/training_config/LoraConfig/r`).
    """

    code: str
    name: str
    severity: Severity
    message: str
    source: Source
    span: Span
    pointer: str = ""
    object: ObjectRef | None = None
    help: str = ""
    related: tuple[Related, ...] = ()
    fix: Fix | None = None

    @property
    def path(self) -> str:
        """Return the file that the finding is in."""
        return self.source.path

    @property
    def line(self) -> int:
        """Return the line at which the finding begins, from 1."""
        return self.source.position(self.span.start).line

    @property
    def column(self) -> int:
        """Return the column at which the finding begins, in characters from 1."""
        return self.source.position(self.span.start).column

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        """Order of findings in every report: by file, then place, then code."""
        return (self.source.path, self.span.start, self.span.end, self.code, self.message)
