"""Suites of reviews with the answers they should get: a folder with `review.yaml` and `expected.yaml` is a case.

Objects of the cluster that a case needs lie in its `partners/`; a case without that folder knows of no other object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import yaml

from kaitoc.compiler.admission.answer import answer, surroundings_of
from kaitoc.compiler.admission.partners import FolderPartners, NoPartners
from kaitoc.compiler.admission.policy import Policy
from kaitoc.compiler.admission.review import Answer, read_review
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source

REVIEW = "review.yaml"
EXPECTED = "expected.yaml"
PARTNERS = "partners"
_KEYS = frozenset({"allowed", "codes", "status", "patched", "mutate", "strict"})


class SuiteError(KaitocError):
    """A suite that cannot be read; `str(error)` says why."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case should be answered; None where it does not say. `mutate` and `strict` are how it is asked."""

    is_allowed: bool
    codes: tuple[str, ...] | None = None
    status_code: int | None = None
    is_patched: bool | None = None
    mutate: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One folder of a suite."""

    name: str
    folder: str
    expected: Expected


def read_suite(folder: str) -> list[Case]:
    """Return the cases at and below a folder, by name; raises `SuiteError` when there is none or one is malformed."""
    cases = []
    for here, _, names in os.walk(folder):
        if REVIEW in names:
            name = os.path.relpath(here, folder)
            cases.append(Case(name if name != "." else os.path.basename(os.path.abspath(here)), here, _expected(here)))
    if not cases:
        raise SuiteError(f"{folder}: no folder with a `{REVIEW}` in it")
    return sorted(cases, key=lambda case: case.name)


def differences(case: Case, policy: Policy) -> Iterator[str]:
    """Yield how the answer to a case differs from what was expected; raises `KaitocError` for a malformed review."""
    actual = _answer(case, policy)
    wanted = case.expected
    if actual.is_allowed != wanted.is_allowed:
        yield f"expected {_verdict(wanted.is_allowed)}, got {_verdict(actual.is_allowed)}"
    if wanted.codes is not None and set(wanted.codes) != set(actual.codes):
        yield f"expected the codes {_listed(wanted.codes)}, got {_listed(actual.codes)}"
    if wanted.status_code is not None and not actual.is_allowed and actual.status_code != wanted.status_code:
        yield f"expected the status {wanted.status_code}, got {actual.status_code}"
    if wanted.is_patched is not None and wanted.is_patched != bool(actual.patch):
        yield f"expected {'a' if wanted.is_patched else 'no'} patch, got {'one' if actual.patch else 'none'}"


def _answer(case: Case, policy: Policy) -> Answer:
    request = read_review(Source.read(os.path.join(case.folder, REVIEW)).text.encode())
    partners_folder = os.path.join(case.folder, PARTNERS)
    partners = FolderPartners([partners_folder]) if os.path.isdir(partners_folder) else NoPartners()
    asked = replace(
        policy,
        is_strict=policy.is_strict or case.expected.strict,
        mutates=policy.mutates or case.expected.mutate,
    )
    return answer(request, asked, surroundings_of(request, partners))


def _expected(folder: str) -> Expected:
    path = os.path.join(folder, EXPECTED)
    try:
        content = yaml.safe_load(Source.read(path).text)
    except (yaml.YAMLError, RecursionError) as error:
        raise SuiteError(f"{path}: is not YAML") from error
    if not isinstance(content, dict) or not isinstance(content.get("allowed"), bool):
        raise SuiteError(f"{path}: must say `allowed: true` or `allowed: false`")
    unknown = sorted(str(key) for key in content.keys() - _KEYS)
    if unknown:
        raise SuiteError(f"{path}: `{unknown[0]}` is not one of {', '.join(sorted(_KEYS))}")
    codes = content.get("codes")
    if codes is not None and not (isinstance(codes, list) and all(isinstance(code, str) for code in codes)):
        raise SuiteError(f"{path}: `codes` must be a list of rule codes")
    return Expected(
        content["allowed"],
        tuple(codes) if codes is not None else None,
        content.get("status"),
        content.get("patched"),
        content.get("mutate") is True,
        content.get("strict") is True,
    )


def _verdict(is_allowed: bool) -> str:
    return "allowed" if is_allowed else "refused"


def _listed(codes: tuple[str, ...]) -> str:
    return ", ".join(sorted(codes)) or "none"
