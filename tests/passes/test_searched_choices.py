"""A searched choice is one module: what a test makes up and registers is searched, applied and reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation, CompileRequest
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.memory.workload import Lora, Workload
from kaitoc.compiler.passes import search_space
from kaitoc.compiler.passes.choices import CHOICES
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change, Goal, PassContext, Preserve, Preserves
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.passes.plan import search_for
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative
from kaitoc.compiler.report.compile.formats import render_report

RANK = 2048
CONFIG = f"""apiVersion: v1
kind: ConfigMap
metadata: {{name: cm}}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {{torch_dtype: bfloat16}}
      LoraConfig: {{r: {RANK}, lora_alpha: 16, target_modules: [qkv_proj, o_proj, gate_up_proj, down_proj]}}
      TrainingArguments:
        output_dir: /mnt/results
        max_length: 512
        per_device_train_batch_size: 1
        gradient_checkpointing: true
        learning_rate: 2.0e-05
        bf16: true
        optim: paged_adamw_8bit
      DatasetConfig: {{train_test_split: 1}}
      DataCollator: {{mlm: false}}
"""
OVERRIDES = Overrides(model="phi-4-mini-instruct", gpu="A10-24GB", target="bundled")


def lora_of(workload: Workload) -> Lora:
    assert workload.lora is not None
    return workload.lora


def present_rank(workload: Workload) -> int:
    return lora_of(workload).rank


def smaller_ranks(question: Question) -> Iterator[Alternative[int]]:
    rank = present_rank(question.run.workload) // 2
    while rank >= 8:
        yield Alternative(rank, Preserves.STATISTICAL)
        rank //= 2


def with_rank(_: Situation, workload: Workload, rank: int) -> Workload:
    return replace(workload, lora=replace(lora_of(workload), rank=rank))


def write_rank(question: Question, chosen: Alternative[int], reason: str) -> Change:
    return set_to(question.job, "LoraConfig", "r", chosen.value, reason, chosen.preserves)


RANK_CHOICE = Choice(
    name="rank",
    fit_reason="fewer columns fit",
    speed_reason="fewer columns are faster",
    present=present_rank,
    alternatives=smaller_ranks,
    apply=with_rank,
    change=write_rank,
)


def compiled(goal: Goal, preserve: Preserve) -> Compilation:
    context = PassContext(goal=goal, preserve=preserve)
    request = CompileRequest(OVERRIDES, SettingsFinder(isolated=True), RuleSet(), context)
    return compile_files(["cm.yaml"], request, [Source("cm.yaml", CONFIG)])


def ranks(result: Compilation) -> list[tuple[str, str, str, str, str]]:
    (job,) = result.jobs
    return [
        (change.pass_name, change.before, change.after, change.reason, change.preserves.value)
        for change in job.changes
        if change.what == "LoraConfig.r"
    ]


@pytest.fixture
def with_rank_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_space, "CHOICES", (*CHOICES, RANK_CHOICE))


def test_without_a_choice_of_it_the_rank_stays() -> None:
    assert ranks(compiled(Goal.MEMORY, Preserve.ANY)) == []


@pytest.mark.usefixtures("with_rank_choice")
def test_a_new_choice_is_searched() -> None:
    engine = Engine(RuleSet(), OVERRIDES, SettingsFinder(isolated=True))
    engine.library.add_source(Source("cm.yaml", CONFIG))
    (job,) = engine.jobs_of(engine.library.add_given("cm.yaml"))

    found = search_for(job, PassContext(goal=Goal.MEMORY, preserve=Preserve.STATISTICAL))

    assert found is not None
    best = found.best()
    assert best is not None
    assert found.present.values[RANK_CHOICE] == RANK
    assert RANK_CHOICE in best.changed
    assert best.values[RANK_CHOICE] <= 16  # 8 takes least; 16 takes less than a hundredth more, with the smaller change
    assert present_rank(search_space.apply(best, found.runs[0])) == best.values[RANK_CHOICE]


@pytest.mark.usefixtures("with_rank_choice")
@pytest.mark.parametrize("goal", [Goal.FIT, Goal.THROUGHPUT])
def test_a_new_choice_makes_a_run_fit(goal: Goal) -> None:
    result = compiled(goal, Preserve.STATISTICAL)

    ((pass_name, before, after, why, preserves),) = ranks(result)
    assert (pass_name, before, why, preserves) == ("fit", str(RANK), "fewer columns fit", "statistical")
    assert int(after) < RANK
    (file,) = result.files
    assert f"{{r: {after}, lora_alpha" in file.text


@pytest.mark.usefixtures("with_rank_choice")
def test_a_new_choice_is_bound_by_what_must_be_kept() -> None:
    assert ranks(compiled(Goal.FIT, Preserve.EXACT)) == []


@pytest.mark.usefixtures("with_rank_choice")
@pytest.mark.parametrize("name", ["json", "markdown", "html"])
def test_a_new_choice_is_reported(name: str) -> None:
    text = render_report(name, compiled(Goal.FIT, Preserve.STATISTICAL))

    assert "LoraConfig.r" in text
    assert "fewer columns fit" in text


def test_no_two_choices_have_one_name() -> None:
    assert len({choice.name for choice in CHOICES}) == len(CHOICES)
