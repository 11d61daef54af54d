"""The driver: what comes out is right, settled, and the same manifest but for the lines that had to change."""

from __future__ import annotations

import re

import pytest
import yaml

from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation, CompileRequest
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.passes.model import Goal, PassContext, Preserve, Preserves
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES

RULE_SET = RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES)
WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: {name}
resource:
  instanceType: {instance}
  labelSelector:
    matchLabels:
      app: tune
tuning:
  preset:
    name: {preset}
  method: {method}
  config: tune-params
  input:
    urls:
      - https://example.com/train.jsonl
  output:
    image: registry.example.com/adapters:v1
    imagePushSecret: push-secret
"""
SEED_CASE = """training_config:
  ModelConfig:
    torch_dtype: "bfloat16"   # 16 bits
    local_files_only: true
    device_map: "auto"
  # adapters
  LoraConfig:
    r: 8
    lora_alpha: 8
    lora_dropout: 0.0
    target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"] # attention only
  TrainingArguments:
    output_dir: "/mnt/results"
    per_device_train_batch_size: 1
    max_length: 3500
    gradient_checkpointing: false
  DataCollator:
    mlm: true
  DatasetConfig:
    train_test_split: 1
"""


def workspace(
    name: str = "tune",
    instance: str = "Standard_NC24ads_A100_v4",
    preset: str = "phi-3-mini-128k-instruct",
    method: str = "lora",
) -> str:
    return WORKSPACE.format(name=name, instance=instance, preset=preset, method=method)


def config_map(inner: str, style: str = "|", width: int = 10**6) -> str:
    """Return a ConfigMap whose training config is a scalar of one of YAML's styles."""
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: tune-params\ndata:\n  training_config.yaml: "
    first, *rest = yaml.dump(inner, default_style=style, width=width).rstrip("\n").split("\n")
    return head + first + "\n" + "".join(f"  {line}\n" if line else "\n" for line in rest)


def compiled(
    *texts: str, goal: Goal = Goal.FIT, preserve: Preserve = Preserve.STATISTICAL, bom: bool = False, **stated: str
) -> Compilation:
    sources = [Source(f"manifest-{index}.yaml", text, bom) for index, text in enumerate(texts)]
    context = PassContext(goal=goal, preserve=preserve, job_rules=JOB_RULES)
    request = CompileRequest(overrides_of(stated), SettingsFinder(isolated=True), RULE_SET, context)
    return compile_files([source.path for source in sources], request, sources)


def overrides_of(stated: dict[str, str]) -> Overrides:
    return Overrides(
        model=stated.get("model"),
        gpu=stated.get("gpu"),
        kaito_version=stated.get("version"),
        target=stated.get("target"),
        attention=stated.get("attention"),
    )


def strict_findings(text: str, **stated: str) -> list[str]:
    engine = Engine(RULE_SET, overrides_of(stated), SettingsFinder(isolated=True))
    engine.library.add_source(Source("out.yaml", text))
    found = engine.check(["out.yaml"]).findings
    return [f"{one.code} {one.message}" for one in found if one.severity is not Severity.INFO]


def test_the_seeds_lora_case_fits_a_small_gpu_with_the_same_result() -> None:
    stated = {"target": "bundled", "attention": "eager"}

    result = compiled(f"{workspace()}---\n{config_map(SEED_CASE)}", **stated)
    (job,) = result.jobs
    peak_before, peak_after = job.performance_before.peak_bytes, job.performance_after.peak_bytes

    assert not result.is_refused
    assert peak_before is not None
    assert peak_after is not None
    assert peak_after <= 0.2 * peak_before
    assert Preserves.CHANGES not in {change.preserves for change in job.changes}
    assert strict_findings(result.files[0].text, target="bundled") == []
    assert strict_findings(result.files[0].text, target="bundled", gpu="A10") == []


@pytest.mark.parametrize("style", ["|", ">", "'", '"'])
@pytest.mark.parametrize("version", ["v0.8", "v0.10", "v0.11", newest_release().name])
def test_what_comes_out_passes_a_strict_check(style: str, version: str) -> None:
    inner = SEED_CASE if version not in ("v0.8", "v0.10") else SEED_CASE.replace("    max_length: 3500\n", "")

    result = compiled(f"{workspace()}---\n{config_map(inner, style)}", version=version)

    assert [problem.message for problem in result.problems] == []
    assert strict_findings(result.files[0].text, version=version) == []


def test_a_file_without_anything_to_change_comes_back_byte_by_byte() -> None:
    once = compiled(f"{workspace()}---\n{config_map(SEED_CASE)}").files[0].text

    again = compiled(once)

    assert again.files[0].text == once
    assert again.jobs[0].changes == ()


