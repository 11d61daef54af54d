"""Which releases' vLLM has an option."""

from __future__ import annotations

from itertools import pairwise

from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.kaito.vllm_options import serving_table
from kaitoc.schemas import read_json


def releases_with(name: str) -> tuple[str, ...]:
    """Return the releases whose vLLM has an option, oldest first."""
    return tuple(release.name for release in all_releases() if _has(release.name, name))


def first_release_without(name: str, release: str) -> str:
    """Return the first release up to one that dropped an option which the release before had, empty if none did."""
    number = version_number(release)
    names = [one.name for one in all_releases() if one.number <= number]
    for before, after in pairwise(names):
        if _has(before, name) and not _has(after, name):
            return after
    return ""


def is_gone_before(name: str) -> bool:
    """Return whether older vLLM had an option that no known release has."""
    return name in read_json("inference_config/engine")["gone_before"]


def _has(release: str, name: str) -> bool:
    return serving_table(release).named_by(f"--{name}") is not None
