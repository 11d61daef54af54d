"""`kaitoc estimate`: what options mean, and models that only transformers knows."""

from __future__ import annotations

import importlib.util
import json
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.cli import cli
from kaitoc.compiler.memory.estimate import NO_AUTOCAST, FineTune, workload_from
from kaitoc.compiler.memory.workload import Dtype

LLAMA = find_model("llama-3.2-1b")
assert LLAMA is not None
OLMO = {
    "model_type": "olmo2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 512,
}  # fmt: skip


def estimate(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["estimate", *arguments])


def allocated_bytes(*arguments: str) -> int:
    report = json.loads(estimate("--model", "llama-3.2-1b", "--format", "json", *arguments).stdout)
    found: int = report["jobs"][0]["peak_bytes"]["allocated"]
    return found


def autocast(stack: str, **options: str) -> Dtype | None:
    return workload_from(FineTune(LLAMA, stack, **options)).autocast


@pytest.mark.parametrize("stack", ["transformers-4.45", "transformers-4.48", "transformers-5"])
def test_trainer_scripts_run_quantized_models_under_autocast_and_others_not(stack: str) -> None:
    assert autocast(stack, method="qlora") is Dtype.BFLOAT16
    assert autocast(stack, method="qlora", dtype="float16") is Dtype.FLOAT16
    assert autocast(stack) is None
    assert autocast(stack, method="full") is None


@pytest.mark.parametrize(("stack", "expected"), [("trl-chunked", Dtype.BFLOAT16), ("kaito-v0.10", None)])
def test_other_stacks_have_their_own_default(stack: str, expected: Dtype | None) -> None:
    assert autocast(stack) is expected
    assert autocast(stack, method="qlora") is expected


def test_autocast_can_be_turned_on_and_off() -> None:
    assert autocast("trl-chunked", autocast=NO_AUTOCAST) is None
    assert autocast("transformers-5", autocast="float16") is Dtype.FLOAT16


MORE = [
    ("--dropout", "0.1"),
    ("--padding",),
    ("--accumulation", "2"),
    ("--dora",),
    ("--modules-to-save", "lm_head"),
    ("--attention", "eager"),
    ("--gpus", "2"),
]
LESS = [("--checkpointing",), ("--autocast", "bfloat16")]
PLAIN = ("--stack", "transformers-5", "--batch", "2", "--loss", "chunked", "--no-checkpointing")


@pytest.mark.parametrize("option", MORE, ids=lambda option: option[0])
def test_an_option_that_takes_memory_is_heard(option: tuple[str, ...]) -> None:
    assert allocated_bytes(*PLAIN, *option) > allocated_bytes(*PLAIN)


@pytest.mark.parametrize("option", LESS, ids=lambda option: option[0])
def test_an_option_that_saves_memory_is_heard(option: tuple[str, ...]) -> None:
    """Autocast spares float32 adapters the float32 copies of their inputs."""
    assert allocated_bytes(*PLAIN, *option) < allocated_bytes(*PLAIN)


@pytest.mark.parametrize("text", ["1", "-0.1", "much"])
def test_an_impossible_dropout_is_refused(text: str) -> None:
    result = estimate("--model", "llama-3.2-1b", "--dropout", text)
    assert result.exit_code == 2
    assert "--dropout" in result.stderr


def test_flash_attention_on_a_gpu_without_it_is_a_clear_error() -> None:
    result = estimate("--model", "llama-3.2-1b", "--attention", "flash", "--gpu", "T4")
    assert result.exit_code == 2
    assert "flash attention needs an Ampere or later GPU" in result.stderr


@pytest.fixture
def olmo(tmp_path: Path) -> str:
    path = tmp_path / "olmo.json"
    path.write_text(json.dumps(OLMO))
    return str(path)


@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")
def test_a_model_without_closed_form_is_traced(olmo: str) -> None:
    pytest.importorskip("torch")
    result = estimate(
        "--model-config", olmo, "--gpu", "T4", "--dtype", "float16", "--seq-len", "64", "--format", "json"
    )

    assert result.exit_code == 0
    assert "no closed form for `olmo2`; tracing its code instead" in result.stderr
    job = json.loads(result.stdout)["jobs"][0]
    assert job["footprint"]["weights"] > 2 * 2 * 1000 * 256
    assert job["peak_bytes"]["device"] > job["peak_bytes"]["reserved"] >= job["peak_bytes"]["allocated"]


@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")
def test_the_trace_tells_what_is_reserved_from_its_own_log() -> None:
    pytest.importorskip("torch")
    options = ("--model", "llama-3.2-1b", "--stack", "transformers-5", "--seq-len", "256", "--format", "json")
    traced, derived = (
        json.loads(estimate(*options, *more).stdout)["jobs"][0]["peak_bytes"] for more in (("--trace",), ())
    )
    assert traced["allocated"] == pytest.approx(derived["allocated"], rel=0.02)
    assert traced["reserved"] == pytest.approx(derived["reserved"], rel=0.05)
    assert traced["reserved"] != derived["reserved"]


