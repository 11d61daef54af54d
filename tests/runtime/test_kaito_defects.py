"""The defects of Kaito's tuning image at v0.12 that the bundled runtime does not have: one test each, trained for real.

Sources: kaito-project/kaito at 056b8280, presets/workspace/tuning/text-generation (fine_tuning.py, dataset.py,
parser.py, cli.py), with trl 1.10 and 1.16, peft 0.11.1, bitsandbytes 0.46.1 and transformers 5.14.1.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

pytest.importorskip("torch")

import torch

from kaitoc.compiler.cli import cli
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions, build_model, make_ready
from kaitoc.runtime.launch.run import build_trainer, run_plan
from kaitoc.runtime.quiet import quiet_libraries

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
MakePlan = Callable[..., Plan]
CPU = RunOptions("cpu", show_progress=False)
UNEVEN = [{"prompt": f"Name rule {n}:", "completion": " a key" * (1 + n % 5)} for n in range(16)]
SECTIONS: dict[str, dict[str, Any]] = {
    "ModelConfig": {"torch_dtype": "float32"},
    "LoraConfig": {"r": 4, "lora_alpha": 8, "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]},
    "TrainingArguments": {
        "output_dir": "/mnt/results", "max_steps": 2, "per_device_train_batch_size": 4, "bf16": False,
        "gradient_checkpointing": False, "optim": "adamw_torch", "logging_steps": 1, "save_strategy": "no",
    },
    "DatasetConfig": {"shuffle_dataset": True, "train_test_split": 1},
}  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def first_batch(plan: Plan) -> tuple[Any, Any]:
    """The first batch of a run as the model gets it, and the tokenizer."""
    with quiet_libraries():
        ready = make_ready(plan, replace(CPU, overwrite=True))
        return next(iter(build_trainer(plan, ready).get_train_dataloader())), ready.tokenizer


RunManifest = Callable[..., dict[str, Any]]


@pytest.fixture
def run_manifest(tmp_path: Path, tiny_model: Path) -> RunManifest:
    """A function that executes a config with `kaitoc run` and returns the report; None leaves a section out."""

    def run(data: Path, **changes: dict[str, Any] | None) -> dict[str, Any]:
        stated = {name: {**SECTIONS.get(name, {}), **(changes.get(name) or {})} for name in {**SECTIONS, **changes}}
        sections = {name: values for name, values in stated.items() if changes.get(name, {}) is not None}
        config = yaml.safe_dump({"training_config": sections})
        manifest = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "params"},
            "data": {"training_config.yaml": config},
        }  # fmt: skip
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
        output = tmp_path / "results"
        result = CliRunner().invoke(cli, [
            "run", str(tmp_path / "job.yaml"), "--device", "cpu", "--model-path", str(tiny_model),
            "--data", str(data), "--output", str(output),
        ])  # fmt: skip
        assert result.exit_code == 0, result.output
        report: dict[str, Any] = json.loads((output / "report.json").read_text())
        return report

    return run


def test_p1_batches_above_one_of_rows_of_several_lengths_are_trained_and_evaluated(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    """There: fine_tuning.py's collator cannot pad trl's ragged labels, so any batch above one crashes."""
    plan = make_plan(
        data={"paths": [str(write(tmp_path / "a.jsonl", UNEVEN))], "train_fraction": 0.5},
        training={"per_device_train_batch_size": 4, "per_device_eval_batch_size": 8, "eval_strategy": "epoch"},
    )
    report = run_plan(plan, CPU)

    assert report.num_steps == 4
    assert "eval_loss" in (tmp_path / "results" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("collator", [None, {}, {"pad_to_multiple_of": 8}])
def test_p5_a_config_without_data_collator_or_without_mlm_is_trained(
    run_manifest: RunManifest, tmp_path: Path, collator: dict[str, Any] | None
) -> None:
    """There: `mlm` is true unless stated, and its check of the tokenizer raises AttributeError."""
    data = write(tmp_path / "a.jsonl", UNEVEN)

    assert run_manifest(data, DataCollator=collator)["num_steps"] == 2


def test_p6_the_end_of_an_answer_is_learned_although_it_is_also_the_padding(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    """There: pad_token = eos_token, and the collator masks every padding token, so no model learns to stop."""
    data = write(tmp_path / "a.jsonl", [{"text": "one two"}, {"text": "one two three four five"}] * 4)
    plan = make_plan(data={"paths": [str(data)]}, training={"max_steps": 40}, lora=None)
    batch, tokenizer = first_batch(plan)
    report = run_plan(plan, CPU)

    assert tokenizer.pad_token == tokenizer.eos_token
    assert (batch["labels"] == tokenizer.eos_token_id).sum(dim=1).tolist() == [1, 1]
    before, after = (stop_probability(folder) for folder in (plan.model.path, report.adapter_folder))
    assert before < 0.1 < 0.6 < after


def stop_probability(folder: str) -> float:
    """How sure a model is that a text which it was trained on ends where it does."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with torch.no_grad(), quiet_libraries():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        logits = model(**tokenizer("one two three four five", return_tensors="pt")).logits
    return float(logits[0, -1].softmax(-1)[tokenizer.eos_token_id])


