"""What `check` says on standard error of files and objects that it does not judge."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.serving_objects import serving_views


def note_of_patch(file: ManifestFile) -> str:
    """Note that a kustomization applies this file as a patch, which is not checked on its own."""
    return f"{file.source.path}: a kustomize patch, not checked on its own; check the output of `kustomize build`"


def note_of_unjudged(file: ManifestFile) -> str:
    """Note Kaito objects in a file that are not checked, or that the file was skipped; empty when all were checked."""
    unjudged = list(_unjudged(file))
    if unjudged:
        line = file.source.position(unjudged[0].place.span.start).line
        names = ", ".join(f"{manifest.ref.kind} `{manifest.ref.name}`" for manifest in unjudged)
        return f"{file.source.path}:{line}: not checked: {names} (kaitoc checks objects that tune or serve a model)"
    return "" if file.concerns_kaito else _note_of_broken(file)


def _unjudged(file: ManifestFile) -> Iterator[Manifest]:
    for manifest in file.manifests:
        if manifest.is_kaitos and not manifest.is_workspace and not serving_views(manifest):
            yield manifest


def _note_of_broken(file: ManifestFile) -> str:
    broken = next((document for document, _ in file.unreadable_documents()), None)
    if broken is None:
        return ""
    problem = broken.problems[0]
    line = file.source.position(problem.span.start).line
    if any(document is broken for document, _ in file.templates()):
        return f"{file.source.path}:{line}: skipped: a template; check the output of `helm template`"
    return f"{file.source.path}:{line}: skipped: invalid YAML ({problem.message})"
