"""Each folder beside this file is one case of a pass: what it makes of `before.yaml`, and what it says of it.

A folder's parent is named after the pass's module. A first line `# options: ...` holds options of `kaitoc compile`.
`KAITOC_UPDATE_FIXTURES=1` writes what the pass gives today.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from kaitoc.compiler.cli.compile import CompileOptions, compile_command
from kaitoc.compiler.cli.emit import EngineCommandOptions
from kaitoc.compiler.cli.option_records import GROUPS, record_of
from kaitoc.compiler.compile import driver, serving, tuning
from kaitoc.compiler.compile.model import Compilation
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.passes import PASSES, SERVING_PASSES
from kaitoc.compiler.passes.model import TuningPass
from kaitoc.compiler.passes.server_model import ServingPass

FOLDER = Path(__file__).parent
RELEASE = "v0.12"
"""The release that the cases were written for; a later one changes none of them."""

CASES = sorted(path.parent for path in FOLDER.glob("*/*/before.yaml"))


def pass_of(case: Path) -> TuningPass | ServingPass:
    return next(step for step in (*PASSES, *SERVING_PASSES) if case.parent.name.replace("_", "-") == step.NAME)


def compiled(
    source: Source,
    step: TuningPass | ServingPass | None,
    monkeypatch: pytest.MonkeyPatch,
    options_of: Source | None = None,
) -> Compilation:
    """Compile a text by the options in its first line, or that of another, with one pass or with all of them."""
    first = (options_of or source).line_text(1)
    words = first.removeprefix("# options:").split() if first.startswith("# options:") else []
    parameters = compile_command.make_context(
        "compile", ["--kaito-version", RELEASE, *words, "--isolated", source.path]
    ).params
    options = record_of(CompileOptions, parameters, {**GROUPS, "engine": EngineCommandOptions})
    if step is not None:
        monkeypatch.setattr(tuning, "PASSES", tuple(one for one in PASSES if one is step))
        monkeypatch.setattr(serving, "SERVING_PASSES", tuple(one for one in SERVING_PASSES if one is step))
    return driver.compile_files([source.path], options.request, [source])


def described(result: Compilation) -> str:
    (job,) = result.jobs
    lines = (
        f"{change.position.line}: {change.what}: {change.before or '(not set)'} -> {change.after or '(removed)'}"
        f" [{change.preserves.value}]\n    {change.reason}\n"
        for change in job.changes
    )
    return "".join(lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_a_pass_gives_the_text_and_the_reasons(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = pass_of(case)
    source = Source("before.yaml", (case / "before.yaml").read_text(encoding="utf-8"))

    result = compiled(source, step, monkeypatch)
    (file,) = result.files

    if os.environ.get("KAITOC_UPDATE_FIXTURES"):
        (case / "after.yaml").write_text(file.text, encoding="utf-8")
        (case / "report.txt").write_text(described(result), encoding="utf-8")
    assert file.text == (case / "after.yaml").read_text(encoding="utf-8")
    assert described(result) == (case / "report.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_the_whole_pipeline_leaves_its_own_output_alone(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("before.yaml", (case / "before.yaml").read_text(encoding="utf-8"))

    once = compiled(source, None, monkeypatch).files[0].text
    twice = compiled(Source("before.yaml", once), None, monkeypatch, options_of=source).files[0].text

    assert twice == once


EXECUTED = json.loads((FOLDER / "execution.json").read_text(encoding="utf-8"))["pairs"]


@pytest.mark.parametrize("pair", EXECUTED, ids=lambda pair: str(pair["case"]))
def test_the_pairs_to_execute_are_predicted_to_move_as_they_say(
    pair: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = FOLDER / pair["case"]
    step = pass_of(case)

    (job,) = compiled(Source("before.yaml", (case / "before.yaml").read_text("utf-8")), step, monkeypatch).jobs
    before, after = job.performance_before.peak_bytes, job.performance_after.peak_bytes

    weakest = {"exact": {"exact"}, "statistical": {"exact", "statistical"}}[pair["preserves"]]
    assert {change.preserves.value for change in job.changes} <= weakest
    assert before is not None
    assert after is not None
    assert pair["peak"] in (None, "lower" if after < before else "higher")


def test_every_pass_has_a_fixture_and_a_name() -> None:
    with_fixtures = {case.parent.name.replace("_", "-") for case in CASES}

    assert with_fixtures == {step.NAME for step in (*PASSES, *SERVING_PASSES)}


@pytest.mark.parametrize(
    ("heading", "passes"), [("Passes, in order", PASSES), ("Passes over servers, in order", SERVING_PASSES)]
)
def test_the_page_lists_every_pass_in_order(heading: str, passes: tuple[TuningPass | ServingPass, ...]) -> None:
    page = (FOLDER.parents[1] / "docs" / "compile.md").read_text(encoding="utf-8")
    table = page.partition(f"## {heading}")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [step.NAME for step in passes]
