"""What `compile` makes of servers: they start, say nothing new under `check --strict`, and settle at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import kaitoc
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.passes.model import Goal, Preserve
from kaitoc.compiler.report.compile.formats import render_report
from kaitoc.compiler.report.compile.text import render_text
from kaitoc.compiling import request_for

WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: {name}}}
resource:
  instanceType: {instance}
  labelSelector: {{matchLabels: {{app: server}}}}
inference:
  preset:
    name: meta-llama/Llama-3.1-8B-Instruct
    presetOptions: {{modelAccessSecret: hub-token}}
  config: serving
"""
A10, A100 = "Standard_NV36ads_A10_v5", "Standard_NC24ads_A100_v4"
TOO_LONG = "vllm:\n  max_model_len: 131072\n"


def workspace(instance: str = A100, name: str = "server") -> str:
    return WORKSPACE.format(instance=instance, name=name)


def config_map(inner: str) -> str:
    lines = "".join(f"    {line}\n" for line in inner.splitlines())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: serving}}\ndata:\n  inference_config.yaml: |\n{lines}"


def manifests(inner: str, instance: str = A100) -> str:
    return f"{config_map(inner)}---\n{workspace(instance)}"


def compiled(
    text: str, *, preserve: Preserve = Preserve.STATISTICAL, edits: bool = False, release: str | None = None
) -> Compilation:
    request = request_for(
        Overrides(kaito_version=release),
        preserve=preserve,
        allow_workspace_edits=edits,
        settings=SettingsFinder(isolated=True),
    )
    return compile_files(["in.yaml"], request, [Source("in.yaml", text)])


def strict_findings(text: str) -> set[str]:
    engine = Engine(all_rules(), Overrides(), SettingsFinder(isolated=True))
    engine.library.add_source(Source("out.yaml", text))
    return {one.code for one in engine.check(["out.yaml"]).findings if one.severity is not Severity.INFO}


def test_a_config_of_an_older_release_starts_again_and_every_other_line_stays() -> None:
    lines = ["# kept", "vllm:", "  swap-space: 4", "  max-model-len: 8192", "  dtype: bf16 # half"]
    text = manifests("\n".join(lines))

    result = compiled(text)
    after = result.files[0].text

    assert not result.is_refused
    assert strict_findings(after) == set()
    assert after == text.replace("      swap-space: 4\n", "").replace("dtype: bf16 #", "dtype: bfloat16 #")
    assert compiled(after).diff == ""


def test_a_server_that_starts_is_left_alone() -> None:
    result = compiled(manifests("vllm:\n  max-model-len: 8192\n"))

    assert result.diff == ""
    assert [job.changes for job in result.jobs] == [()]


@pytest.mark.parametrize(
    "inner",
    [
        "vllm:\n  enable-chunked-prefill: false\n  max-num-batched-tokens: 4096\n  max-model-len: 16384\n",
        "vllm:\n  max_model_len: 65536\n",
    ],
    ids=["chunked prefill that is on only as it is miswritten", "a length that would start more nodes"],
)
def test_no_fix_is_made_after_which_a_server_stops_or_costs_more(inner: str) -> None:
    instance = A10 if "65536" in inner else A100
    result = compiled(manifests(inner + "  kv-cache-dtype: fp8\n" if "65536" in inner else inner, instance))

    assert result.diff == ""


def test_a_context_is_shortened_only_when_that_is_allowed() -> None:
    text = manifests(TOO_LONG, A10)

    refused, allowed = compiled(text), compiled(text, preserve=Preserve.ANY)

    assert refused.is_refused
    assert "a request of 131,072 tokens needs 16.0 GiB of KV cache, A10-24GB has 2.9 GiB" in refused.jobs[0].binding
    assert "--preserve any takes `max-model-len: 12288`" in refused.jobs[0].binding
    assert not allowed.is_refused
    assert "max-model-len: 12288" in allowed.files[0].text


