"""Where packed documents see each other is what TRL and transformers did with each architecture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaitoc.compiler.catalog.packing import is_known_to_leak

RECORDED = [
    json.loads(line)
    for line in (Path(__file__).parent / "recordings" / "packing.jsonl").read_text(encoding="utf-8").splitlines()
]
RUN = [record for record in RECORDED if "refused" not in record]


@pytest.mark.parametrize("record", RUN, ids="{0[trl]}-{0[architecture]}-{0[attention]}".format)
def test_packed_documents_see_each_other_where_the_catalog_says_so(record: dict[str, str]) -> None:
    leaks = is_known_to_leak(record["model_type"], record["attention"])

    assert record["packed"] == ("leaks" if leaks else "apart")
    assert record["wrapped"] == "leaks"


def test_each_architecture_was_run_with_the_libraries_of_each_release() -> None:
    ran = {(record["transformers"], record["architecture"]) for record in RUN}

    assert len(ran) == 3 * 26
