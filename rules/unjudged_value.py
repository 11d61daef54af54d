"""A value, a section or a whole manifest that is not checked because something else has yet to fill it in."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Related, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.inner_config import config_field
from kaitoc.compiler.manifest.inner_configs import inner_configs
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile, Place
from kaitoc.compiler.manifest.recognition import DATA_KEY, SERVING_DATA_KEY
from kaitoc.compiler.manifest.serving_objects import serving_views
from kaitoc.compiler.manifest.unknown_places import is_encrypted, may_hold_unknown, unknown_places
from kaitoc.compiler.yaml.placeholders import is_sealed, shortened
from kaitoc.compiler.yaml.tree import Scalar

CODE = "KT107"
NAME = "unjudged-value"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"

_MAX_RELATED = 10


def check(file: ManifestFile) -> Iterator[Fault]:
    """Yield one fault for all of a file that is not judged: at the template, else at the first value."""
    template = next(_templates(file), None)
    if template is not None:
        yield Fault(
            template,
            "this is a template: values that it leaves open are not checked",
            help="check what it renders: `helm template . | kaitoc check -`",
        )
        return
    if not may_hold_unknown(file):
        return
    unknown = [found for manifest in file.manifests if _is_subject(file, manifest) for found in _unknown(manifest)]
    if unknown:
        yield _fault(sorted(unknown, key=lambda found: found[0].span))


def _templates(file: ManifestFile) -> Iterator[Place]:
    """Yield where a template engine's actions keep YAML from being read."""
    for _, action in file.templates():
        if file.concerns_kaito:
            yield Place(file.source, action)
    for manifest in file.config_maps:
        for config in inner_configs(manifest):
            if config.is_template:
                yield Place(file.source, config.problems[0].span, config.host.pointer, manifest.ref)


def _is_subject(file: ManifestFile, manifest: Manifest) -> bool:
    """Return whether an object is Kaito's, or may be by what it hides."""
    if manifest.is_tuning_workspace or serving_views(manifest) or manifest in file.config_maps:
        return True
    fields = [config_field(manifest, key) for key in (DATA_KEY, SERVING_DATA_KEY)]
    return any(field is not None and isinstance(field.node, Scalar) and field.node.placeholder for field in fields)


def _unknown(manifest: Manifest) -> list[tuple[Place, str]]:
    found = list(unknown_places(manifest))
    sops = manifest.field("sops") if is_encrypted(manifest) and not found else None
    return [(sops.key, "ENC[")] if sops is not None else found


def _fault(unknown: list[tuple[Place, str]]) -> Fault:
    place, first = unknown[0]
    others = unknown[1:]
    count = f" and {len(others)} more" if others else ""
    shared = tuple(
        Related(f"`{shortened(placeholder)}` stands here", other.source, other.span)
        for other, placeholder in others[:_MAX_RELATED]
    )
    if is_sealed(first):
        message = f"encrypted{count}: not checked"
        help_text = "check the decrypted manifest, as in `sops -d FILE | kaitoc check -`"
        return Fault(place, message, help=help_text, related=shared)
    message = f"`{shortened(first)}`{count}: placeholders are not checked until they are filled in"
    help_text = "check the manifest after substitution, as in `envsubst < FILE | kaitoc check -`"
    return Fault(place, message, help=help_text, related=shared)
