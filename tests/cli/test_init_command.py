"""`kaitoc init` at the command line: what it writes passes a check, and what it cannot write it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from checking import CONFIG_MAP, kaitoc


@pytest.mark.parametrize(
    ("model", "version"),
    [("phi-4-mini-instruct", "v0.11"), ("phi-3-mini-128k-instruct", "v0.12"), ("qwen2.5-coder-7b-instruct", "v0.12")],
)
def test_init_writes_what_passes_a_strict_check(here: Path, model: str, version: str) -> None:
    (here / "cm.yaml").unlink()

    written = kaitoc("init", "--model", model, "--seq-len", "2048", "--kaito-version", version, "-o", "new.yaml")
    checked = kaitoc("check", "new.yaml", "--strict", "--kaito-version", version)

    assert written.exit_code == 0, written.output
    assert checked.exit_code == 0, checked.stdout
    assert kaitoc("compile", "new.yaml", "--diff", "--kaito-version", version).exit_code == 0


@pytest.mark.parametrize(
    ("cloud", "gpu", "smallest"), [("aws", "L4-24GB", "g6.xlarge"), ("azure", "A100-80GB", "Standard_NC24ads_A100_v4")]
)
def test_init_takes_the_smallest_of_the_instance_types_with_a_gpu(cloud: str, gpu: str, smallest: str) -> None:
    written = kaitoc("init", "--model", "phi-4-mini-instruct", "--cloud", cloud, "--gpu", gpu)

    assert f"instanceType: {smallest}\n" in written.stdout


@pytest.mark.parametrize("version", ["v0.8", "v0.12"])
@pytest.mark.parametrize("model", ["phi-4", "phi-3-mini-4k-instruct", "qwen2.5-coder-32b-instruct"])
def test_init_serves_the_adapter_of_a_tuning_workspace(here: Path, model: str, version: str) -> None:
    words = ("init", "--model", model, "--gpu", "A100-80GB", "--kaito-version", version, "--output-image", "r.io/a:1")

    written = kaitoc(*words, "--serve", "--rank", "24", "-o", "server.yaml")
    checked = kaitoc("check", "server.yaml", "--strict", "--kaito-version", version)

    server = (here / "server.yaml").read_text(encoding="utf-8")
    assert written.exit_code == 0, written.output
    assert checked.exit_code == 0, checked.stdout
    assert "No findings" in checked.stdout
    assert "image: r.io/a:1" in server
    assert "max-lora-rank: 32" in server
    assert "ConfigMap" not in kaitoc(*words, "--serve").stdout


def test_the_hint_of_a_tuning_job_is_what_init_writes(here: Path) -> None:
    (here / "cm.yaml").write_text(CONFIG_MAP.replace("r: 8", "r: 128"), encoding="utf-8")

    hint = kaitoc("check", "cm.yaml", "--select", "KT731").stdout
    server = kaitoc("init", "--model", "phi-4", "--gpu", "A100-80GB", "--rank", "128", "--serve").stdout

    assert "max-lora-rank: 128" in hint
    assert "max-lora-rank: 128" in server


def test_init_takes_qlora_where_lora_does_not_fit(here: Path) -> None:
    result = kaitoc("init", "--model", "phi-4", "--gpu", "A10-24GB")

    assert result.exit_code == 0
    assert "method: qlora" in result.stdout


def test_init_derives_the_batch_from_the_number_of_samples(here: Path) -> None:
    result = kaitoc("init", "--model", "phi-4-mini-instruct", "--num-samples", "200")

    assert "gradient_accumulation_steps: 4" in result.stdout


def test_init_prefers_a_gpu_that_leaves_a_margin(here: Path) -> None:
    words = ("--model", "qwen2.5-coder-32b-instruct", "--method", "qlora", "--rank", "4", "--kaito-version", "v0.8")

    chosen = kaitoc("init", *words)
    tight = kaitoc("init", *words, "--gpu", "A10-24GB")

    assert "Standard_NV36ads_A10_v5" not in chosen.stdout
    assert "of one GPU;" in chosen.stderr
    assert "# kaitoc: ignore[KT502] nothing with the same result leaves a wider margin" in tight.stdout
    assert "of one GPU, which is tight;" in tight.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--model", "llama-3.1-8b"), 2, "cannot tune"),
        (("--model", "phi-4", "--gpu", "A10-24GB", "--seq-len", "16000"), 1, "too much"),
        (("--model", "phi-4", "--seq-len", "10000000"), 1, "takes at most"),
        (("--model", "phi-4", "--data-format", "text"), 2, "cannot train on plain text"),
        (("--model", "phi-4", "-o", "cm.yaml"), 2, "already exists"),
        (("--model", "phi-4", "--gpu", "Standard_NC12s_v9"), 1, "lists no instance type"),
        (("--model", "phi-4", "--gpu", "A10-24G"), 1, "did you mean `A10-24GB`, `A10G-24GB` or"),
        (("--model", "phi-4", "--gpu", "A2"), 1, "with A2 for --cloud azure; `--cloud arc` has Standard_NC4_A2"),
        (("--model", "phi-4", "--gpu", "A10-24GB", "--method", "lora"), 1, "it fits with `--method qlora`"),
        (("--model", "phi-4", "--kaito-version", "v0.13"), 2, "v0.12); the nearest is v0.12"),
        (("--model", "phi-4", "--kaito-version", "v0.3"), 2, "v0.12); the nearest is v0.8"),
        (("--model", "phi-4", "--serve"), 2, "name it with --gpu"),
        (("--model", "phi-4", "--serve", "--gpu", "A100-80GB", "--rank", "600"), 1, "no rank above 512"),
        (
            ("--model", "falcon-7b", "--serve", "--gpu", "A100-80GB", "--kaito-version", "v0.10"),
            1,
            "it takes no adapters",
        ),
    ],
)
def test_init_says_what_it_cannot_do(here: Path, words: tuple[str, ...], code: int, message: str) -> None:
    result = kaitoc("init", *words)

    assert result.exit_code == code
    assert message in result.stderr
    assert (here / "cm.yaml").read_text(encoding="utf-8") == CONFIG_MAP
