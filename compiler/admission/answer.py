"""Admission: the engine's findings on one object as an answer to the API server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kaitoc.compiler.admission.objects import content_of, path_of, source_of
from kaitoc.compiler.admission.partners import Partners, RelatedObjects
from kaitoc.compiler.admission.patch import patch_between
from kaitoc.compiler.admission.policy import Policy
from kaitoc.compiler.admission.review import Answer, Request
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.fix_rounds import fix_until_stable
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.core.findings import Applicability, Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.faults import to_finding
from kaitoc.compiler.manifest.object_schemas import SERVING_KINDS
from kaitoc.compiler.manifest.objects import WORKSPACE_VERSIONS, Manifest
from kaitoc.compiler.manifest.plan_objects import PLAN_GROUPS, plan_name
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.manifest.recognition import DATA_KEY, KAITO_API_GROUP, PLAN_LABEL, SERVING_DATA_KEY
from kaitoc.compiler.manifest.serving_objects import config_names_in
from kaitoc.compiler.yaml.placeholders import UnknownValueError

_ALWAYS_REFUSED = frozenset({"trusted-remote-code", "missing-config-map", "missing-serving-config-map"})
_NEEDS_PARTNERS = frozenset(("missing-config-map", "missing-serving-config-map", "missing-plan"))
_MAX_TOLD = 10
_MAX_VALUES = 10_000
"""A tuning Workspace has about 50 values; 500,000 URLs in one would keep a judge busy for a minute."""
_JUDGED = frozenset({"CREATE", "UPDATE"})


def surroundings_of(request: Request, partners: Partners) -> RelatedObjects:
    """Collect the objects that affect a verdict: an object's ConfigMap, or the objects that name a ConfigMap."""
    content = _judged_content(request)
    metadata = content.get("metadata") if content is not None else None
    if content is None or not isinstance(metadata, dict):
        return RelatedObjects(is_complete=partners.is_complete)
    namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
    if request.kind == "ConfigMap":
        return RelatedObjects(tuple(partners.users_of(namespace, name)), partners.is_complete)
    config_maps = (partners.config_map(namespace, config) for config in _names_of_partners(request, content))
    return RelatedObjects(tuple(found for found in config_maps if found is not None), partners.is_complete)


