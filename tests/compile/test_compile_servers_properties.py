"""What holds of every compiled server, drawn at random: settled, silent on what was written, and never worse off."""

from __future__ import annotations

import random
from dataclasses import dataclass
from difflib import SequenceMatcher

import pytest

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation
from kaitoc.compiler.compile.serving import ServingSubject
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.prices import Prices
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.passes.model import Goal, Preserve
from kaitoc.compiling import request_for

NUM_DRAWN = 24
PRICES = Prices((("Standard_NV36ads_A10_v5", 3.2), ("Standard_NC24ads_A100_v4", 3.7), ("Standard_NC40ads_H100_v5", 7.0),
                 ("Standard_NC48ads_A100_v4", 7.3), ("g6.12xlarge", 4.6)))  # fmt: skip
INSTANCES = ("Standard_NV36ads_A10_v5", "Standard_NC24ads_A100_v4", "Standard_NC48ads_A100_v4",
             "Standard_NC40ads_H100_v5", "Standard_NC96ads_A100_v4", "g6.12xlarge", "g5.2xlarge")  # fmt: skip
PRESETS = ("meta-llama/Llama-3.1-8B-Instruct", "phi-4", "google/gemma-3-27b-it", "openai/gpt-oss-20b",
           "phi-4-mini-instruct", "Qwen/Qwen2.5-Coder-32B-Instruct", "meta-llama/Llama-3.3-70B-Instruct")  # fmt: skip
OPTIONS = {
    "max-model-len": ("4096", "16384", "131072", "8k", "'8192'"),
    "max_model_len": ("32768", "131072"),
    "gpu-memory-utilization": ("0.7", "0.95", "1.0", "'0.9'"),
    "max-num-seqs": ("8", "64", "2048", "16.0"),
    "max-num-batched-tokens": ("1024", "8192", "262144"),
    "tensor-parallel-size": ("1", "2", "4", "8"),
    "pipeline-parallel-size": ("1", "2"),
    "data-parallel-size": ("2",),
    "kv-cache-dtype": ("fp8", "auto", "int8"),
    "enable-prefix-caching": ("true", "false"),
    "enable-chunked-prefill": ("true", "false"),
    "enforce-eager": ("true", "null"),
    "dtype": ("bf16", "bfloat16", "auto"),
    "swap-space": ("4",),
    "num-scheduler-steps": ("8",),
    "enable-prefix-cacheing": ("true",),
    "served-model-name": ("chat", "[a, b]"),
    "seed": ("1", "012"),
    "cpu-offload-gb": ("0", "4"),
}


@dataclass(frozen=True)
class Drawn:
    text: str
    goal: Goal
    preserve: Preserve
    edits: bool

    def compiled(self, text: str) -> Compilation:
        request = request_for(
            Overrides(prices=PRICES.usd_per_hour), goal=self.goal, preserve=self.preserve,
            allow_workspace_edits=self.edits, settings=SettingsFinder(isolated=True))  # fmt: skip
        return compile_files(["in.yaml"], request, [Source("in.yaml", text)])


