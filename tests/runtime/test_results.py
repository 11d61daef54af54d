"""What a run writes beside the adapter: the card, a merged model, an image; and that no secret is among it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.observe.report import RunReport
from kaitoc.runtime.output.checkpoints import require_same_plan, write_plan
from kaitoc.runtime.output.model_card import card
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.redact import redacted

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
QLORA = {"method": "nf4", "compute_dtype": "float32"}


def report() -> RunReport:
    return RunReport(
        device="cpu",
        num_steps=4,
        num_examples=24,
        num_truncated=3,
        num_skipped=0,
        num_trainable_parameters=1234,
        trainable_by_module={"qkv_proj": 1234},
        first_loss=7.0,
        last_loss=6.5,
        seconds=1.0,
        tokens_per_second=10.0,
        predicted_allocated_bytes=None,
        measured_allocated_bytes=None,
        predicted_reserved_bytes=None,
        measured_reserved_bytes=None,
        predicted_device_bytes=None,
        measured_device_bytes=None,
        adapter_folder="adapter",
    )


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(torch.arange(5, 37).unsqueeze(0)).logits


@pytest.mark.parametrize("quantization", [{}, QLORA], ids=["lora", "qlora"])
def test_a_merged_model_computes_what_the_adapter_on_its_base_does_and_the_pusher_finds_its_files(
    make_plan: MakePlan, tiny_model: Path, quantization: dict[str, Any]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plan = make_plan(output={"merge": True, "oci_layout": True}, quantization=quantization)
    run_plan(plan, RunOptions("cpu", show_progress=False))
    output = Path(plan.output.path)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(output / "merged", dtype=torch.float32)

    before = logits(base)
    with quiet_libraries():
        tuned = logits(PeftModel.from_pretrained(base, output / "adapter"))

    assert torch.allclose(logits(merged), tuned, atol=1e-4)
    assert not torch.allclose(before, tuned, atol=1e-3)
    assert (output / "merged" / "model.safetensors").exists()
    assert (output / "image" / "oci-layout").exists()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (output / name).read_bytes() == (output / "adapter" / name).read_bytes()
    assert "Training loss" in (output / "adapter" / "README.md").read_text()


def test_the_card_names_base_data_and_result_and_holds_the_plan(make_plan: MakePlan) -> None:
    plan = make_plan()

    text = card(plan, report())
    front, _, rest = text.removeprefix("---\n").partition("\n---\n")
    shown = json.loads(rest.partition("```json\n")[2].partition("```")[0])

    assert f'base_model: "{plan.model.path}"' in front
    assert plan.data.paths[0] in rest
    assert "7.000 at first, 6.500 at last" in rest
    assert Plan.model_validate(shown) == plan


def test_names_in_a_card_cannot_add_markup(make_plan: MakePlan) -> None:
    plan = make_plan().model_copy(update={"name": "a\n# <script>"})

    assert "\n# <script>" not in card(plan, report())


def test_no_secret_is_written_with_a_plan(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(
        data={"paths": ["https://u:SECRET@host/a.jsonl?sig=SECRET"]},
        training={
            "extra_training_arguments": {
                "hub_token": "SECRET",
                "adam_beta1": 0.8,
                "run_name": "https://u:SECRET@host/",
                "lr_scheduler_kwargs": '{"api_key": "SECRET"}',
                "accelerator_config": {"token": "SECRET"},
            }
        },
    )
    write_plan(plan, tmp_path)

    assert "SECRET" not in (tmp_path / "plan.json").read_text()
    assert "SECRET" not in card(plan, report())
    assert redacted(plan).training.extra_training_arguments["adam_beta1"] == 0.8
    require_same_plan(plan, tmp_path)


def test_no_planted_secret_is_written_or_logged(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Secrets in all places that can hold one: arguments, the environment, the credentials and query of an address."""
    data = tmp_path / "served" / "rows.jsonl"
    data.parent.mkdir()
    data.write_text('{"text": "a rule finds a wrong key"}\n' * 4)
    for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hf_SECRET")
    handler = partial(SimpleHTTPRequestHandler, directory=str(data.parent))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/rows.jsonl?sig=SECRET#sha256={sha256(data.read_bytes()).hexdigest()}"
        plan = make_plan(
            data={"paths": [address]},
            training={
                "max_steps": 2, "save_strategy": "steps", "save_steps": 1, "report_to": ["tensorboard"],
                "extra_training_arguments": {
                    "hub_token": "hf_SECRET", "run_name": "https://u:SECRET@host/run?sig=SECRET",
                    "hub_model_id": "token=SECRET",
                },
            },
            output={"path": str(tmp_path / "results"), "merge": True, "oci_layout": True},
        )  # fmt: skip
        report_text = run_plan(plan, RunOptions("cpu")).to_text()
        server.shutdown()

    told = capsys.readouterr()
    written = {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if file.is_file()}
    assert (tmp_path / "results" / "checkpoints" / "checkpoint-2" / "training_args.bin") in written
    assert [str(file) for file, content in written.items() if b"SECRET" in content] == []
    assert "SECRET" not in told.out + report_text
    assert "SECRET" not in told.err.replace("GET /rows.jsonl?sig=SECRET", "")  # the test's own server logs its requests
