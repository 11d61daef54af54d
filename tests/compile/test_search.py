"""The search gives what judging every candidate gives, and gives it at once."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.memory.closed_form.footprint import footprint, verdict
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.compiler.passes.choices import batch, checkpointing
from kaitoc.compiler.passes.model import Goal, PassContext, Preserve
from kaitoc.compiler.passes.plan import Search, search_for
from kaitoc.compiler.passes.search import WORTHWHILE, Candidate
from kaitoc.compiler.passes.search_space import apply
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import TIE

JOBS = range(0, 200, 8)
"""An eighth of the jobs that `make soak` takes."""
MODELS = ("phi-4-mini-instruct", "phi-3-mini-128k-instruct", "phi-4", "qwen2.5-coder-7b-instruct")
GPUS = ("A10-24GB", "A100-40GB", "A100-80GB", "H100-80GB")
CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {{name: cm}}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {{torch_dtype: bfloat16}}
      QuantizationConfig: {{load_in_4bit: {quantized}, bnb_4bit_quant_type: nf4, bnb_4bit_compute_dtype: bfloat16}}
      LoraConfig: {{r: {rank}, lora_dropout: {dropout}, target_modules: [o_proj, down_proj]}}
      TrainingArguments:
        output_dir: /mnt/results
        max_length: {length}
        per_device_train_batch_size: {batch}
        gradient_accumulation_steps: {steps}
        gradient_checkpointing: {checkpointing}
      DatasetConfig: {{train_test_split: 1}}
      DataCollator: {{mlm: false}}
"""


def job_of(seed: int) -> Job:
    draw = random.Random(seed)
    text = CONFIG.format(
        quantized=draw.choice(("true", "false")),
        rank=draw.choice((8, 64, 256)),
        dropout=draw.choice((0.0, 0.1)),
        length=draw.choice((256, 1024, 2048, 4096)),
        batch=draw.choice((1, 2, 3, 4, 8)),
        steps=draw.choice((1, 2, 4)),
        checkpointing=draw.choice(("true", "false")),
    )
    overrides = Overrides(
        model=draw.choice(MODELS),
        gpu=draw.choice(GPUS),
        target="bundled",
        attention=draw.choice((None, "eager")),
    )
    engine = Engine(RuleSet(), overrides, SettingsFinder(isolated=True))
    engine.library.add_source(Source("cm.yaml", text))
    (job,) = engine.jobs_of(engine.library.add_given("cm.yaml"))
    return job


def found_for(seed: int) -> Search:
    draw = random.Random(seed + 1_000_000)
    context = PassContext(goal=draw.choice(list(Goal)), preserve=draw.choice((Preserve.EXACT, Preserve.STATISTICAL)))
    found = search_for(job_of(seed), context)
    assert found is not None
    return found


def has_room(candidate: Candidate, run: Situation) -> bool:
    try:
        predicted = footprint(apply(candidate, run), run.gpu)
    except WorkloadError:
        return False
    return verdict(predicted, run.gpu, run.margin) is Verdict.FITS


def brute_force(found: Search) -> Candidate | None:
    """Judge every candidate with the whole footprint, and take the goal's definition word by word."""
    judge, goal = found.judge, found.context.goal
    everyone = sorted(found.space.candidates(found.context.preserve), key=lambda one: one.change_key)
    fitting = [one for one in everyone if all(has_room(one, run) for run in found.runs)]
    if not fitting:
        return None
    if goal is Goal.MEMORY:
        least = min(judge.hint(one).least_bytes for one in fitting)
        return next(one for one in fitting if judge.hint(one).least_bytes <= least * (1 + TIE))
    if goal is not Goal.FIT:
        shortest = min(map(judge.seconds, fitting))
        return next(one for one in fitting if judge.seconds(one) <= shortest * (1 + TIE))
    start = fitting[0]
    kept = {*start.changed, checkpointing.CHOICE} - {batch.CHOICE}
    free = [
        one
        for one in fitting
        if all(one.values[dimension] == start.values[dimension] for dimension in kept)
        and one.severity <= max(1, start.severity)
        and judge.hint(one).least_bytes <= judge.hint(start).least_bytes
        and judge.seconds(one) <= judge.seconds(start) * (1 - WORTHWHILE)
    ]
    if not free:
        return start
    shortest = min(map(judge.seconds, free))
    return next(one for one in free if judge.seconds(one) <= shortest * (1 + TIE))


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("seed", JOBS)
def test_the_search_equals_brute_force(seed: int) -> None:
    found = found_for(seed)

    assert found.fitting() == brute_force(found)


@pytest.mark.no_cover
def test_what_the_bound_forbids_is_never_chosen() -> None:
    kept = []
    for found in map(found_for, range(0, 60, 3)):
        best = replace(found, context=replace(found.context, preserve=Preserve.EXACT)).best()
        for dimension in best.changed if best is not None else ():
            (choice,) = (one for one in found.space.choices[dimension] if one.value == best.values[dimension])
            kept.append(choice.preserves.value)

    assert set(kept) == {"exact"}


def test_the_present_comes_first_and_changes_nothing() -> None:
    found = found_for(1)

    first = min(found.space.candidates(Preserve.ANY), key=lambda one: one.change_key)

    assert first == found.present
    assert first.changed == ()
