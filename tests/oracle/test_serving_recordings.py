"""`check` is held to what Kaito's launcher and vLLM did with every recorded `inference_config.yaml`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from compiled_texts import manifest_of, recorded
from sampling import is_judged

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.kaito.vllm_options import ServingTable, serving_table
from kaitoc.compiler.kaito.vllm_parser import parse_words
from kaitoc.compiler.kaito.vllm_words import words_of
from kaitoc.rules import FILE_RULES, OBJECT_RULES, serving_rules

pytestmark = pytest.mark.slow
_Json = dict[str, Any]
FOLDER = Path(__file__).parent
RELEASES = ("v0.8", "v0.9", "v0.10", "v0.11", "v0.12")
KNOWN_MISSES = {
    "vllm:\n  config-format: mistral\n",
}
"""A refusal of a value that no schema of vLLM tells: no more than these are missed."""
ARTEFACTS = json.loads((FOLDER / "serving" / "artefacts.json").read_text(encoding="utf-8"))
_NOT_RUN = ("KT3", "KT74")
"""Rules on what the recording does not run: Kaito's webhook, and a GPU's memory."""


@dataclass
class Comparison:
    """A release's records by what `check` says of them."""

    found: int = 0
    missed: list[tuple[str, str]] = field(default_factory=list)
    false_errors: list[tuple[str, set[str]]] = field(default_factory=list)
    unnoticed: list[tuple[str, _Json]] = field(default_factory=list)


def findings_in(engine: Engine, text: str) -> list[Finding]:
    engine = engine.fresh()
    engine.library.add_source(Source("serving.yaml", manifest_of(text)))
    return engine.check(["serving.yaml"]).findings


@cache
def comparison(release: str) -> Comparison:
    rules = RuleSet(FILE_RULES, (), OBJECT_RULES, serving_rules)
    engine = Engine(rules, Overrides(kaito_version=release), SettingsFinder(isolated=True))
    compared = Comparison()
    for text, record in recorded(release, "serving"):
        if not is_judged(text) and text not in KNOWN_MISSES:
            continue
        findings = findings_in(engine, text)
        errors = {one.code for one in findings if one.severity is Severity.ERROR and not one.code.startswith(_NOT_RUN)}
        if "stage" in record and not errors:
            if not any(words in record["error"] for words in ARTEFACTS["stops"]):
                compared.missed.append((text, record["error"]))
        elif "stage" in record:
            compared.found += 1
        elif errors and not any(words in text for words in ARTEFACTS["starts"]):
            compared.false_errors.append((text, errors))
        elif "stage" not in record and not errors and _is_inverted(text, record) and not findings:
            compared.unnoticed.append((text, record))
    return compared


def _is_inverted(text: str, record: _Json) -> bool:
    """Return whether a switch that is written off was turned on."""
    return record["changed"].get("model_tag") == "False" and any(value is True for value in record["changed"].values())


@pytest.mark.parametrize("release", RELEASES)
def test_no_stop_is_missed_that_is_not_known_to_be(release: str) -> None:
    assert {text for text, _ in comparison(release).missed} - KNOWN_MISSES == set()


def test_a_miss_that_is_known_is_one() -> None:
    assert {text for release in RELEASES for text, _ in comparison(release).missed} == KNOWN_MISSES


def numbers_in(table: ServingTable, text: str) -> dict[str, float]:
    """Return what kaitoc reads as numbers in a text, by vLLM's names of the options."""
    try:
        options = yaml.safe_load(text)["vllm"]
        values = parse_words([], words_of(list(options.items())), table).values
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return {}
    named = {name.replace("-", "_"): served.value for name, served in values.items()}
    return {name: value for name, value in named.items() if type(value) in (int, float)}


@pytest.mark.parametrize("release", RELEASES)
def test_a_number_is_read_as_vllm_reads_it(release: str) -> None:
    table = serving_table(release)
    pairs = [
        (text, value, record["changed"][name])
        for text, record in recorded(release, "serving")
        if "changed" in record
        for name, value in numbers_in(table, text).items()
        if type(record["changed"].get(name)) in (int, float)
    ]

    assert len(pairs) >= 150
    assert [pair for pair in pairs if str(pair[1]) != str(pair[2])] == []


@pytest.mark.parametrize("release", RELEASES)
def test_nothing_that_starts_is_an_error(release: str) -> None:
    assert comparison(release).false_errors == []


@pytest.mark.parametrize("release", RELEASES)
def test_a_switch_that_is_turned_on_by_false_is_told(release: str) -> None:
    assert comparison(release).unnoticed == []


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_is_recorded_in_breadth(release: str) -> None:
    assert len(recorded(release, "serving")) >= 1000
