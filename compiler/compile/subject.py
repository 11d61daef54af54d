"""What the driver compiles, whatever it is: a run of fine-tuning or a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from kaitoc.compiler.compile.model import CompileRequest, InstanceProposal, NothingCheaper, Performance
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.passes.model import Binding, Change


class Subject(Protocol):
    """One run or server, as its files say now."""

    @property
    def manifest(self) -> Manifest:
        """Return the object that stands for it: the Workspace or its like, else the ConfigMap."""
        ...

    @property
    def config_map(self) -> Manifest | None:
        """Return its ConfigMap, None when it names none or the file is missing."""
        ...

    @property
    def sources(self) -> tuple[Source, ...]:
        """List the files that its changes may edit."""
        ...

    @property
    def missing_config(self) -> str:
        """Name the missing ConfigMap that it references; empty when it was found."""
        ...

    def changes(self, scope: Scope, /) -> Iterator[PassChange]:
        """Yield what the passes want, pipeline order first; only what can be placed exactly in the user's files."""
        ...

    def performance(self, request: CompileRequest, /) -> Performance:
        """Predict memory and speed of the present configuration."""
        ...

    def summary(self) -> JobSummary:
        """Summarize it for the report's list of jobs."""
        ...

    def binding(self, scope: Scope, /) -> Binding:
        """Explain why no change makes it fit, and what would; empty where it fits or that is unknown."""
        ...

    def proposal(self, scope: Scope, /) -> InstanceProposal | NothingCheaper | None:
        """Return another instance type to consider, None for none."""
        ...

    def note(self, request: CompileRequest, /) -> str:
        """Explain a goal that lacks a price or does not apply; empty otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class PassChange:
    """A change and the name of the pass that makes it."""

    pass_name: str
    change: Change


@dataclass(frozen=True, slots=True)
class Scope:
    """What a subject may know beside itself.

    `siblings` use the same ConfigMap: a change of it is a change to all of them. `after` gives the subject and its
    siblings, in this order, as they are once a change is made; nothing where that would break their YAML.
    """

    request: CompileRequest
    siblings: tuple[Subject, ...] = ()
    has_config_map: Callable[[str, Manifest], bool] = lambda _, __: False
    after: Callable[[Change], tuple[Subject, ...]] = lambda _: ()


def manifest_sources(*manifests: Manifest | None) -> tuple[Source, ...]:
    """List the files of the given objects; None entries are skipped."""
    return tuple(manifest.source for manifest in manifests if manifest is not None)
