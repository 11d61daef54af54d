"""What a pass over a server is given, and the contract between such passes and the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.faults import ServingRule
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.passes.model import Change, Goal, Preserve
from kaitoc.compiler.yaml.placeholders import UnknownValueError


@dataclass(frozen=True, slots=True)
class ServingContext:
    """What passes may know beside the server.

    The goal, its bounds, the rules whose fixes are made, the other servers that share the ConfigMap, and whether a name
    that an object could use for a ConfigMap is taken.
    """

    goal: Goal = Goal.FIT
    preserve: Preserve = Preserve.STATISTICAL
    rules: Callable[[], tuple[ServingRule, ...]] = tuple
    allow_workspace_edits: bool = False
    siblings: tuple[ServingJob, ...] = ()
    has_config_map: Callable[[str, Manifest], bool] = lambda _, __: False


class ServingPass(Protocol):
    """A module with a name and a function that yields the changes it would make to a server, the first one first."""

    @property
    def NAME(self) -> str:  # noqa: N802  (passes state constants)
        """The name that reports show."""
        ...

    @property
    def run(self) -> Callable[[ServingJob, ServingContext], Iterator[Change]]:
        """Yield the changes to a server; one that needs none yields nothing."""
        ...


def known_serving_changes(step: ServingPass, job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield what a pass would change, up to where it asks for a value that is not known yet."""
    try:
        yield from step.run(job, context)
    except UnknownValueError:
        return
