"""A key that is written twice in one mapping."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Related, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.inner_configs import inner_configs
from kaitoc.compiler.manifest.objects import ManifestFile, Place
from kaitoc.compiler.yaml.tree import ProblemKind, YamlProblem

CODE = "KT102"
NAME = "duplicate-key"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(file: ManifestFile) -> Iterator[Fault]:
    """Yield every key that an earlier one of the same name makes ambiguous."""
    if not file.concerns_kaito:
        return
    for document in file.documents if not file.is_plain else ():
        for problem in document.problems:
            if problem.kind is ProblemKind.DUPLICATE_KEY:
                help_text = "remove one of the two: `kubectl apply -k` and strict API requests refuse duplicate keys"
                yield _fault(Place(file.source, problem.span), problem, help_text)
    for manifest in file.config_maps:
        for config in inner_configs(manifest):
            for problem in config.problems:
                if problem.kind is ProblemKind.DUPLICATE_KEY:
                    place = Place(file.source, problem.span, config.host.pointer, manifest.ref)
                    yield _fault(place, problem, "remove one of the two")


def _fault(place: Place, problem: YamlProblem, help_text: str) -> Fault:
    related = (Related("it is first written here", place.source, problem.related),) if problem.related else ()
    return Fault(place, problem.message, help=help_text, related=related)
