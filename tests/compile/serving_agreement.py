"""Servers drawn at random, and what check, estimate and compile say of them: they must not contradict each other."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kaitoc.compiler.catalog.gpus import all_instance_types
from kaitoc.compiler.catalog.models import all_models
from kaitoc.compiler.catalog.served_models import served_names
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.check.rule_set import RuleSet
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.memory.estimate import EstimateError
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.model import Goal, Preserve
from kaitoc.compiling import request_for
from kaitoc.estimating_servers import estimates_in

REFUSALS, TIGHT = {"KT740", "KT741", "KT742"}, "KT743"
RELEASES = ("v0.8", "v0.9", "v0.10", "v0.11", "v0.12", "v0.12")
OPTIONS = {
    "max-model-len": (0.6, ("1024", "4096", "8192", "32768", "131072", "16384 # long", "'8192'")),
    "gpu-memory-utilization": (0.4, ("0.5", "0.7", "0.84", "0.9", "0.95", "0.99")),
    "max-num-seqs": (0.3, ("8", "64", "256", "512")),
    "max-num-batched-tokens": (0.3, ("512", "2048", "8192", "32768")),
    "kv-cache-dtype": (0.2, ("fp8", "auto")),
    "tensor-parallel-size": (0.2, ("1", "2", "4")),
    "enforce-eager": (0.2, ("true",)),
    "speculative-config": (0.15, ('\'{"method": "ngram", "num_speculative_tokens": 3}\'',
                                  '\'{"method": "mtp", "num_speculative_tokens": 1}\'')),
    "limit-mm-per-prompt": (0.15, ('\'{"image": 0, "video": 0, "audio": 0}\'',)),
}  # fmt: skip
_MANIFEST = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: server}}
resource:
  instanceType: {instance}
  labelSelector: {{matchLabels: {{app: server}}}}
inference:
  preset:
    name: {model}
    presetOptions: {{modelAccessSecret: hub}}
  config: serving
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: serving}}
data:
  inference_config.yaml: |
{root}    vllm:
"""


@dataclass(frozen=True)
class DrawnServer:
    text: str
    release: str
    goal: Goal
    preserve: Preserve
    edits_workspace: bool


@cache
def _choices() -> tuple[list[str], list[str]]:
    models = [*served_names(), *(model.hf_id for model in all_models())]
    instances = [one.name for one in all_instance_types() if one.gpu is not None and one.last_release is None]
    return models, instances


@cache
def _rules() -> RuleSet:
    return all_rules()


def drawn_server(seed: int) -> DrawnServer:
    choose = random.Random(f"agreement-{seed}")
    models, instances = _choices()
    lines = [f"{name}: {choose.choice(values)}" for name, (p, values) in OPTIONS.items() if choose.random() < p]
    share = "" if choose.random() < 0.6 else f"    kv_cache_cpu_memory_utilization: {choose.choice((0, 0.3))}\n"
    head = _MANIFEST.format(instance=choose.choice(instances), model=choose.choice(models), root=share)
    text = head + "".join(f"      {line}\n" for line in lines or ["max-model-len: 2048"])
    goal = choose.choice((Goal.FIT, Goal.LATENCY, Goal.THROUGHPUT, Goal.COST))
    preserve = choose.choice((Preserve.STATISTICAL, Preserve.ANY))
    return DrawnServer(text, choose.choice(RELEASES), goal, preserve, choose.random() < 0.3)


def disagreements(seed: int, folder: Path) -> list[str]:
    """Return what the commands contradict each other in, for one drawn server."""
    server = drawn_server(seed)
    path, overrides = folder / "server.yaml", Overrides(kaito_version=server.release)
    path.write_text(server.text, encoding="utf-8")
    codes, errors = _found(server.text, overrides)
    verdict = _verdict(path, overrides)
    told = [*_of_estimate(verdict, codes, errors), *_of_compile(server, overrides, verdict, errors)]
    return [f"seed {seed}: {one}\n{server.text}" for one in told]


def _found(text: str, overrides: Overrides) -> tuple[set[str], set[str]]:
    engine = Engine(_rules(), overrides, SettingsFinder(isolated=True))
    engine.library.add_source(Source("server.yaml", text))
    found = engine.check(["server.yaml"]).findings
    return {one.code for one in found}, {one.code for one in found if one.severity is Severity.ERROR}


def _verdict(path: Path, overrides: Overrides) -> Verdict | None:
    try:
        return next(iter(estimates_in(Inputs((str(path),)), overrides))).verdict
    except EstimateError:
        return None


def _of_estimate(verdict: Verdict | None, codes: set[str], errors: set[str]) -> list[str]:
    memory = codes & {*REFUSALS, TIGHT}
    checks = (
        (verdict is Verdict.FITS and bool(memory), "estimate says that it fits, check does not"),
        (verdict is Verdict.TIGHT and not memory, "estimate says that it is tight, check does not"),
        (verdict is Verdict.DOES_NOT_FIT and not memory & REFUSALS, "estimate says that it does not fit, check does"),
        (verdict is None and bool(memory), "estimate knows no answer, check does"),
        (verdict is None and not errors, "estimate knows no answer, check finds no error"),
    )
    return [f"{words}: {sorted(codes)}" for is_so, words in checks if is_so]


def _of_compile(server: DrawnServer, overrides: Overrides, verdict: Verdict | None, errors: set[str]) -> list[str]:
    request = request_for(
        overrides, settings=SettingsFinder(isolated=True), goal=server.goal, preserve=server.preserve,
        allow_workspace_edits=server.edits_workspace)  # fmt: skip
    result = compile_files(["server.yaml"], request, [Source("server.yaml", server.text)])
    if result.is_refused or not result.files:
        return []
    codes, errors_after = _found(result.files[0].text, overrides)
    new = errors_after - errors
    refused = codes & REFUSALS
    checks = (
        (verdict is Verdict.FITS and bool(new | (codes & {*REFUSALS, TIGHT})), f"compile spoils what fits: {new}"),
        (bool(result.diff) and bool(refused), f"compile changes it and it still does not fit: {sorted(refused)}"),
    )
    return [words for is_so, words in checks if is_so]
