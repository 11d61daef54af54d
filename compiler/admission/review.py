"""AdmissionReview v1: what the API server asks and how it is answered (`admission.k8s.io/v1`)."""

from __future__ import annotations

import json
from typing import Any

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.records import dataclass

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
MAX_WARNING_CHARS = 256
MAX_WARNINGS_CHARS = 4096
"""The API server cuts single warnings at 256 and drops what goes beyond 4,096 characters in all."""
MAX_DEPTH = 100


class ReviewError(KaitocError):
    """A request that is no AdmissionReview; `str(error)` says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One question: may this object be created, changed or deleted? `object` is None for a deletion."""

    uid: str
    operation: str
    group: str
    kind: str
    namespace: str
    name: str
    object: dict[str, Any] | None
    old_object: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the object may pass, and why; `patch` is a JSON Patch (RFC 6902), empty for none.

    `status_code`, `message` and `refusing_codes` count only where the object is refused; `codes` are those of all
    findings.
    """

    is_allowed: bool
    message: str = ""
    status_code: int = 403
    warnings: tuple[str, ...] = ()
    patch: tuple[dict[str, Any], ...] = ()
    codes: tuple[str, ...] = ()
    refusing_codes: tuple[str, ...] = ()


def read_review(data: bytes) -> Request:
    """Return the request of an AdmissionReview in JSON or YAML; raises `ReviewError`."""
    review = _decode(data)
    if review.get("kind") != KIND or review.get("apiVersion") != API_VERSION:
        stated_kind = f"{str(review.get('apiVersion'))[:80]} {str(review.get('kind'))[:80]}"
        raise ReviewError(f"expected an AdmissionReview of {API_VERSION}, got `{printable(stated_kind)}`")
    request = _mapping(review, "request", is_required=True) or {}
    uid = _text(request, "uid")
    if not uid:
        raise ReviewError("`request.uid` is missing")
    kind = _mapping(request, "kind", is_required=True) or {}
    return Request(
        uid=uid,
        operation=_text(request, "operation"),
        group=_text(kind, "group"),
        kind=_text(kind, "kind"),
        namespace=_text(request, "namespace"),
        name=_text(request, "name"),
        object=_mapping(request, "object"),
        old_object=_mapping(request, "oldObject"),
    )


def render_answer(uid: str, answer: Answer) -> str:
    """Return an answer as AdmissionReview JSON; clients print its texts as they are, so these steer no terminal."""
    response: dict[str, Any] = {"uid": uid, "allowed": answer.is_allowed}
    if not answer.is_allowed:
        response["status"] = {
            "status": "Failure",
            "reason": "Forbidden" if answer.status_code == 403 else "InternalError",
            "code": answer.status_code,
            "message": printable(answer.message),
        }
    if answer.codes:
        # The API server writes these to its audit log, where findings at info level are told too.
        response["auditAnnotations"] = {"codes": ",".join(answer.codes)}
    if answer.warnings:
        response["warnings"] = _fitting(answer.warnings)
    if answer.patch and answer.is_allowed:
        from base64 import b64encode

        response["patchType"] = "JSONPatch"
        response["patch"] = b64encode(json.dumps(answer.patch).encode()).decode()
    return json.dumps({"apiVersion": API_VERSION, "kind": KIND, "response": response}, ensure_ascii=False)


def _decode(data: bytes) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
        review = json.loads(text) if text.lstrip().startswith("{") else _from_yaml(text)
        json.dumps(review, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except RecursionError as error:
        raise ReviewError("the review is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise ReviewError(f"the review is neither JSON nor YAML: {error}") from error
    if not isinstance(review, dict):
        raise ReviewError("the review is not an object")
    if _is_deep(review):
        raise ReviewError(f"the review is nested deeper than {MAX_DEPTH} levels")
    return review


def _from_yaml(text: str) -> object:
    from kaitoc.compiler.core.source import Source
    from kaitoc.compiler.yaml.parser import parse_documents
    from kaitoc.compiler.yaml.values import plain_value

    documents = parse_documents(Source("<review>", text))
    if len(documents) > 1 or not text.strip():
        found = f"{len(documents)} YAML documents" if text.strip() else "an empty file"
        raise ReviewError(f"expected an {KIND} of {API_VERSION}, got {found}")
    if not documents or documents[0].root is None:
        raise ValueError("expected one YAML document")
    return plain_value(documents[0].root)


def _is_deep(value: object) -> bool:
    """Return whether a value is nested beyond the bound, level by level."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def _mapping(parent: dict[str, Any], key: str, *, is_required: bool = False) -> dict[str, Any] | None:
    value = parent.get(key)
    if value is None and not is_required:
        return None
    if not isinstance(value, dict):
        raise ReviewError(f"`{key}` is {'missing' if value is None else 'not an object'}")
    return value


def _text(parent: dict[str, Any], key: str) -> str:
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReviewError(f"`{key}` is not text")
    return value


def _fitting(warnings: tuple[str, ...]) -> list[str]:
    """Return the warnings that the API server hands on, each cut to what it shows."""
    fitting: list[str] = []
    left = MAX_WARNINGS_CHARS
    for warning in map(printable, warnings):
        shown = warning if len(warning) <= MAX_WARNING_CHARS else warning[: MAX_WARNING_CHARS - 1] + "\u2026"
        left -= len(shown)
        if left < 0:
            break
        fitting.append(shown)
    return fitting