def test_windows_line_breaks_and_the_byte_order_mark_stay() -> None:
    text = f"{workspace()}---\n{config_map(SEED_CASE)}".replace("\n", "\r\n")

    (file,) = compiled(text, bom=True).files

    assert file.is_changed
    assert not re.search(r"(?<!\r)\n", file.text)
    assert file.source.encode(file.text).startswith(b"\xef\xbb\xbf")


def test_comments_stay() -> None:
    text = f"{workspace()}---\n{config_map(SEED_CASE)}"

    (file,) = compiled(text).files

    assert re.findall("#.*", file.text) == re.findall("#.*", text)


@pytest.mark.parametrize(
    ("instance", "preset", "named"),
    [
        ("Standard_NC12s_v3", "falcon-7b", ("falcon-7b", "Standard_NC12s_v3")),
        ("Standard_NC6s_v3", "phi-3-mini-128k-instruct", ("Standard_NC6s_v3",)),
    ],
)
def test_a_removed_preset_or_instance_type_is_named_and_refused(
    instance: str, preset: str, named: tuple[str, ...]
) -> None:
    text = workspace(instance=instance, preset=preset, method="qlora").replace("  config: tune-params\n", "")

    result = compiled(text)

    assert result.is_refused
    messages = " ".join(problem.message for problem in result.problems)
    assert all(name in messages for name in named)


def test_a_run_that_cannot_fit_says_what_binds_and_by_how_much() -> None:
    inner = SEED_CASE.replace("q_proj", "up_proj").replace("3500", "4096")

    result = compiled(f"{workspace(preset='qwen2.5-coder-32b-instruct')}---\n{config_map(inner)}", gpu="A10")

    assert result.is_refused
    assert re.search(r"needs at least [\d.]+ GiB \(weights: .* GiB too much", result.jobs[0].binding)


def test_workspaces_that_share_a_config_map_all_fit() -> None:
    small, large = workspace("small", "Standard_NV36ads_A10_v5"), workspace("large")
    inner = SEED_CASE.replace("max_length: 3500", "max_length: 2048")

    result = compiled(f"{small}---\n{large}---\n{config_map(inner)}", goal=Goal.THROUGHPUT)

    assert [job.after.fits for job in result.jobs] == [True, True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "- 1\n",
        config_map("training_config: {}\n"),
        config_map("training_config:\n"),
        config_map("training_config: {LoraConfig: [], TrainingArguments: 3}\n"),
        config_map("a: 1\n"),
        config_map("training_config:\n  LoraConfig: &x {r: 8}\n  TrainingArguments:\n    <<: *x\n"),
        workspace().replace("  name: tune\n", "  labels: {}\n").replace("  config: tune-params\n", ""),
        workspace().replace("name: tune\n", "name: 3\n"),
        workspace(method="QLoRA").replace("  config: tune-params\n", "  config: \n"),
        "apiVersion: kaito.sh/v1beta1\nkind: Workspace\ntuning: {method: lora, preset: {name: phi-4}}\n",
        "apiVersion: kaito.sh/v1beta1\nkind: Workspace\ntuning:\n",
    ],
)
def test_odd_input_is_compiled_or_refused_but_never_an_accident(text: str) -> None:
    result = compiled(text, gpu="A100-80GB")

    assert compiled(result.files[0].text, gpu="A100-80GB").files[0].is_changed is False


def test_a_workspace_and_its_config_map_may_stand_in_two_files() -> None:
    result = compiled(workspace(), config_map(SEED_CASE))

    assert [file.is_changed for file in result.files] == [False, True]
    assert len(result.jobs) == 1


def test_every_change_tells_its_place_in_the_file_as_it_was() -> None:
    text = f"{workspace()}---\n{config_map(SEED_CASE)}"
    lines = text.splitlines()

    changes = compiled(text, target="bundled", attention="eager").jobs[0].changes

    places = {change.what: lines[change.position.line - 1] for change in changes if change.before}
    assert "target_modules" in places["LoraConfig.target_modules"]
    assert "gradient_checkpointing" in places["TrainingArguments.gradient_checkpointing"]
    assert "mlm" in places["DataCollator.mlm"]


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("target", ["kaito", "bundled"])
def test_every_goal_settles_and_fits(goal: Goal, target: str) -> None:
    text = f"{workspace()}---\n{config_map(SEED_CASE.replace('batch_size: 1', 'batch_size: 8'))}"

    result = compiled(text, goal=goal, target=target)
    again = compiled(result.files[0].text, goal=goal, target=target)

    assert result.jobs[0].after.fits
    assert not again.files[0].is_changed


def test_a_faster_goal_is_never_predicted_slower() -> None:
    text = f"{workspace()}---\n{config_map(SEED_CASE)}"

    speeds = [
        compiled(text, goal=goal, target="bundled").jobs[0].performance_after.tokens_per_second
        for goal in (Goal.MEMORY, Goal.FIT, Goal.THROUGHPUT)
    ]

    assert None not in speeds
    assert speeds == sorted(speeds, key=lambda speed: speed or 0.0)
