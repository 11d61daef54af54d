"""Direct preference optimization in memory: two rows a pair, and the reference's pass beside the policy's tensors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.cli import cli
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.data_lengths import row_tokens
from kaitoc.compiler.memory.estimate import FineTune, workload_from
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.throughput.work import work_of
from kaitoc.compiler.memory.workload import Dtype, Loss, Reference, Workload, WorkloadError


def model(name: str, num_layers: int | None = None) -> Architecture:
    found = find_model(name)
    assert found is not None
    if num_layers is None:
        return found
    return from_config("shallow", {**found.config, "model_type": found.model_type, "num_hidden_layers": num_layers})


def step(architecture: Architecture, method: str = "lora", *, checkpoints: bool = False) -> Workload:
    return workload_from(FineTune(architecture, method=method, task="dpo", gradient_checkpointing=checkpoints))


def peaks(workload: Workload) -> dict[Phase, int]:
    return {peak.phase: peak.allocated_bytes for peak in footprint(workload).phases}


def without(workload: Workload) -> Workload:
    return replace(workload, reference=Reference.NONE)


def test_a_pair_is_two_rows_of_unequal_length() -> None:
    pairs = workload_from(FineTune(model("phi-4"), task="dpo", batch_size=3))

    assert (pairs.batch_size, pairs.is_padded, pairs.loss) == (6, True, Loss.FUSED)


def test_the_base_of_an_adapter_is_a_reference_that_takes_no_weights() -> None:
    pairs = step(model("qwen2.5-0.5b"))

    assert peaks(pairs)[Phase.LOAD] == peaks(without(pairs))[Phase.LOAD]
    assert peaks(pairs)[Phase.FORWARD] > peaks(without(pairs))[Phase.FORWARD]
    assert peaks(pairs)[Phase.BACKWARD] == peaks(without(pairs))[Phase.BACKWARD]


def test_a_model_that_is_trained_whole_is_compared_with_a_copy() -> None:
    pairs = step(model("qwen2.5-0.5b"), "full")
    weights_bytes = footprint(without(pairs)).peak.categories.weights

    plain = peaks(without(pairs))

    assert {phase for phase in plain if peaks(pairs)[phase] < plain[phase] + weights_bytes} == set()


def test_a_reference_runs_a_forward_pass_more() -> None:
    pairs = step(model("qwen2.5-0.5b"))
    plain, more = work_of(without(pairs)).num_launches, work_of(pairs).num_launches

    assert {direction for direction in more if more[direction] > plain[direction]} == {next(iter(more))}


@pytest.mark.parametrize(
    ("change", "words"),
    [({"batch_size": 3}, "even number of rows"), ({"loss": Loss.FULL}, "not a full one"), ({"lora": None}, "a copy")],
)
def test_a_step_that_trl_would_not_take_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        footprint(replace(step(model("qwen2.5-0.5b")), **change))


def test_the_longer_answer_of_a_pair_is_its_length(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "p" * 30, "chosen": "c" * 60, "rejected": "r" * 90}))

    assert max(row_tokens(str(file))) == 40


def test_the_command_tells_the_task() -> None:
    options = ["estimate", "--model", "phi-4", "--batch", "2", "--task", "dpo"]
    (job,) = json.loads(CliRunner().invoke(cli, [*options, "--format", "json"]).stdout)["jobs"]

    assert (job["task"], job["batch"]) == ("dpo", 2)
    assert "DPO, LoRA r=8, 2 pairs x 1,024 tokens" in CliRunner().invoke(cli, options).stdout
    refused = CliRunner().invoke(cli, [*options, "--stack", "kaito-v0.12"])
    assert (refused.exit_code, "--stack trl-chunked" in refused.stderr) == (2, True)


@pytest.mark.runtime
@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "num_layers", "method", "checkpoints", "autocast"),
    [
        ("qwen2.5-0.5b", 4, "lora", False, Dtype.BFLOAT16),
        ("qwen2.5-0.5b", 4, "qlora", False, None),
        ("qwen2.5-0.5b", 4, "qlora", True, Dtype.BFLOAT16),
        ("llama-3.1-8b-instruct", 4, "full", True, None),
        ("llama-3.1-8b-instruct", None, "lora", True, Dtype.BFLOAT16),
    ],
)
def test_the_closed_form_agrees_with_the_trace(
    name: str, num_layers: int | None, method: str, checkpoints: bool, autocast: Dtype | None
) -> None:
    pytest.importorskip("torch")
    from kaitoc.compiler.memory.trace.run import trace

    pairs = replace(step(model(name, num_layers), method, checkpoints=checkpoints), autocast=autocast)
    traced = {peak.phase: peak.allocated_bytes for peak in trace(pairs).phases}

    assert {phase: peaks(pairs)[phase] for phase in traced} == pytest.approx(traced, rel=0.02)
