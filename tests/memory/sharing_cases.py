"""Random jobs of several GPUs, as plans of the bundled runtime, and whether all who judge them say the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import Gpu, all_gpus
from kaitoc.compiler.catalog.models import all_models
from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.memory import footprint_of, verdict_of
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.memory.closed_form.footprint import as_shared, bounds, fits, footprint, verdict
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.sharding.model import ShardingKind
from kaitoc.compiler.memory.sharing import SharingRequest
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.compiler.plan.memory import architecture_of, shared_footprint, with_prediction, workload_of_plan
from kaitoc.compiler.plan.of_job import plan_of
from kaitoc.compiler.plan.plan import DataPlan, LoraPlan, ModelPlan, OutputPlan, Plan, Provenance, QuantizationPlan
from kaitoc.compiler.plan.request import with_processes

MARGIN = 0.05


def random_jobs(seed: int, number: int) -> Iterator[tuple[Plan, Gpu]]:
    """Yield plans with the GPU that each is for."""
    draw = random.Random(seed)
    models = [model for model in all_models() if model.num_experts == 0]
    for _ in range(number):
        method = draw.choice(("none", "none", "nf4", "int8"))
        is_full = method == "none" and draw.random() < 0.4
        plan = Plan(
            name="random",
            model=ModelPlan(path="/mnt/model"),
            quantization=QuantizationPlan.model_validate({"method": method}),
            lora=None if is_full else LoraPlan(r=draw.choice((8, 16, 64))),
            data=DataPlan(paths=("/mnt/data",), max_length=draw.choice((512, 2048))),
            output=OutputPlan(path="/mnt/results"),
            num_processes=draw.choice((1, 2, 4, 8, 16)),
            provenance=Provenance(kaitoc_version="0", preset=draw.choice(models).name),
        )
        nodes = [number for number in (1, 2, 4) if plan.num_processes % number == 0]
        groups = [group for group in (2, 4, 8) if plan.num_processes % group == 0]
        sharding = draw.choice(("auto", "auto", "ddp", "fsdp2"))
        changes = {
            "per_device_train_batch_size": draw.choice((1, 2, 4)),
            "gradient_accumulation_steps": draw.choice((1, 4)),
        }
        training = plan.training.model_copy(update=changes)
        shared = {
            "training": training,
            "sharding": sharding,
            "num_nodes": draw.choice(nodes),
            "shard_group": draw.choice((None, None, *groups)) if sharding != "ddp" else None,
        }
        yield plan.model_copy(update=shared), draw.choice(all_gpus())


def disagreement(plan: Plan, gpu: Gpu) -> str:
    """Return what two of estimate, compile, dry run and preflight tell differently of a job, empty where nothing."""
    architecture = architecture_of(plan)
    assert architecture is not None
    workload = workload_of_plan(plan, architecture)
    try:
        estimated = footprint(workload, gpu)
    except WorkloadError:
        return "" if shared_footprint(plan, gpu) is None else "only the run knows an answer"
    planned = with_prediction(plan, architecture, gpu).predicted
    at_run = shared_footprint(plan, gpu)
    if at_run is None or planned is None:
        return "only the estimate knows an answer"
    shared = estimated.sharding
    if {shared, as_shared(workload, gpu).sharding, at_run.sharding} != {shared} or shared.kind is ShardingKind.AUTO:
        return "how the model is shared"
    if len({estimated.reserved_bytes, planned.reserved_bytes, at_run.reserved_bytes}) > 1:
        return "what a process reserves"
    if fits(workload, gpu, MARGIN) != (verdict(estimated, gpu, MARGIN) is Verdict.FITS):
        return "whether it fits"
    return "" if bounds(workload, gpu).low_bytes == estimated.low_bytes else "the least that it needs"


MANIFEST = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: tune}}
resource: {{instanceType: Standard_NC24ads_A100_v4, labelSelector: {{matchLabels: {{a: b}}}}}}
tuning:
  preset: {{name: {preset}}}
  method: {method}
  config: params
  input: {{urls: ["https://example.com/rows.jsonl"]}}
  output: {{volumeSource: {{persistentVolumeClaim: {{claimName: results}}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: params}}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {{torch_dtype: bfloat16}}
      QuantizationConfig: {quantization}
      LoraConfig: {{r: {rank}}}
      TrainingArguments:
        per_device_train_batch_size: {batch}
        gradient_accumulation_steps: {accumulation}
        gradient_checkpointing: {checkpointing}
        max_length: {length}
        bf16: true
        fsdp: "{fsdp}"
"""
NF4 = "{load_in_4bit: true, bnb_4bit_quant_type: nf4, bnb_4bit_use_double_quant: true}"


def random_manifests(seed: int, number: int) -> Iterator[tuple[str, Overrides]]:
    """Yield manifests of several GPUs, with what the command line states of these."""
    draw = random.Random(seed)
    presets = newest_release().tunable_presets
    for _ in range(number):
        is_4bit = draw.random() < 0.4
        text = MANIFEST.format(
            preset=draw.choice(presets), method="qlora" if is_4bit else "lora", quantization=NF4 if is_4bit else "{}",
            rank=draw.choice((8, 64)), batch=draw.choice((1, 2, 8)), accumulation=draw.choice((1, 4)),
            checkpointing=draw.choice(("true", "false")), length=draw.choice((512, 2048)),
            fsdp=draw.choice(("", "", "full_shard auto_wrap")),
        )  # fmt: skip
        num_gpus = draw.choice((1, 2, 4, 8, 16))
        nodes = draw.choice([nodes for nodes in (1, 2, 4) if num_gpus % nodes == 0])
        word = draw.choice(("auto", "auto", "ddp", "fsdp2"))
        groups = [group for group in (2, 4, 8) if num_gpus % group == 0]
        group = draw.choice((None, None, *groups)) if word != "ddp" else None
        request = SharingRequest(word, nodes, group)
        gpu = draw.choice(all_gpus()).name
        yield text, Overrides(target="bundled", gpu=gpu, num_gpus=num_gpus, sharing=request)


def disagreement_on(text: str, stated: Overrides) -> str:
    """Return what check, estimate and the plan of a manifest tell differently, empty where nothing."""
    engine = Engine(all_rules(), stated, SettingsFinder(isolated=True))
    source = Source("tune.yaml", text)
    engine.library.add_source(source)
    job = next(job for job in engine.jobs_of(engine.library.load(source.path)) if job.workspace is not None)
    estimated, sharing = footprint_of(job), stated.sharing
    plan = with_processes(
        plan_of(job, num_processes=job.num_gpus, shard_group=sharing.shard_group), job.num_gpus, sharing.word
    )
    word = plan.sharding if sharing.word == "auto" else sharing.word
    asked = plan.model_copy(update={"num_nodes": sharing.num_nodes, "sharding": word})
    at_run = shared_footprint(asked, job.gpu.value if job.gpu is not None else None)
    if estimated is None or at_run is None:
        return "" if estimated is at_run else "whether a run can be"
    if estimated.sharding != at_run.sharding:
        return "how the model is shared"
    if estimated.phases != at_run.phases or estimated.device_bytes != at_run.device_bytes:
        return "what a process needs"
    codes = {finding.code for finding in engine.check([source.path]).findings}
    outgrown = verdict_of(job) is Verdict.DOES_NOT_FIT
    return "" if outgrown is bool(codes & {"KT501", "KT509"}) else "whether it fits"
