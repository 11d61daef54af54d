"""The pool of KV blocks is the one that vLLM's own allocator makes, for every recorded cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "serving_memory"))

from pool_cases import predicted, workloads

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.catalog.releases import find_release
from kaitoc.compiler.memory.serving.workload import ServingWorkload

RECORDINGS = Path(__file__).parent / "serving_memory" / "recordings"
DIFFERENT = {"v0.8": 17, "v0.9": 9}
"""Caches that are not the same: vLLM 0.14 holds every stage of a pipeline to the whole model; 0.12 knows no automatic
length, and checks windows that the hybrid manager does not free as if it did."""
RELEASES = tuple(sorted(path.stem for path in RECORDINGS.glob("*.jsonl")))


def agrees(found: dict[str, Any], expected: dict[str, Any], workload: ServingWorkload) -> bool:
    """Return whether both are the same.

    Of a pipeline vLLM names the length of its first stage, not the tightest, and from 0.14 to 0.21 that of one group.
    """
    if "crashed" in found:
        return "crashed" in expected
    if "refused" in found and (workload.pipeline_parallel > 1 or workload.has(LibraryChange.LENGTH_BY_FIRST_GROUP)):
        return bool(found["refused"] <= expected.get("refused", -1))
    return found == expected


@pytest.mark.parametrize("release", RELEASES)
def test_blocks_lengths_and_refusals_are_vllms(release: str) -> None:
    known = find_release(release)
    assert known is not None
    recorded = [json.loads(line) for line in (RECORDINGS / f"{release}.jsonl").read_text(encoding="utf-8").splitlines()]
    wrong = [
        (workload.model.name, found, expected)
        for workload, expected in zip(workloads(known.vllm), recorded, strict=True)
        if not agrees(found := predicted(workload), expected, workload)
    ]

    assert len(wrong) == DIFFERENT.get(release, 0), wrong
