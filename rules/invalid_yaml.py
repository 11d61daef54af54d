"""YAML that cannot be read, in the manifest or inside `training_config.yaml`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.object_faults import content_of
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile, Place
from kaitoc.compiler.manifest.training_config import DATA_KEY, read_training_config
from kaitoc.compiler.yaml.tree import ProblemKind, YamlProblem

CODE = "KT101"
NAME = "invalid-yaml"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(file: ManifestFile) -> Iterator[Fault]:
    """Yield every place at which YAML cannot be read; files that have nothing to do with Kaito are left alone."""
    if not file.concerns_kaito:
        return
    for document in file.documents:
        for problem in document.problems:
            if problem.kind is ProblemKind.SYNTAX:
                yield Fault(Place(file.source, problem.span), problem.message, help=_help(file, problem))
    for manifest in file.manifests:
        yield from _unconverted(file, manifest)
        config = read_training_config(manifest) if manifest.is_config_map else None
        if config is None:
            continue
        for problem in config.problems:
            if problem.kind is not ProblemKind.DUPLICATE_KEY:
                place = Place(file.source, problem.span, config.host.pointer, manifest.ref)
                yield Fault(place, f"training_config.yaml: {problem.message}", help=_inner_help(problem))


def _unconverted(file: ManifestFile, manifest: Manifest) -> Iterator[Fault]:
    """Yield what stops kubectl from sending an object of Kaito's, but for what a template leaves open."""
    if manifest.is_workspace or (manifest.is_config_map and manifest.field("data", DATA_KEY) is not None):
        problem = content_of(manifest).problem
        if problem is not None and not _help(file, problem):
            place = Place(file.source, problem.span, manifest.pointer, manifest.ref)
            yield Fault(place, problem.message, help="kubectl sends objects as JSON, and stops here")


def _help(file: ManifestFile, problem: YamlProblem) -> str:
    line = file.source.line_text(file.source.position(problem.span.start).line)
    if "{{" in line:
        return "this looks like a template; check what `helm template` renders instead"
    return ""


def _inner_help(problem: YamlProblem) -> str:
    if problem.kind is ProblemKind.SECOND_DOCUMENT:
        return "remove the `---` and what follows it"
    if problem.kind is ProblemKind.TOO_LONG:
        return "leave out what is not configuration; Kaito's own templates have about 2,500 characters"
    if problem.kind is ProblemKind.VALUE:
        return "Kaito's runtime reads this text with PyYAML's `safe_load`, which stops here"
    return "Kaito's webhook refuses a training config that is not YAML"