def drawn(seed: int) -> Drawn:
    choose = random.Random(seed)
    names = choose.sample(sorted(OPTIONS), choose.randint(0, 5))
    lines = [f"      {name}: {choose.choice(OPTIONS[name])}{choose.choice(('', '  # why'))}" for name in names]
    root = choose.choice(("", "", "    kv_cache_cpu_memory_utilization: 0.5\n", "    max_probe_steps: 6\n"))
    inner = root + ("    vllm:\n" + "\n".join(lines) + "\n" if lines else "    vllm: {}\n")
    has_config = choose.random() < 0.85
    config_map = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  inference_config.yaml: |\n{inner}---\n"
    )
    reference = "  config: c\n" if has_config else ""
    instance, preset = choose.choice(INSTANCES), choose.choice(PRESETS)
    head = "apiVersion: kaito.sh/v1beta1\nkind: {}\nmetadata: {{name: server}}\n"
    resource = f"resource:\n  instanceType: {instance}\n"
    inference = f"inference:\n{reference}  preset:\n    name: {preset}\n    presetOptions: {{modelAccessSecret: hub}}\n"
    labels = "labelSelector: {matchLabels: {app: server}}\n"
    if choose.random() < 0.3:
        body = "".join(f"    {line}\n" for line in (resource + inference).splitlines())
        text = head.format("InferenceSet") + f"spec:\n  replicas: 1\n  {labels}  template:\n{body}"
    else:
        text = head.format("Workspace") + f"{resource}  {labels}{inference}"
    return Drawn(
        (config_map if has_config else "") + text,
        choose.choice((Goal.FIT, Goal.FIT, Goal.LATENCY, Goal.THROUGHPUT, Goal.COST)),
        choose.choice((Preserve.EXACT, Preserve.STATISTICAL, Preserve.ANY)),
        choose.random() < 0.3,
    )


def read(text: str) -> tuple[ServingSubject, list[Finding]]:
    engine = Engine(all_rules(), Overrides(), SettingsFinder(isolated=True))
    engine.library.add_source(Source("in.yaml", text))
    (job,) = engine.servers_of(engine.library.add_given("in.yaml"))
    return ServingSubject(job), [one for one in engine.check(["in.yaml"]).findings if one.severity is not Severity.INFO]


def hold_laws(seed: int) -> None:
    """Assert the laws of one drawn server."""
    case = drawn(seed)
    result = case.compiled(case.text)
    before, found_before = read(case.text)
    webhook_refuses = any(one.code.startswith(("KT1", "KT3")) for one in found_before)
    if result.is_refused:
        assert not before.may_start or webhook_refuses or _lacks_heads(found_before)
        return
    after_text = result.files[0].text
    after, found_after = read(after_text)

    assert case.compiled(after_text).diff == ""
    assert after.may_start
    written = _written_lines(case.text, after_text)
    faults = [one for one in found_after if one.source.position(one.span.start).line in written]
    assert [one for one in faults if not _is_hidden_length(one)] == []
    if before.is_readable and "resource.instanceType" not in {change.what for change in result.jobs[0].changes}:
        nodes = [one.job.kaito_nodes for one in (before, after)]
        assert [one and one.num_nodes for one in nodes[:1]] == [one and one.num_nodes for one in nodes[1:]]
    changes = result.jobs[0].changes
    told = " ".join(f"{change.what} {change.before} {change.after} {change.reason}" for change in changes)
    if not any(change.code == "KT702" for change in changes):  # two options become one line
        assert [line for line in _removed_lines(case.text, after_text) if not _is_told(line, told)] == []


def _lacks_heads(findings: list[Finding]) -> bool:
    return any(one.code == "KT711" for one in findings)


def _is_hidden_length(finding: Finding) -> bool:
    """Return whether Kaito's estimate misses a length for the comment behind it, which moved would change the nodes."""
    line = finding.source.line_text(finding.source.position(finding.span.start).line)
    return finding.code == "KT730" and "#" in line


def _written_lines(before: str, after: str) -> set[int]:
    """Return the numbers of the lines that are new."""
    matcher = SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    return {
        line + 1 for kind, _, _, start, end in matcher.get_opcodes() if kind != "equal" for line in range(start, end)
    }


def _removed_lines(before: str, after: str) -> list[str]:
    lines = before.splitlines()
    matcher = SequenceMatcher(None, lines, after.splitlines(), autojunk=False)
    return [line for kind, start, end, _, _ in matcher.get_opcodes() if kind != "equal" for line in lines[start:end]]


def _is_told(line: str, changes: str) -> bool:
    """Return whether a line that is gone is that of an option which some change names."""
    return line.partition(":")[0].strip() in changes


@pytest.mark.parametrize("seed", range(NUM_DRAWN))
def test_a_compiled_server_is_settled_and_no_worse(seed: int) -> None:
    hold_laws(seed)