def _names_of_partners(request: Request, content: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the ConfigMaps that an object is judged with."""
    if request.group == KAITO_API_GROUP:
        return config_names_in(content)
    if _is_oversized(content):
        return ()
    manifests = read_manifests(source_of(path_of(request.kind, request.namespace, request.name), content)).manifests
    try:
        named = [plan_name(manifest) for manifest in manifests]
        return tuple(name.text for name in named if name is not None and name.text)
    except UnknownValueError:
        return ()


def answer(request: Request, policy: Policy, surroundings: RelatedObjects) -> Answer:
    """Return whether an object may pass.

    Other kinds, deletions and objects on their way out pass without a word; an update of
    metadata and status alone passes with what is wrong as warnings: it is not what brought the fault in, and to refuse
    it would stop the controllers that own them.
    """
    content = _judged_content(request)
    if content is None:
        return Answer(is_allowed=True)
    if not _is_known_version(request, content):
        return _of_unknown_version(content)
    is_as_stored = _is_as_stored(request)
    if _is_oversized(content):
        return _without_judging(content, tolerates=is_as_stored)
    path = path_of(request.kind, request.namespace, request.name)
    source = source_of(path, content)
    engine = policy.engine.fresh()
    engine.library.add_source(source)
    manifests = engine.library.load(path).manifests
    for file in surroundings.files:
        engine.library.add_read(file)
    outcome = engine.check([path])
    if policy.mutates:
        return Answer(is_allowed=True) if is_as_stored else _mended(content, source, engine, outcome)
    findings = [finding for finding in outcome.findings if surroundings.is_complete or not _needs_partners(finding)]
    findings += _update_findings(request, manifests, policy)
    return _verdict(findings, outcome, policy, tolerates=is_as_stored)


def _mended(content: dict[str, Any], source: Source, engine: Engine, outcome: Outcome) -> Answer:
    """Return the patch of the safe fixes and what it changes as warnings.

    The object passes whatever is left: other webhooks and Kaito's own defaults may still change it, and `/validate`
    judges it as it will be stored.
    """
    fixed = fix_until_stable(engine, outcome, Applicability.SAFE)
    patch = _patch(content, source, fixed.texts)
    remaining = fixed.remaining.findings
    codes = _codes_of(remaining)
    if not patch:
        return Answer(is_allowed=True, codes=codes)
    left = {(finding.code, finding.pointer) for finding in remaining}
    mended = [f for f in sorted(outcome.findings, key=lambda f: f.sort_key) if (f.code, f.pointer) not in left]
    warnings = tuple(f"kaitoc changed this object: {_told(finding)}" for finding in mended)
    return Answer(is_allowed=True, warnings=warnings, patch=patch, codes=codes)


def _judged_content(request: Request) -> dict[str, Any] | None:
    """Return the object to judge, None where there is nothing to say."""
    if request.object is None or request.operation not in _JUDGED or not _concerns_kaito(request):
        return None
    return None if _is_going(request.object) else _complete(request.object, request)


def _is_known_version(request: Request, content: dict[str, Any]) -> bool:
    """Return whether an object is of a version that its Kaito serves, as far as is known here."""
    version = str(content.get("apiVersion") or "").rpartition("/")[2]
    return request.kind != "Workspace" or not version or version in WORKSPACE_VERSIONS


def _of_unknown_version(content: dict[str, Any]) -> Answer:
    """Return the answer to a version that the API server knows and kaitoc does not: nothing is judged by half."""
    message = f"`{content['apiVersion']}` is newer than this kaitoc, which cannot check it; update kaitoc"
    return Answer(is_allowed=True, warnings=(message,))


def _is_oversized(content: dict[str, Any]) -> bool:
    """Return whether an object has more values than are judged, lists and mappings counted with what is in them."""
    num_values = 0
    waiting: list[object] = [content]
    while waiting and num_values <= _MAX_VALUES:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            num_values += len(value)
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return num_values > _MAX_VALUES


def _without_judging(content: dict[str, Any], *, tolerates: bool) -> Answer:
    """Return the answer to an object that is too large: what has nothing to do with Kaito passes without a word."""
    data = content.get("data")
    has_config = isinstance(data, dict) and (DATA_KEY in data or SERVING_DATA_KEY in data)
    if not has_config and not str(content.get("apiVersion", "")).startswith(f"{KAITO_API_GROUP}/"):
        return Answer(is_allowed=True)
    message = f"more than {_MAX_VALUES:,} values, more than any Kaito object has; it is not checked"
    return Answer(is_allowed=tolerates, message=message, warnings=(message,) if tolerates else ())


def _is_going(content: dict[str, Any]) -> bool:
    """Return whether an object is being deleted: to refuse the update that takes its finalizer away would keep it."""
    metadata = content.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("deletionTimestamp"))


def _is_as_stored(request: Request) -> bool:
    """Return whether an update leaves an object as it is, but for its metadata and status."""
    if request.operation != "UPDATE" or request.object is None or request.old_object is None:
        return False
    now, before = ({key: value for key, value in content.items() if key not in ("metadata", "status")}
                   for content in (request.object, request.old_object))  # fmt: skip
    return now == before


def _concerns_kaito(request: Request) -> bool:
    is_kaitos = request.group == KAITO_API_GROUP and request.kind in ("Workspace", *SERVING_KINDS)
    return is_kaitos or (request.group == "" and request.kind == "ConfigMap") or _runs_plan(request)


def _runs_plan(request: Request) -> bool:
    """Return whether an object of another engine runs a plan, by its label."""
    if request.object is None or PLAN_GROUPS.get(request.kind) != request.group:
        return False
    metadata = request.object.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return isinstance(labels, dict) and bool(labels.get(PLAN_LABEL))


def _complete(content: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return the object with the namespace and name of the request, where it does not state them itself."""
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        return content
    known = {"name": request.name, "namespace": request.namespace}
    missing = {key: value for key, value in known.items() if value and not metadata.get(key)}
    return {**content, "metadata": {**metadata, **missing}} if missing else content


def _patch(content: dict[str, Any], source: Source, texts: dict[Source, str]) -> tuple[dict[str, Any], ...]:
    """Return the patch for the object under review; its partners are not ours to change."""
    text = next((text for changed, text in texts.items() if changed.path == source.path), None)
    return () if text is None else tuple(patch_between(content, content_of(Source(source.path, text))))


def _update_findings(request: Request, manifests: Sequence[Manifest], policy: Policy) -> Iterator[Finding]:
    if request.operation != "UPDATE" or request.old_object is None:
        return
    old_source = source_of("<before>", _complete(request.old_object, request))
    settings = policy.engine.settings_for(".")
    for before, after in zip(read_manifests(old_source).manifests, manifests, strict=False):
        for rule in policy.update_rules:
            if not settings.runs(rule.CODE, rule.NAME):
                continue
            for fault in rule.check(before, after):
                finding = settings.apply(to_finding(rule, fault))
                if finding is not None:
                    yield finding


def _verdict(findings: list[Finding], outcome: Outcome, policy: Policy, *, tolerates: bool) -> Answer:
    """Return the answer to what was found; where it is tolerated, what would refuse the object only warns."""
    findings.sort(key=lambda finding: finding.sort_key)
    refusing = [finding for finding in findings if _refuses(finding, policy)]
    codes, refusing_codes = _codes_of(findings), _codes_of(refusing)
    warnings = tuple(_told(f) for f in findings if f.severity is Severity.WARNING and not _refuses(f, policy))
    complaints = [*map(str, outcome.errors), *(_told(finding) for finding in refusing)]
    shown = complaints[:_MAX_TOLD]
    if len(complaints) > len(shown):
        shown.append(f"and {len(complaints) - len(shown)} more")
    if tolerates or not complaints:
        return Answer(is_allowed=True, warnings=(*shown, *warnings), codes=codes)
    message = "; ".join(shown)
    return Answer(is_allowed=False, message=message, warnings=warnings, codes=codes, refusing_codes=refusing_codes)


def _codes_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(sorted({finding.code for finding in findings}))


def _refuses(finding: Finding, policy: Policy) -> bool:
    if finding.severity is Severity.ERROR or finding.name in _ALWAYS_REFUSED:
        return True
    return policy.is_strict and finding.severity is Severity.WARNING


def _told(finding: Finding) -> str:
    place = f" (at {finding.pointer})" if finding.pointer else ""
    message = "the ConfigMap that it references does not exist" if _needs_partners(finding) else finding.message
    return f"{finding.code} {message}{place}"


def _needs_partners(finding: Finding) -> bool:
    """Return whether a finding holds only where all other objects are known; an error is one whatever there is."""
    return finding.name in _NEEDS_PARTNERS and finding.severity is not Severity.ERROR
