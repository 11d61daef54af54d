"""URLs and image references are judged as Kaito's webhook judges them, by the recording in `tests/oracle/webhook`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaitoc.compiler.kaito.data_url import url_refusal
from kaitoc.compiler.kaito.image_reference import image_refusal
from kaitoc.rules.invalid_image_reference import HELPS

ORACLE = Path(__file__).resolve().parents[1] / "oracle" / "webhook"
REASONS = {
    "invalid data source URL": "invalid",
    "data source URL must use HTTP or HTTPS": "scheme",
    "data source URL must not target a local or metadata endpoint": "local host",
    "data source URL must not target a loopback, private, or link-local address": "private address",
}


def recorded(name: str) -> dict[str, str | None]:
    rows = map(json.loads, (ORACLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["text"]: row["refused"] for row in rows}


def test_urls_are_refused_for_the_reasons_that_the_webhook_names() -> None:
    said = recorded("urls")

    wanted = {url: REASONS[reason] if reason is not None else None for url, reason in said.items()}
    assert {url: url_refusal(url) for url in said} == wanted
    assert set(wanted.values()) == {*REASONS.values(), None}


def test_image_references_are_refused_where_the_webhook_refuses_them() -> None:
    said = recorded("image_references")

    assert [text for text in said if (image_refusal(text) is None) != (said[text] is None)] == []
    assert {image_refusal(text) for text in said} == {*HELPS, None}


@pytest.mark.parametrize("text", ["http://" + "[" * 100_000, "http://" + "a." * 100_000, "a" * 500_000, "a-" * 200_000])
def test_long_texts_are_judged_at_once(text: str) -> None:
    url_refusal(text)
    image_refusal(text)
