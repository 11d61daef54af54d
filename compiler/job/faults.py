"""What a rule says, before the engine adds which rule it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from sys import intern

from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.annotations import TYPE_CHECKING, Any, Protocol
from kaitoc.compiler.core.findings import Applicability, Finding, Fix, Related, Severity
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile, Place
from kaitoc.compiler.yaml.placeholders import UnknownValueError
from kaitoc.compiler.yaml.values import YamlValueError

if TYPE_CHECKING:
    from kaitoc.compiler.job.cluster_run import ClusterRun
    from kaitoc.compiler.job.job import Job
    from kaitoc.compiler.job.serving_job import ServingJob


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at a place. `severity` is only set where it differs from the rule's."""

    place: Place
    message: str
    help: str = ""
    related: tuple[Related, ...] = ()
    fix: Fix | None = None
    severity: Severity | None = None


class Rule(Protocol):
    """What every rule module states: its code, its name, its usual severity, the best fix it offers, and since when.

    The module's docstring says in one line what the rule finds.
    """

    @property
    def CODE(self) -> str:  # noqa: N802  (rules state constants)
        """The code, `KT` and three digits."""
        ...

    @property
    def NAME(self) -> str:  # noqa: N802
        """The name, which states the fault."""
        ...

    @property
    def SEVERITY(self) -> Severity:  # noqa: N802
        """The usual severity."""
        ...

    @property
    def FIX(self) -> Applicability | None:  # noqa: N802
        """The best fix that the rule can offer."""
        ...

    @property
    def SINCE(self) -> str:  # noqa: N802
        """The first version of kaitoc that has the rule."""
        ...


class FileRule(Rule, Protocol):
    """A rule that looks at a file's YAML."""

    @property
    def check(self) -> Callable[[ManifestFile], Iterator[Fault]]:
        """Yield the faults of a file."""
        ...


class ObjectRule(Rule, Protocol):
    """A rule that looks at one Kubernetes object as the API server does, for a Kaito release."""

    @property
    def check(self) -> Callable[[Manifest, Release], Iterator[Fault]]:
        """Yield the faults of an object."""
        ...


class UpdateRule(Rule, Protocol):
    """A rule that compares the old and the new version of an object."""

    @property
    def check(self) -> Callable[[Manifest, Manifest], Iterator[Fault]]:
        """Yield the faults of an update."""
        ...


class JobRule(Rule, Protocol):
    """A rule that looks at one tuning run."""

    @property
    def check(self) -> Callable[[Job], Iterator[Fault]]:
        """Yield the faults of a job."""
        ...


class ServingRule(Rule, Protocol):
    """A rule that looks at one server."""

    @property
    def check(self) -> Callable[[ServingJob], Iterator[Fault]]:
        """Yield the faults of a server."""
        ...


class ClusterRule(Rule, Protocol):
    """A rule that looks at one run of a plan on a cluster."""

    @property
    def check(self) -> Callable[[ClusterRun], Iterator[Fault]]:
        """Yield the faults of a run."""
        ...


def known_faults(rule: FileRule | JobRule | ObjectRule | ServingRule | ClusterRule, *subject: Any) -> Iterator[Fault]:
    """Yield what a rule finds in its subject, up to where it asks for a value that is not known or not plain YAML."""
    try:
        yield from rule.check(*subject)
    except (UnknownValueError, YamlValueError):
        return


def known_errors(rules: Iterable[JobRule | ServingRule], subject: Any) -> Iterator[tuple[Rule, Fault]]:
    """Yield the errors that rules find in their subject, each with its rule."""
    for rule in rules:
        for fault in known_faults(rule, subject):
            if (fault.severity or rule.SEVERITY) is Severity.ERROR:
                yield rule, fault


def to_finding(rule: Rule, fault: Fault) -> Finding:
    """Return a fault as the finding of a rule; its message is one line, whatever the manifest's values are.

    Texts are kept once: ten thousand manifests have the same few faults.
    """
    place = fault.place
    return Finding(
        code=rule.CODE,
        name=rule.NAME,
        severity=fault.severity or rule.SEVERITY,
        message=intern(" ".join(fault.message.split())),
        source=place.source,
        span=place.span,
        pointer=place.pointer,
        object=place.object,
        help=intern(fault.help),
        related=fault.related,
        fix=fault.fix,
    )


def related(message: str, place: Place) -> Related:
    """Return another place that explains a fault."""
    return Related(message, place.source, place.span)
