"""A report with one of everything, over a real manifest."""

import pytest

from kaitoc.compiler.check.rule_info import RuleInfo
from kaitoc.compiler.core.findings import Applicability, Edit, Finding, Fix, ObjectRef, Related, Severity
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.memory.result import Categories, Footprint, Phase, PhasePeak, Verdict
from kaitoc.compiler.report.model import Report

CONFIGMAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: phi-3-lora
  namespace: tuning
data:
  training_config.yaml: |
    training_config:
      LoraConfig:
        r: 16  # größer: 速い
        target_modules: ["q_proj", "o_proj"]
      TrainingArguments:
        per_device_train_batch_size: 1
"""

WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: phi-3
  namespace: tuning
tuning:
  preset:
    name: phi-3-mini-128k-instruct
  config: phi-3-lora
"""


def span_of(source: Source, text: str) -> Span:
    """Return the span of the first occurrence of a text."""
    start = source.text.index(text)
    return Span(start, start + len(text))


@pytest.fixture
def configmap() -> Source:
    return Source("manifests/config map.yaml", CONFIGMAP)


@pytest.fixture
def workspace() -> Source:
    return Source("manifests/workspace.yaml", WORKSPACE)


@pytest.fixture
def full_report(configmap: Source, workspace: Source) -> Report:
    owner = ObjectRef("ConfigMap", "tuning", "phi-3-lora")
    inner = "/data/training_config.yaml/training_config"
    modules = span_of(configmap, '["q_proj", "o_proj"]')
    partly_matched = Finding(
        code="KT402",
        name="partly-matched-target-modules",
        severity=Severity.ERROR,
        message="`q_proj` matches no layer of phi-3-mini-128k-instruct, so only `o_proj` is trained",
        source=configmap,
        span=modules,
        pointer=f"{inner}/LoraConfig/target_modules",
        object=owner,
        help="phi-3 fuses its projections: name `qkv_proj`",
        related=(Related("the model is chosen here", workspace, span_of(workspace, "phi-3-mini-128k-instruct")),),
        fix=Fix(
            "Name the fused layers",
            Applicability.SAFE,
            (Edit(configmap, span_of(configmap, "q_proj"), "qkv_proj"),),
        ),
    )
    batch = configmap.text.rindex("1")
    small_batch = Finding(
        code="KT601",
        name="small-batch",
        severity=Severity.INFO,
        message="a batch of 1 leaves 61.2 GiB unused",
        source=configmap,
        span=span_of(configmap, "per_device_train_batch_size"),
        pointer=f"{inner}/TrainingArguments/per_device_train_batch_size",
        object=owner,
        fix=Fix(
            "Raise the batch to 16",
            Applicability.UNSAFE,
            (Edit(configmap, Span(batch, batch + 1), "16"),),
        ),
    )
    high_rank = Finding(
        code="KT507",
        name="high-rank",
        severity=Severity.WARNING,
        message="rank 16 costs more than it gives",
        source=configmap,
        span=span_of(configmap, "r: 16"),
        pointer=f"{inner}/LoraConfig/r",
        object=owner,
        fix=Fix("Choose a rank", Applicability.DISPLAY, ()),
    )
    wrong_preset = Finding(
        code="KT301",
        name="preset-not-tunable",
        severity=Severity.ERROR,
        message="the preset cannot be tuned",
        source=workspace,
        span=span_of(workspace, "preset:\n    name: phi-3-mini-128k-instruct\n"),
        pointer="/tuning/preset",
        object=ObjectRef("Workspace", "tuning", "phi-3"),
    )
    peak = PhasePeak(Phase.BACKWARD, Categories(7_642_000_000, 25_000_000, 25_000_000, 50_000_000, 8 * 2**30, 2**30, 7))
    footprint = Footprint((peak,), 12_582_912, 3 * 2**20, 500_000_000, 17_000_000_000, 19_000_000_000)
    rule = RuleInfo(
        "KT402",
        "partly-matched-target-modules",
        Severity.ERROR,
        "target_modules names layers that the model does not have",
        "## What it does\nCompares `target_modules` with the model's layers.",
    )
    return Report(
        findings=(small_batch, wrong_preset, partly_matched, high_rank),
        jobs=(
            JobSummary(
                workspace="tuning/phi-3",
                configmap="tuning/phi-3-lora",
                model="phi-3-mini-128k-instruct",
                gpu="A100-80GB",
                method="lora",
                seq_len=2048,
                batch=1,
                footprint=footprint,
                capacity_bytes=80 * 2**30,
                verdict=Verdict.FITS,
            ),
            JobSummary(configmap="tuning/unknown", method="qlora"),
        ),
        describe_rules=lambda: (rule,),
        files=("manifests/clean.yaml", configmap.path, workspace.path),
        num_suppressed=1,
        num_baselined=2,
    )


@pytest.fixture
def hostile_report() -> Report:
    """A report whose path, message, source and job are written by an attacker."""
    attack = "\x1b]0;owned\x07\x1b[2J\r::error::gone%0A\n</failure><b>&]]>|`@admin #1 \u202e\x9b31m\ufffe\x00"
    source = Source(f"a:b,c%\n{attack}.yaml", f"key: {attack}\nnext: \x1b[31m{attack}\n")
    span = Span(5, 5 + len(attack))
    finding = Finding(
        "KT201",
        "unknown-key",
        Severity.ERROR,
        attack,
        source,
        span,
        pointer=f"/{attack}",
        object=ObjectRef(attack, attack, attack),
        help=attack,
        related=(Related(attack, source, span),),
        fix=Fix(attack, Applicability.SAFE, (Edit(source, span, attack),)),
    )
    job = JobSummary(workspace=attack, model=attack, gpu=attack, method=attack)
    return Report((finding,), (job,), files=(source.path,))