def test_a_context_for_which_kaito_starts_no_node_is_shortened_as_the_refusal_says() -> None:
    text = manifests("vllm:\n  max-model-len: 131072\n", "g5.xlarge")
    text = text.replace("meta-llama/Llama-3.1-8B-Instruct", "microsoft/Phi-3.5-mini-instruct")

    refused, allowed = (compiled(text, preserve=one, release="v0.9") for one in (Preserve.STATISTICAL, Preserve.ANY))

    assert {"KT741", "KT745"} <= {problem.code for problem in refused.problems}
    assert "--preserve any takes `max-model-len: 27648`" in refused.jobs[0].binding
    assert not allowed.is_refused
    assert allowed.files[0].text == text.replace("131072", "27648")


def test_another_instance_type_is_taken_only_when_that_is_allowed() -> None:
    refused = compiled(manifests(TOO_LONG, A10), preserve=Preserve.ANY)
    taken = compiled(manifests(TOO_LONG, A10), edits=True)

    assert "instanceType: Standard_NV36ads_A10_v5" in refused.files[0].text
    assert f"instanceType: {A100}" in taken.files[0].text
    assert strict_findings(taken.files[0].text) == set()


def test_servers_that_share_a_config_map_must_all_start() -> None:
    text = f"{config_map(TOO_LONG)}---\n{workspace(A100, 'large')}---\n{workspace(A10, 'small')}"

    result = compiled(text, preserve=Preserve.ANY)

    assert not result.is_refused
    assert "12288" in result.files[0].text
    assert [job.performance_after.server is not None for job in result.jobs] == [True, True]


def test_a_missing_config_map_is_named_and_nothing_is_made_of_it() -> None:
    result = compiled(workspace())

    assert result.diff == ""
    assert "ConfigMap `serving` is not in this file" in result.missing[0]


def test_a_placeholder_is_not_judged() -> None:
    assert compiled(manifests("vllm:\n  max-model-len: ${LENGTH}\n  swap-space: 4\n")).is_refused is False


def test_reports_say_what_a_change_moves() -> None:
    result = compiled(manifests(TOO_LONG, A10), preserve=Preserve.ANY)
    (job,) = json.loads(render_report("json", result))["jobs"]

    before = job["performance_before"]["server"]
    assert [before[name] for name in ("kv_tokens", "context_tokens", "num_requests", "num_nodes")] == [0, 0, 0.0, 1]
    assert before["token_seconds"] is None
    assert job["performance_after"]["server"]["context_tokens"] == 12288
    for text in (render_text(result), render_report("markdown", result), render_report("html", result)):
        assert "12,288 tokens" in text
        assert "does not start" in text
        assert "Peak" not in text


def test_the_command_and_the_function_agree(tmp_path: Path) -> None:
    path = tmp_path / "serving.yaml"
    path.write_text(manifests("vllm:\n  swap-space: 4\n  seed: 1\n"), encoding="utf-8")

    shown = subprocess.run(
        [sys.executable, "-m", "kaitoc", "compile", "--isolated", str(path), "-o", "-"],
        capture_output=True, text=True, check=True)  # fmt: skip

    assert shown.stdout == kaitoc.compile([path], isolated=True).files[0].text
    assert "swap-space" not in shown.stdout


def test_a_goal_of_speed_says_what_its_estimates_are_worth() -> None:
    request = request_for(Overrides(), goal=Goal.LATENCY, settings=SettingsFinder(isolated=True))
    text = manifests("vllm:\n  max-model-len: 8192\n", "Standard_NC48ads_A100_v4")

    result = compile_files(["in.yaml"], request, [Source("in.yaml", text)])

    assert "tensor-parallel-size: 2" in result.files[0].text
    assert "measured servers took" in result.notes[0]
    assert strict_findings(result.files[0].text) == set()
    assert "estimate, each token of one request" in render_text(result)


def test_without_a_goal_no_speed_is_told() -> None:
    result = compiled(manifests("vllm:\n  max-model-len: 8192\n"))

    assert "estimate" not in render_text(result)
    assert result.notes == ()


def test_the_goal_of_cost_says_which_price_is_missing() -> None:
    request = request_for(Overrides(), goal=Goal.COST, settings=SettingsFinder(isolated=True))

    result = compile_files(["in.yaml"], request, [Source("in.yaml", manifests("vllm:\n  seed: 1\n"))])

    assert result.notes == (f"--goal cost: the price of {A100} is missing; give --price {A100}=USD",)
