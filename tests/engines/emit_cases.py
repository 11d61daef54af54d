"""Generated Workspaces with a training config, and options for --emit; seeded, so that a failure can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import yaml

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.engines.emit_options import EmitOptions, Rdma
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.settings import SettingsFinder

MODELS = ("phi-3-mini-4k-instruct", "falcon-7b", "mistral-7b-instruct", "phi-4", "qwen2.5-coder-7b-instruct")
INSTANCES = ("Standard_NC24ads_A100_v4", "Standard_NC96ads_A100_v4", "Standard_ND96isr_H100_v5", "p4d.24xlarge")
NAMES = ("tune", "tune-phi-3", "9lives", "a." + "b" * 20, "x" * 63, "Team-A".lower(), "run-" + "y" * 50)


@dataclass(frozen=True)
class Case:
    """One run to emit."""

    text: str
    options: EmitOptions


def cases(number: int, seed: int) -> list[Case]:
    source = random.Random(seed)  # cases, not secrets
    return [_case(source) for _ in range(number)]


def job_of(text: str) -> Job:
    engine = Engine(all_rules(), Overrides(target="bundled"), SettingsFinder(isolated=True))
    engine.library.add_source(Source("case.yaml", text))
    (job,) = [job for job in engine.jobs_of(engine.library.load("case.yaml")) if job.workspace is not None]
    return job


def _case(source: random.Random) -> Case:
    name, namespace = source.choice(NAMES), source.choice(["", "team", "n" * 63])
    metadata = {"namespace": namespace} if namespace else {}
    is_quantized = source.random() < 0.7
    claims = source.random() < 0.5
    volume = {"volumeSource": {"persistentVolumeClaim": {"claimName": "mine"}}}
    workspace = {
        "apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": {"name": name, **metadata},
        "resource": {"instanceType": source.choice(INSTANCES), "labelSelector": {"matchLabels": {"a": "b"}}},
        "tuning": {
            "preset": {"name": source.choice(MODELS)}, "config": "params",
            "method": "qlora" if is_quantized else "lora",
            "input": volume if claims else {"urls": ["https://example.com/a.jsonl?sig=x"]},
            "output": volume if claims else {"image": "r.example/a:1", "imagePushSecret": "s"},
        },
    }  # fmt: skip
    sections = {
        "LoraConfig": {"r": source.choice([4, 8, 64]), "lora_alpha": 16, "target_modules": ["all-linear"]},
        "TrainingArguments": {"per_device_train_batch_size": source.choice([1, 2, 8]), "max_length": 512},
        **({"QuantizationConfig": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}} if is_quantized else {}),
    }
    config = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "params", **metadata},
        "data": {"training_config.yaml": yaml.safe_dump({"training_config": sections})},
    }  # fmt: skip
    options = EmitOptions(
        engine=source.choice(["trainjob", "jobset", "pytorchjob"]),
        image="registry.example/kaitoc-runtime:0.1.0",
        num_nodes=source.choice([None, 1, 2, 4, 10, 11, 100, 101, 1000]),
        queue=source.choice(["", "team-a"]),
        model_claim="model",
        results_claim="" if claims else "results",
        rdma=source.choice([None, Rdma("rdma/ib", 8), Rdma("nvidia.com/mlnxnics", 1)]),
    )
    if options.queue and source.random() < 0.5:
        options = replace(options, priority_class="high")
    return Case(yaml.safe_dump_all([config, workspace]), options)