def test_a_model_without_closed_form_needs_torch_and_says_so(olmo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_torch(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "torch" else found(name, package)

    monkeypatch.setattr("kaitoc.estimating.find_spec", without_torch)
    result = estimate("--model-config", olmo)
    assert result.exit_code == 2
    assert 'pip install "kaitoc[runtime]"' in result.stderr
    result = estimate("--model", "llama-3.2-1b", "--trace")
    assert result.exit_code == 2
    assert 'pip install "kaitoc[runtime]"' in result.stderr


@pytest.mark.runtime
def test_a_model_type_that_nobody_knows_names_the_nearest(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**OLMO, "model_type": "llamma"}))
    result = estimate("--model-config", str(path))
    assert result.exit_code == 2
    assert "the nearest known is `llama`; transformers" in result.stderr
    assert "does not know it either" in result.stderr


@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")
def test_a_config_that_transformers_cannot_build_is_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**OLMO, "hidden_size": -1}))
    result = estimate("--model-config", str(path))
    assert result.exit_code == 2
    assert "transformers cannot build it" in result.stderr


TIGHT = ("--model", "llama-3.2-1b", "--gpu-memory")


def job_on(memory_gib: float, *arguments: str) -> dict[str, object]:
    report = json.loads(estimate(*TIGHT, str(memory_gib), "--format", "json", *arguments).stdout)
    found: dict[str, object] = report["jobs"][0]
    return found


def test_json_has_the_verdict_with_its_interval_and_margin() -> None:
    roomy = job_on(80)
    assert roomy["margin"] == 0.05
    assert (roomy["verdict"], roomy["fits"]) == ("fits", True)
    high_gib = roomy["interval_bytes"]["high"] / 2**30  # type: ignore[index]  # JSON
    tight, small = job_on(high_gib), job_on(high_gib / 2)

    assert (tight["verdict"], tight["fits"]) == ("tight", True)
    assert (small["verdict"], small["fits"]) == ("does-not-fit", False)


def test_a_tight_fit_fails_under_strict_only() -> None:
    high_gib = job_on(80)["interval_bytes"]["high"] / 2**30  # type: ignore[index]  # JSON

    assert estimate(*TIGHT, str(high_gib)).exit_code == 0
    assert estimate(*TIGHT, str(high_gib), "--strict").exit_code == 1
    assert estimate(*TIGHT, str(high_gib), "--strict", "--margin", "0").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "full"), "full fine-tuning, 1 x"),
        (("--method", "qlora"), "QLoRA r=8 nf4, 1 x"),
        (("--quantization", "nf4"), "QLoRA r=8 nf4, not prepared for k-bit training"),
    ],
)
def test_the_headline_tells_methods_apart(arguments: tuple[str, ...], words: str) -> None:
    assert words in estimate("--model", "llama-3.2-1b", *arguments).stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("sweep", "sizes"),
    [
        ("seq-len=512:8192", [*range(512, 8193, 512)]),
        ("batch=1:64", [1, *range(4, 65, 4)]),
        ("rank=3:7", [3, 4, 5, 6, 7]),
    ],
)
def test_a_sweep_takes_round_steps_and_both_ends(sweep: str, sizes: list[int]) -> None:
    rows = estimate("--model", "llama-3.2-1b", "--sweep", sweep).stdout.split("reserved")[1].splitlines()[1:]
    found = [int(row.split()[0].replace(",", "")) for row in rows if row[:10].strip().replace(",", "").isdigit()]

    assert found == sizes


@pytest.mark.parametrize(
    "options",
    [
        ("--method", "full", "--optimizer-in-backward"),
        ("--activation-offload", "--stack", "trl-chunked", "--rank", "64"),
        ("--loss", "cce", "--stack", "transformers-5", "--rank", "64"),
        ("--method", "qlora", "--quantization", "awq", "--stack", "transformers-5", "--rank", "64"),
        ("--holds-outputs", "--loss", "full", "--stack", "transformers-5", "--rank", "64"),
    ],
)
def test_advice_is_only_what_such_a_run_can_follow(options: tuple[str, ...]) -> None:
    result = estimate("--model", "llama-3.2-1b", "--gpu", "A100-80GB", "--batch", "4", *options)

    assert result.exit_code == 0, result.output
    assert "an 8-bit optimizer" in result.stdout


def test_a_version_of_liger_needs_its_loss() -> None:
    result = estimate("--model", "llama-3.2-1b", "--liger-version", "0.5.2")

    assert result.exit_code == 2
    assert "--loss liger" in result.stderr
