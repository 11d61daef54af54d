"""What a pass is given and what it says: the contract between the passes and their driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Protocol, TypeAlias, TypeVar

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.faults import JobRule
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Manifest, Place
from kaitoc.compiler.yaml.placeholders import UnknownValueError

S = TypeVar("S", contravariant=True)
C = TypeVar("C", contravariant=True)


class Preserves(str, Enum):
    """What a change keeps of the training result.

    INTENT is for repairs: as written the run crashed or trained something else, so there is no result to keep, only
    what the manifest says. EXACT computes the same numbers (up to the order of rounding), STATISTICAL the same in
    expectation, CHANGES something else.
    """

    INTENT = "intent"
    EXACT = "exact"
    STATISTICAL = "statistical"
    CHANGES = "changes"


class Preserve(str, Enum):
    """How far changes may go; repairs are always made."""

    EXACT = "exact"
    STATISTICAL = "statistical"
    ANY = "any"

    def allows(self, preserves: Preserves) -> bool:
        """Return whether a change of that kind may be made."""
        order = (Preserves.INTENT, Preserves.EXACT, Preserves.STATISTICAL, Preserves.CHANGES)
        limit = {Preserve.EXACT: 1, Preserve.STATISTICAL: 2, Preserve.ANY: 3}[self]
        return order.index(preserves) <= limit


class Goal(str, Enum):
    """What to make best among the configurations that fit.

    FIT makes the smallest change with which the run fits, THROUGHPUT the shortest predicted time, MEMORY the lowest
    predicted peak, COST the lowest price of a token: hours times the instance type's price. LATENCY is a server's: the
    shortest predicted time of one request alone.
    """

    FIT = "fit"
    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Change:
    """One change to a manifest: where, from what to what, why, and what it keeps of the result.

    `before` is empty for something that was not written. `place` is where the change begins; for something new it is
    the place that lacks it.
    """

    what: str
    reason: str
    preserves: Preserves
    place: Place
    edits: tuple[Edit, ...]
    before: str = ""
    after: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """Why no change makes a job fit, and the option of compile that would; both empty where it fits."""

    path: str = ""
    shortage: str = ""
    way_out: str = ""

    def __str__(self) -> str:
        """Format it as one line for the user, empty where the job fits."""
        return f"{self.path}: {self.shortage}{self.way_out}" if self.shortage else ""


@dataclass(frozen=True, slots=True)
class PassContext:
    """What passes may know beside the job.

    The goal, its bounds, the other jobs that share the ConfigMap, the passes that run after this one, and whether a
    name that a Workspace could use for a ConfigMap is taken.
    """

    goal: Goal = Goal.FIT
    preserve: Preserve = Preserve.STATISTICAL
    job_rules: tuple[JobRule, ...] = ()
    allow_workspace_edits: bool = False
    siblings: tuple[Job, ...] = ()
    later_passes: tuple[TuningPass, ...] = ()
    has_config_map: Callable[[str, Manifest], bool] = lambda _, __: False


class PassOver(Protocol[S, C]):
    """A module with a name and a function that yields the changes it would make, the first one first.

    Its subject is a job or a server, beside which it knows a context.
    """

    @property
    def NAME(self) -> str:  # noqa: N802  (passes state constants)
        """The name that reports show."""
        ...

    @property
    def run(self) -> Callable[[S, C], Iterator[Change]]:
        """Yield the changes to a subject; one that needs none yields nothing."""
        ...


TuningPass: TypeAlias = "PassOver[Job, PassContext]"
"""A pass over a run of fine-tuning."""


def known_changes(step: PassOver[S, C], subject: S, context: C) -> Iterator[Change]:
    """Yield what a pass would change, up to where it asks for a value that is not known yet."""
    try:
        yield from step.run(subject, context)
    except UnknownValueError:
        return
