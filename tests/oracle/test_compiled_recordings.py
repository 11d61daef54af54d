"""What `compile` writes for a server is what Kaito's launcher and vLLM took, and nothing else is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiled_texts import compilation, inner_text, manifest_of, recorded

RELEASES = ("v0.8", "v0.9", "v0.10", "v0.11", "v0.12")
STRIDE = 16
"""Every so manieth recorded text is compiled here; `tests/soak/soak_compiled_servers.py` compiles them all."""
ARTEFACTS = json.loads((Path(__file__).parent / "serving" / "artefacts.json").read_text(encoding="utf-8"))
NOT_RUN = ("KT35", "KT74")
"""Rules on what the recording does not run: Kaito's webhook, and a GPU's memory."""


def sample(release: str, stride: int) -> list[tuple[str, dict[str, object]]]:
    return recorded(release, "serving")[::stride]


def verdicts(release: str) -> dict[str, dict[str, object]]:
    """Return what became of each compiled text; a stop that only a CPU causes is none."""
    found = dict(recorded(release, "compiled"))
    return {
        text: {"changed": {}} if any(words in str(record.get("error")) for words in ARTEFACTS["stops"]) else record
        for text, record in found.items()
    }


def unaccepted(release: str, stride: int) -> list[str]:
    """Return the texts that are written and that the real parser did not take, or was never asked about."""
    known = verdicts(release)
    made = [text for text in (inner_text(release, text) for text, _ in sample(release, stride)) if text is not None]
    return [text for text in made if "changed" not in known.get(text, {})]


def needlessly_refused(release: str, stride: int) -> list[str]:
    """Return the texts that start and that compile refuses, but for what the recording does not run."""
    starting = [text for text, record in sample(release, stride) if "stage" not in record]
    starting = [text for text in starting if not any(words in text for words in ARTEFACTS["starts"])]
    results = ((text, compilation(release, manifest_of(text))) for text in starting)
    return [
        text
        for text, result in results
        if result.is_refused and not all(one.code.startswith(NOT_RUN) for one in result.problems)
    ]


def unsettled(release: str, stride: int) -> list[str]:
    """Return the texts whose compiled form is compiled into something else."""
    made = (inner_text(release, text) for text, _ in sample(release, stride))
    return [text for text in made if text is not None and inner_text(release, text) is not None]


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_written_was_accepted_by_the_real_parser(release: str) -> None:
    assert unaccepted(release, STRIDE) == [], "record again: tests/oracle/serving/record.py --compiled"


def test_a_text_that_starts_is_not_refused() -> None:
    assert needlessly_refused("v0.12", STRIDE) == []


def test_what_was_written_stays() -> None:
    assert unsettled("v0.12", STRIDE) == []


@pytest.mark.parametrize("release", RELEASES)
def test_enough_was_recorded_to_say_so(release: str) -> None:
    assert len(recorded(release, "compiled")) >= 40
