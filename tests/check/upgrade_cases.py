"""Random training configs of any options that a release knows, and what `kaitoc upgrade` must say of one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.check.baseline import baseline_of
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.check.upgrade import Upgrade, keep_behaviour, upgrade
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.default_drift import drifting_defaults
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import quantization_of, stack_of, weight_dtype_of
from kaitoc.compiler.kaito.argument_table import ArgType, Argument, release_arguments
from kaitoc.compiler.memory.workload import Loss, Quantization

WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tune
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels:
      apps: tune
tuning:
  preset:
    name: phi-3-mini-4k-instruct
  method: lora
  config: params
  input:
    urls: [https://example.com/data.jsonl]
  output:
    image: registry.example.com/adapter:1
    imagePushSecret: push
"""
_CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: params
data:
  training_config.yaml: |
    training_config:"""
PAIRS = [(old.name, new.name) for old, new in combinations(all_releases(), 2)]
_VALUES = {ArgType.INT: ("1", "2", "64"), ArgType.FLOAT: ("0.1", "1.0e-4", "1.0"), ArgType.BOOL: ("true", "false")}
_ALWAYS = {"LoraConfig": {"target_modules": "[o_proj]"}, "TrainingArguments": {"output_dir": "/mnt/results"}}
_DRIFTING = [place for place in drifting_defaults() if place[1] not in ("torch_dtype", "trackio_space_id")]


def random_config(draw: random.Random) -> str:
    """Draw a Workspace with a ConfigMap of options from any release's tables, those that drift among them."""
    tables = release_arguments(draw.choice(all_releases()).name).sections
    sections: dict[str, dict[str, str]] = {name: dict(_ALWAYS.get(name, {})) for name in tables}
    for name, table in tables.items():
        for argument in draw.sample(sorted(table.arguments.values(), key=lambda one: one.name), draw.choice((0, 1, 3))):
            sections[name].setdefault(argument.name, _value(argument, draw))
    for name, option in _DRIFTING:
        if draw.random() < 0.4 and option in tables[name].arguments:
            sections[name][option] = _value(tables[name].arguments[option], draw)
    if draw.random() < 0.5:
        sections["ModelConfig"]["torch_dtype"] = "bfloat16"
    if draw.random() < 0.3:
        sections["QuantizationConfig"] = {"load_in_4bit": "true", "bnb_4bit_compute_dtype": "bfloat16"}
    lines = [
        line
        for name, options in sections.items()
        if options
        for line in (f"      {name}:", *(f"        {option}: {value}" for option, value in options.items()))
    ]
    return "\n".join((f"{WORKSPACE}---\n{_CONFIG_MAP}", *lines, ""))


def _value(argument: Argument, draw: random.Random) -> str:
    if argument.choices:
        return draw.choice(argument.choices)
    return draw.choice(_VALUES.get(argument.type, ("none", "all", "epoch", "text")))


def engine(release: str, text: str) -> Engine:
    made = engine_of(EngineOptions(Overrides(kaito_version=release), isolated=True))
    made.library.add_source(Source("tune.yaml", text))
    return made


def upgraded(text: str, before: str, after: str) -> tuple[Engine, Upgrade]:
    new = engine(after, text)
    return new, upgrade(engine(before, text), new, ["tune.yaml"])


def kept(text: str, before: str, after: str) -> str:
    new, found = upgraded(text, before, after)
    return next(iter(keep_behaviour(new, found).values()), text)


def disagreements(text: str, before: str, after: str) -> Iterator[str]:
    """Yield where an upgrade is not the difference of two checks, or its changes not those of the values in effect."""
    new, found = upgraded(text, before, after)
    old = engine(before, text)
    checks = [one.check(["tune.yaml"]).findings for one in (old, engine(after, text))]
    for severity, listed in ((Severity.ERROR, found.breaks), (Severity.WARNING, found.warnings)):
        added = [
            one for one in baseline_of(checks[0], "baseline.json").new_among(checks[1]) if one.severity is severity
        ]
        if sorted(one.sort_key for one in listed) != sorted(one.sort_key for one in added):
            yield f"{severity.value}: {[one.code for one in listed]} of {[one.code for one in added]}"
    (was,), (now,) = jobs_of(old), jobs_of(new)
    expected = _differing(was, now) if was.is_parsable else set()
    named = {(change.section, change.option) for change in found.changes}
    if named != expected:
        yield f"changes: {sorted(named ^ expected)}"
    if was.is_parsable and not found.breaks:
        (again,) = jobs_of(engine(after, kept(text, before, after)))
        left = {place for place in named if _in_effect(was, *place) != _in_effect(again, *place)}
        if left:
            yield f"not kept: {sorted(left)}"


def jobs_of(made: Engine) -> list[Job]:
    return list(made.jobs_of(made.library.add_given("tune.yaml")))


def _in_effect(job: Job, section: str, option: str) -> object:
    """Return the value with which a job runs; report_to has two spellings of its older default, null and all."""
    if option == "torch_dtype":
        return weight_dtype_of(job)
    value = job.value(section, option)
    if option == "loss_type" and value is None:
        return "chunked_nll" if stack_of(job).default_loss is Loss.CHUNKED else "nll"
    return ["all"] if option == "report_to" and value in (None, "all", ["all"]) else value


def _differing(before: Job, after: Job) -> set[tuple[str, str]]:
    """Name the options without a line whose values in effect differ, each by what the facts of both releases say."""
    tables = [release_arguments(job.release.name).sections for job in (before, after)]
    names = {
        (name, option)
        for name, section in tables[0].items()
        for option in section.arguments.keys() & tables[1][name].arguments.keys()
        if before.option(name, option) is None and section.defaults[option] != tables[1][name].defaults[option]
    } - {("TrainingArguments", "lr_scheduler_kwargs"), ("TrainingArguments", "warmup_ratio")}
    if before.flag("TrainingArguments", "fp16"):
        names.discard(("TrainingArguments", "bf16"))
    if quantization_of(before) is not Quantization.NONE:
        names.discard(("TrainingArguments", "gradient_checkpointing"))
    reports = after.value("TrainingArguments", "report_to")
    if not {"trackio", "all"} & set(reports if isinstance(reports, (list, tuple)) else (reports,)):
        names.discard(("TrainingArguments", "trackio_space_id"))
    if before.option("ModelConfig", "torch_dtype") is None and weight_dtype_of(before) != weight_dtype_of(after):
        names.add(("ModelConfig", "torch_dtype"))
    losses = [Loss.CHUNKED if stack_of(job).default_loss is Loss.CHUNKED else Loss.FULL for job in (before, after)]
    if after.option("TrainingArguments", "loss_type") is None and losses[0] is not losses[1]:
        names.add(("TrainingArguments", "loss_type"))
    return names
