"""YAML that cannot be read, in the manifest or inside a config of Kaito's."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.inner_configs import inner_configs
from kaitoc.compiler.manifest.object_faults import content_of
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile, Place
from kaitoc.compiler.yaml.tree import ProblemKind, YamlProblem

CODE = "KT101"
NAME = "invalid-yaml"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(file: ManifestFile) -> Iterator[Fault]:
    """Yield every place at which YAML cannot be read; what is not Kaito's and what is a template is left alone."""
    templates = [document for document, _ in file.templates()]
    for document in file.documents if file.concerns_kaito and not file.is_plain else ():
        for problem in document.problems:
            if problem.kind is ProblemKind.SYNTAX and document not in templates:
                yield Fault(Place(file.source, problem.span), problem.message)
    for manifest in file.manifests:
        if manifest.is_kaitos:
            yield from _unconverted(file, manifest)
    for manifest in file.config_maps:
        yield from _unconverted(file, manifest)
        for config in inner_configs(manifest):
            for problem in config.problems if not config.is_template else ():
                if problem.kind is not ProblemKind.DUPLICATE_KEY:
                    place = Place(file.source, problem.span, config.host.pointer, manifest.ref)
                    yield Fault(place, f"{config.data_key}: {problem.message}", help=_inner_help(problem))


def _unconverted(file: ManifestFile, manifest: Manifest) -> Iterator[Fault]:
    """Yield what stops kubectl from sending an object of Kaito's, but for what a template leaves open."""
    problem = content_of(manifest).problem
    if problem is not None and "{{" not in file.source.line_text(file.source.position(problem.span.start).line):
        place = Place(file.source, problem.span, manifest.pointer, manifest.ref)
        yield Fault(place, problem.message, help="kubectl sends objects as JSON, and stops here")


def _inner_help(problem: YamlProblem) -> str:
    if problem.kind is ProblemKind.SECOND_DOCUMENT:
        return "remove the `---` and what follows it"
    if problem.kind is ProblemKind.TOO_LONG:
        return "leave out what is not configuration; Kaito's own templates have about 2,500 characters"
    if problem.kind is ProblemKind.VALUE:
        return "Kaito's runtime reads this text with PyYAML's `safe_load`, which stops here"
    return "Kaito's webhook refuses a config that is not YAML"
