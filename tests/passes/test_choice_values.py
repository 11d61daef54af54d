"""The values that a searched choice offers, and their order: the search meets the mildest first."""

from __future__ import annotations

from typing import Any

import pytest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import CompileRequest
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.serving_link import link_serving_jobs
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.passes.choices import CHOICES, SERVING_CHOICES, batch, seq_len, server_layout
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.choices.server_choice import ServingQuestion
from kaitoc.compiler.passes.model import Goal, PassContext, Preserve
from kaitoc.compiler.passes.new_config_map import free_name
from kaitoc.compiler.passes.server_run import ServingRun, run_of
from kaitoc.compiler.passes.situation import situations

CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {{name: cm}}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {{torch_dtype: {dtype}}}
      LoraConfig: {{r: 8, lora_alpha: 16, target_modules: [qkv_proj, o_proj]}}
      TrainingArguments:
        output_dir: /mnt/results
        max_length: 4096
        per_device_train_batch_size: 4
        gradient_accumulation_steps: 4
        bf16: {bf16}
      DatasetConfig: {{train_test_split: 1}}
      DataCollator: {{mlm: false}}
"""


def source(dtype: str = "bfloat16", bf16: str = "true") -> Source:
    return Source("cm.yaml", CONFIG.format(dtype=dtype, bf16=bf16))


def overrides(gpu: str = "A100-80GB") -> Overrides:
    return Overrides(model="phi-4-mini-instruct", gpu=gpu, target="bundled")


def question() -> Question:
    engine = Engine(RuleSet(), overrides(), SettingsFinder(isolated=True))
    engine.library.add_source(source())
    (job,) = engine.jobs_of(engine.library.add_given("cm.yaml"))
    context = PassContext(goal=Goal.FIT, preserve=Preserve.ANY)
    (run,) = situations(job, context)
    return Question(job, run, context)


def offered(choice: Choice[Any]) -> list[Any]:
    return [alternative.value for alternative in choice.alternatives(question())]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
def test_every_value_that_is_offered_changes_the_step_and_is_written(choice: Choice[Any]) -> None:
    asked = question()
    for alternative in choice.alternatives(asked):
        step = choice.apply(asked.run, asked.run.workload, alternative.value)
        change = choice.change(asked, alternative, "reason")

        assert choice.present(step) == alternative.value
        assert (change.reason, change.preserves, bool(change.edits)) == ("reason", alternative.preserves, True)


def test_sequences_are_halved_down_to_512_tokens_and_no_further() -> None:
    assert offered(seq_len.CHOICE) == [2048, 1024, 512]


def test_batches_are_the_other_divisors_of_the_effective_batch_the_nearest_first() -> None:
    assert offered(batch.CHOICE) == [2, 8, 1, 16]


@pytest.mark.parametrize(("gpu", "offers"), [("A100-80GB", True), ("T4", False)])
def test_tf32_is_for_gpus_that_have_it(gpu: str, offers: bool) -> None:
    request = CompileRequest(
        overrides(gpu), SettingsFinder(isolated=True), RuleSet(), PassContext(goal=Goal.THROUGHPUT)
    )
    (job,) = compile_files(["cm.yaml"], request, [source("float32", "false")]).jobs

    assert ("TrainingArguments.tf32" in {change.what for change in job.changes}) is offers


SERVER = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: server}}
resource:
  instanceType: {instance}
  labelSelector: {{matchLabels: {{app: server}}}}
inference:
  preset: {{name: phi-4}}
"""


def server(instance: str = "Standard_NC96ads_A100_v4") -> ServingRun:
    engine = Engine(RuleSet(), Overrides(kaito_version="v0.12"), SettingsFinder(isolated=True))
    engine.library.add_source(Source("server.yaml", SERVER.format(instance=instance)))
    file = engine.library.add_given("server.yaml")
    (job,) = link_serving_jobs(file, engine.library, engine.assumptions_for("server.yaml"))
    run = run_of(job)
    assert run is not None
    return run


@pytest.mark.parametrize("goal", [Goal.FIT, Goal.THROUGHPUT])
def test_every_value_that_a_server_is_offered_changes_it_and_is_written(goal: Goal) -> None:
    run = server("Standard_NC80adis_H100_v5")
    written = set()
    for choice in SERVING_CHOICES:
        for alternative in choice.alternatives(ServingQuestion((run,), goal)):
            (changed,) = choice.apply((run,), alternative.value)

            assert choice.present(changed) == alternative.value
            assert choice.values(changed) != choice.values(run)
            written |= choice.values(changed).keys()

    assert {"kv-cache-dtype", "max-num-batched-tokens", "tensor-parallel-size"} <= written


def test_layouts_are_those_that_the_heads_can_be_divided_into() -> None:
    """Four GPUs cannot share 10 key heads."""
    run = server()
    offered = server_layout.CHOICE.alternatives(ServingQuestion((run,), Goal.FIT))

    assert [alternative.value for alternative in offered] == [(2, 2)]


def test_copies_of_a_server_offload_no_kv_cache() -> None:
    (copies,) = server_layout.CHOICE.apply((server(),), (2, 2))
    (alone,) = server_layout.CHOICE.apply((server(),), (4, 1))

    assert alone == server().varied(tensor_parallel=4, data_parallel=1)

    assert server_layout.CHOICE.values(copies) == {
        "tensor-parallel-size": 2, "data-parallel-size": 2, "kv_cache_cpu_memory_utilization": 0,
    }  # fmt: skip
    assert server_layout.CHOICE.values(alone) == {"tensor-parallel-size": 4, "data-parallel-size": 1}


def test_a_config_map_that_is_new_takes_the_first_free_name() -> None:
    (owner,) = read_manifests(Source("server.yaml", SERVER.format(instance="any"))).manifests
    taken: set[str] = set()
    names = []
    for _ in range(3):
        names.append(free_name(owner, lambda name, _: name in taken))
        taken.add(names[-1])

    assert names == ["server-params", "server-params-2", "server-params-3"]
