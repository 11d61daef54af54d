"""Answers AdmissionReviews, for the command line, the webhook and programs."""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.admission.answer import answer, surroundings_of
from kaitoc.compiler.admission.partners import FolderPartners, NoPartners, Partners, RelatedObjects
from kaitoc.compiler.admission.policy import Policy, PolicyOptions, policy_of
from kaitoc.compiler.admission.review import Answer, Request, read_review
from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.assumptions import NOTHING_STATED, Overrides


@dataclass(frozen=True, slots=True)
class Judged:
    """A request and its answer."""

    request: Request
    answer: Answer


def admit(
    review: str | bytes,
    *,
    partners: Iterable[str] = (),
    assume: Overrides = NOTHING_STATED,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    isolated: bool = False,
    strict: bool = False,
    allow_suppressions: bool = False,
    mutate: bool = False,
) -> Answer:
    """Answer an AdmissionReview v1 in JSON or YAML, as `kaitoc admit` does.

    `partners` are files and folders with the other objects of the cluster; `mutate` adds a patch of the safe fixes.
    Raises `ReviewError` for what is no AdmissionReview, and what `check` raises for wrong options.
    """
    engine = EngineOptions(assume, tuple(select), tuple(ignore), isolated)
    policy = policy_of(PolicyOptions(engine, strict, allow_suppressions), mutates=mutate)
    data = review.encode("utf-8", "surrogatepass") if isinstance(review, str) else review
    return judge(data, policy, partners_in(tuple(partners))).answer


def partners_in(paths: tuple[str, ...]) -> Partners:
    """Return the objects in files and folders, none without any; raises `SourceError` for a path that is not there."""
    return FolderPartners(paths) if paths else NoPartners()


def judge(data: bytes, policy: Policy, partners: Partners) -> Judged:
    """Return the request of a review and its answer; raises `ReviewError`."""
    request = read_review(data)
    return Judged(request, answer(request, policy, surroundings_of(request, partners)))


def judge_among(data: bytes, policy: Policy, surroundings: RelatedObjects) -> Answer:
    """Return the answer to a review whose partners are at hand; raises `ReviewError`."""
    return answer(read_review(data), policy, surroundings)