def test_p7_prompts_are_not_trained_on(make_plan: MakePlan, tmp_path: Path) -> None:
    """There: the collator makes labels anew from all ids and so discards trl's completion mask."""
    plan = make_plan(data={"paths": [str(write(tmp_path / "a.jsonl", UNEVEN))]})
    batch, tokenizer = first_batch(plan)

    learned = [tokenizer.decode(row[row >= 0]) for row in batch["labels"]]
    assert all("Name rule" in tokenizer.decode(row) for row in batch["input_ids"])
    assert all(text.startswith(" a key") and "Name rule" not in text for text in learned)
    assert run_plan(plan, CPU).num_steps == 4


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_p8_plain_text_is_trained_on(run_manifest: RunManifest, tmp_path: Path, name: str) -> None:
    """There: `dataset_text_field` is overwritten with None, KeyError: None; a .txt file is not found at all."""
    rows = [f"A text of {number} words." for number in range(8)]
    path = tmp_path / name
    text = "\n\n".join(rows) if name == "a.txt" else "\n".join(json.dumps({"text": row}) for row in rows)
    path.write_text(text + "\n")

    assert run_manifest(path)["num_examples"] == 8


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ({"context_column": "question", "response_column": "answer"}, {"question": "Why? ", "answer": "So."}),
        ({"messages_column": "chat"}, {"chat": [{"role": "user", "content": "Why?"},
                                                {"role": "assistant", "content": "So."}]}),
        ({"response_column": "body"}, {"body": "Because. So."}),
    ],
)  # fmt: skip
def test_p9_columns_that_are_named_are_used(
    run_manifest: RunManifest, tmp_path: Path, columns: dict[str, str], row: dict[str, Any]
) -> None:
    """There: context_column, response_column and messages_column are accepted and never read."""
    data = write(tmp_path / "a.jsonl", [{**row, "text": "not this one"}] * 8)

    assert run_manifest(data, DatasetConfig=columns)["num_examples"] == 8
    plan = Plan.model_validate_json((tmp_path / "results" / "plan.json").read_text())
    batch, tokenizer = first_batch(plan)
    assert "So." in tokenizer.decode(batch["input_ids"][0])
    assert "not this one" not in tokenizer.decode(batch["input_ids"][0])


def test_p10_every_row_is_trained_on_unless_the_config_holds_some_back(
    run_manifest: RunManifest, tmp_path: Path
) -> None:
    """There: `train_test_split` is 0.8 when it is left out, and a fifth of the data is never used."""
    report = run_manifest(write(tmp_path / "a.jsonl", UNEVEN), DatasetConfig=None)

    assert report["num_examples"] == len(UNEVEN)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of `tmp_path`/served."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    served = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()
    served.server_close()


def test_p11_every_data_file_is_used(make_plan: MakePlan, tmp_path: Path) -> None:
    """There: the first file that a walk of the folder meets is the data set."""
    folder = tmp_path / "several" / "deep"
    folder.mkdir(parents=True)
    write(folder.parent / "a.jsonl", UNEVEN[:5])
    write(folder / "b.jsonl", UNEVEN[5:])

    assert run_plan(make_plan(data={"paths": [str(folder.parent)]}), CPU).num_examples == len(UNEVEN)


def test_p11_every_address_is_used_also_when_the_file_names_are_equal(
    make_plan: MakePlan, tmp_path: Path, server: str
) -> None:
    """There: downloads are named by the last part of the address and overwrite each other."""
    for name, rows in (("one", UNEVEN[:5]), ("two", UNEVEN[5:])):
        (tmp_path / "served" / name).mkdir(parents=True)
        write(tmp_path / "served" / name / "train.jsonl", rows)
    paths = [f"{server}/one/train.jsonl", f"{server}/two/train.jsonl?part=2"]

    assert run_plan(make_plan(data={"paths": paths}), CPU).num_examples == len(UNEVEN)


def test_p12_a_model_in_8_bit_is_trained(make_plan: MakePlan) -> None:
    """There: `load_in_8bit` crashes in peft, which reads a field that bitsandbytes' 8-bit state no longer has."""
    import bitsandbytes

    plan = make_plan(quantization={"method": "int8"}, training={"max_steps": 6})
    with quiet_libraries():
        ready = make_ready(plan, CPU)
        model = build_model(plan, "cpu", ready.tokenizer)
    report = run_plan(plan, CPU)

    assert any(isinstance(module, bitsandbytes.nn.Linear8bitLt) for module in model.modules())
    assert report.first_loss is not None
    assert report.last_loss is not None
    assert report.last_loss < report.first_loss
