"""What a check holds does not grow with what it finds, and what is put away comes back as it was."""

from __future__ import annotations

import errno
import gc
import json
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.check.outcome import FileOutcome
from kaitoc.compiler.check.rule_pages import rule_infos
from kaitoc.compiler.core.spool import MAX_HELD_BYTES, Spool, SpoolError
from kaitoc.compiler.job import file_store
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.report import FORMATS, render
from kaitoc.compiler.report.json_pieces import filled, item
from kaitoc.compiler.report.ledger import Ledger, Ledgers, Wanted
from kaitoc.compiler.report.model import Report
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES, RULES

CONFIG_MAP = (
    """apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning-{number}
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtpe: bfloat16
      LoraConfig:
        r: 8
        lora_alpah: 8
"""
    + f"# {'what a finding would keep alive ' * 3}\n" * 20
)
NUM_CACHED_FILES, FEW, MANY = 32, 60, 150
MAX_BYTES_PER_FILE = 1000
"""Allowed per file: its path, its objects' names and the place of its record, some 240 in all.

A file's tree takes 2,000, findings and what they keep alive 6,000.
"""


def engine() -> Engine:
    return Engine(RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES), Overrides(), SettingsFinder(isolated=True))


WANTED = Wanted((("text", False), ("json", False)), rule_codes=tuple(rule.CODE for rule in RULES))


def checked(paths: list[str], *formats: str) -> Ledgers:
    wanted = Wanted(tuple((name, False) for name in formats), rule_codes=tuple(rule.CODE for rule in RULES))
    ledger = Ledger(paths, wanted, None)
    checker = engine()
    checker.check_rest(paths, checker.read_each(paths, ledger.keep), ledger.keep)
    return Ledgers([ledger], wanted, rule_infos)


def write_files(folder: Path, count: int) -> list[str]:
    paths = [folder / f"m{number:04}.yaml" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(CONFIG_MAP.format(number=number))
    return [str(path) for path in paths]


def held_bytes(paths: list[str], leak: list[FileOutcome] | None = None) -> int:
    """What is alive once files were checked and a report is written: a peak would count what is dropped at once."""
    ledger, checker = Ledger(paths, WANTED, None, on_disk=True), engine()  # what is put away is not held

    def keep(number: int, outcome: FileOutcome) -> None:
        ledger.keep(number, outcome)
        if leak is not None:
            leak.append(outcome)

    checker.check_rest(paths, checker.read_each(paths, keep), keep)
    ledgers = Ledgers([ledger], WANTED, rule_infos)
    texts = ledgers.file_texts("json", False)
    assert sum(map(len, texts)) > 1000 * len(paths)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    ledgers.close()
    return held


class Held(NamedTuple):
    """Bytes held after few and many files, and after few whose findings somebody keeps."""

    few: int
    many: int
    few_kept: int


def measure(paths: list[str]) -> Held:
    """Measure in a process that did nothing else, once all is loaded that a check loads."""
    file_store._CACHED_CHARACTERS = NUM_CACHED_FILES * file_store._LEAST_CHARACTERS
    held_bytes(paths[:NUM_CACHED_FILES])
    tracemalloc.start()
    return Held(held_bytes(paths[:FEW]), held_bytes(paths), held_bytes(paths[:FEW], []))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """What a fresh process holds: in this one other tests have filled caches, and leave what is freed meanwhile."""
    paths = write_files(tmp_path_factory.mktemp("held"), MANY)
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, paths).result()


@pytest.mark.slow
def test_memory_does_not_grow_with_findings(held: Held) -> None:
    assert (held.many - held.few) / (MANY - FEW) < MAX_BYTES_PER_FILE


@pytest.mark.slow
def test_findings_that_are_kept_are_seen_in_memory(held: Held) -> None:
    assert (held.few_kept - held.few) / FEW > MAX_BYTES_PER_FILE


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_report_from_a_ledger_is_the_report_of_everything_at_once(format_name: str, tmp_path: Path) -> None:
    paths = write_files(tmp_path, 3)
    outcome = engine().check(paths)
    at_once = Report(tuple(outcome.findings), tuple(outcome.jobs), rule_infos, tuple(outcome.files))
    ledgers = checked(paths, format_name)
    assert render(ledgers, format_name) == render(at_once, format_name)
    ledgers.close()


def test_files_out_of_order_are_reported_in_order(tmp_path: Path) -> None:
    paths = write_files(tmp_path, 3)
    one, other = checked(paths, "concise"), checked(paths[::-1], "concise")
    assert render(one, "concise") == render(other, "concise")
    one.close()
    other.close()


@given(st.lists(st.text(), max_size=5))
def test_a_spool_returns_what_was_put_away(texts: list[str]) -> None:
    spool = Spool()
    places = [spool.append((text, len(text))) for text in texts]
    assert [spool.read(place) for place in places] == [(text, len(text)) for text in texts]
    spool.close()


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_is_put_away_after_reading_overwrites_nothing(on_disk: bool) -> None:
    spool = Spool(on_disk=on_disk)
    places = [spool.append("first"), spool.append("second")]
    assert spool.read(places[0]) == "first"
    places.append(spool.append("third"))
    assert [spool.read(place) for place in places] == ["first", "second", "third"]
    spool.close()


def test_a_spool_moves_to_disk_once_it_is_long() -> None:
    spool = Spool()
    places = [spool.append(str(number) * (MAX_HELD_BYTES // 3)) for number in range(5)]
    assert [spool.read(place)[0] for place in places] == list("01234")
    spool.close()


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.open", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(SpoolError, match=r"No space left on device.*TMPDIR"):
        Spool(on_disk=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
)


@given(st.lists(JSON, max_size=4))
def test_json_in_pieces_is_json_at_once(values: list[Any]) -> None:
    skeleton = json.dumps({"before": 1, "items": [], "after": {}}, indent=2)
    text = "".join(filled(skeleton, [('"items": ', 2, (item(value, 2) for value in values))]))
    assert text == json.dumps({"before": 1, "items": values, "after": {}}, indent=2) + "\n"
