"""The report of a run: numbers as text, JSON and a page."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.runtime.observe.curves import curve
from kaitoc.runtime.observe.ranks import largest_batch
from kaitoc.runtime.observe.report import RunReport, Sample
from kaitoc.runtime.observe.report_html import render

pytestmark = pytest.mark.runtime
LOGS = [{"step": step, "loss": 4.0 - step / 10, "learning_rate": 1e-3} for step in range(1, 11)]


def report() -> RunReport:
    return RunReport(
        device="cpu",
        num_steps=10,
        num_examples=40,
        num_truncated=1,
        num_skipped=0,
        num_trainable_parameters=1234,
        trainable_by_module={"qkv_proj": 1234},
        first_loss=4.0,
        last_loss=3.0,
        seconds=2.0,
        tokens_per_second=1000.0,
        predicted_allocated_bytes=9 << 20,
        measured_allocated_bytes=8 << 20,
        predicted_reserved_bytes=None,
        measured_reserved_bytes=None,
        predicted_device_bytes=None,
        measured_device_bytes=None,
        adapter_folder="results/<b>/adapter",
    )


class Tags(HTMLParser):
    """Collects tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_the_table_and_a_curve_of_each_metric_that_was_logged() -> None:
    page = Tags(render("tune", report(), LOGS))

    assert page.tags.count("svg") == 2
    assert "4.000 -> 3.000" in page.words
    assert "results/<b>/adapter" in page.words
    assert "1,234" in page.words


def test_names_from_a_manifest_are_text_in_the_page() -> None:
    page = Tags(render("<script>alert(1)</script>", report(), LOGS))

    assert "script" not in page.tags


def test_the_page_loads_nothing() -> None:
    page = render("tune", report(), LOGS)

    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_curve_runs_from_the_first_to_the_last_step_within_the_picture() -> None:
    drawing = curve("Loss", [(1, 4.0), (5, 3.0), (9, 2.0)])
    places = drawing.partition('points="')[2].partition('"')[0].split()
    across = [float(place.split(",")[0]) for place in places]
    down = [float(place.split(",")[1]) for place in places]

    assert across == sorted(across)
    assert down == sorted(down)
    assert all(0 <= place <= 760 for place in across)
    assert all(0 <= place <= 220 for place in down)


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)]])
def test_too_few_points_make_no_curve(points: list[tuple[float, float]]) -> None:
    assert curve("Loss", points) == ""


def test_a_constant_is_a_level_line() -> None:
    places = curve("Rate", [(1, 5.0), (2, 5.0)]).partition('points="')[2].partition('"')[0].split()

    assert len({place.split(",")[1] for place in places}) == 1


def test_the_batch_that_memory_is_predicted_for_is_the_largest_of_all_processes() -> None:
    """Of two sequences of 30 tokens, four of 20 and one of 64, by process."""
    assert largest_batch((2, 4, 1), (30, 20, 64)) == (4, 20)


def test_a_sample_is_one_line_of_the_text_and_keeps_its_lines_on_the_page() -> None:
    sampled = replace(report(), samples=(Sample("Why?\nSay.", "Because.", "No.\n\nYes.", None),))
    assert (
        "\n\nprompt            Why? Say.\nexpected          Because.\nanswer            No. Yes." in sampled.to_text()
    )
    page = render("run", sampled, [])
    assert page.count("Because.") == 1
    assert "<td class=text>No.\n\nYes.</td>" in page
