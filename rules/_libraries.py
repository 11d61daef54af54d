"""Facts of a release's libraries (`schemas/libraries`): schedulers, optimizers, reporters, nested arguments."""

from __future__ import annotations

import os
from functools import lru_cache

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.catalog.releases import Release, all_releases, find_release
from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job
from kaitoc.rules._templates import TemplateLanguage
from kaitoc.schemas import ROOT, read_json


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The keyword arguments of a scheduler: all, the required, those of which one is needed, pairs of which only one
    may be given, and those that cannot be null.
    """

    takes: tuple[str, ...]
    requires: tuple[str, ...]
    needs_one_of: tuple[str, ...]
    excludes: tuple[tuple[str, ...], ...]
    refuses_null: tuple[str, ...]
    ignores_kwargs: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that a constructor takes; None is no bound."""

    low: float | None
    is_low_taken: bool
    high: float | None
    is_high_taken: bool

    def take(self, value: float) -> bool:
        """Return whether a number is within; a NaN is within none."""
        is_above = self.low is None or value > self.low or (self.is_low_taken and value == self.low)
        is_below = self.high is None or value < self.high or (self.is_high_taken and value == self.high)
        return is_above and is_below

    @property
    def text(self) -> str:
        """Return the bounds in words."""
        low = "" if self.low is None else f"{'at least' if self.is_low_taken else 'above'} {self.low:g}"
        high = "" if self.high is None else f"{'at most' if self.is_high_taken else 'below'} {self.high:g}"
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """A word of `optim`: why it cannot be built in Kaito's image (empty where it can), and what it takes."""

    refusal: str
    ranges: dict[str, Bounds]


@dataclass(frozen=True, slots=True)
class Libraries:
    """The facts of one release."""

    schedulers: dict[str, Scheduler]
    optimizers: dict[str, Optimizer]
    reporters: dict[str, str]
    nested: dict[str, tuple[str, ...]]
    training_templates: tuple[str, ...]
    template_language: TemplateLanguage

    def has_training_template(self, template: str) -> bool:
        """Return whether TRL has a variant of a chat template that marks the assistant's turns."""
        import hashlib  # only templates need it

        return hashlib.sha256(template.encode("utf-8", "replace")).hexdigest()[:16] in self.training_templates


def libraries_of(job: Job) -> Libraries:
    """Return the facts of the libraries in a job's image."""
    return libraries(job.release.name)


@lru_cache(maxsize=4)
def libraries(release: str) -> Libraries:
    """Return the facts of a release, of which like ones share a file; raises `CatalogError` for one without."""
    data = read_json(f"libraries/{_recorded(release)}")
    return Libraries(
        {name: _scheduler(row) for name, row in data["schedulers"].items()},
        {name: _optimizer(row) for name, row in data["optimizers"].items()},
        {name: row.get("refusal", "") for name, row in data["reporters"].items()},
        {name: tuple(keys) for name, keys in data["nested"].items()},
        tuple(data["training_templates"].values()),
        TemplateLanguage(frozenset(data["templates"]["filters"]), frozenset(data["templates"]["tests"])),
    )


def _recorded(release: str) -> str:
    """Return the release of whose file the facts are: its own, or one with libraries of the same minor versions."""
    if _has_file(release):
        return release
    own = find_release(release)
    alike = (one.name for one in all_releases() if own is not None and _minors(one) == _minors(own))
    found = next((name for name in alike if _has_file(name)), None)
    if found is None:
        raise CatalogError(
            f"schemas/libraries/{release}.json is missing: write it with "
            f"`python -m kaitoc.schemas.generate.libraries {release}`"
        )
    return found


def _has_file(release: str) -> bool:
    return os.path.exists(os.path.join(ROOT, "libraries", f"{release}.json"))


def _minors(release: Release) -> tuple[tuple[int, ...], ...]:
    versions = (release.transformers, release.accelerate, release.bitsandbytes, release.trl)
    return tuple(version_number(version)[:2] for version in versions)


def _scheduler(row: dict[str, Any]) -> Scheduler:
    return Scheduler(
        tuple(row["takes"]),
        tuple(row.get("requires", ())),
        tuple(row.get("needs_one_of", ())),
        tuple(tuple(pair) for pair in row.get("excludes", ())),
        tuple(row.get("refuses_null", ())),
        row.get("ignores_kwargs", False),
    )


def _optimizer(row: dict[str, Any]) -> Optimizer:
    return Optimizer(row.get("refusal", ""), {key: _bounds(found) for key, found in row.get("ranges", {}).items()})


def _bounds(row: dict[str, float]) -> Bounds:
    return Bounds(
        row.get("at_least", row.get("above")), "at_least" in row, row.get("at_most", row.get("below")), "at_most" in row
    )
