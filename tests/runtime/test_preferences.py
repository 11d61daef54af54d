"""Direct preference optimization: TRL's own trainer as the reference, with the runs' safety around it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from accelerate import Accelerator
from child_runs import run_ranks
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from tiny_architectures import save_tiny
from transformers import AutoModelForCausalLM, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from kaitoc.compiler.plan.plan import Plan, PlanError, read_plan
from kaitoc.runtime.data.pairs import read_pairs
from kaitoc.runtime.data.preferences import encode_pairs
from kaitoc.runtime.failures import DataFailure, OutOfMemory, RunFailure
from kaitoc.runtime.launch.ready import RunOptions, make_ready
from kaitoc.runtime.launch.run import build_trainer, run_plan
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.even_batches import FilledRows

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
OPTIONS = RunOptions("cpu", show_progress=False)
TEXTS = [
    {"prompt": f"What does rule {number} find? ", "chosen": "A wrong key. " * (1 + number % 3), "rejected": "Nothing."}
    for number in range(12)
]
CHATS = [
    {
        "chosen": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}],
        "rejected": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["rejected"]}],
    }
    for row in TEXTS
]


USER, GOOD, BAD = (
    {"role": role, "content": text} for role, text in [("user", "q"), ("assistant", "g"), ("assistant", "b")]
)
CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {}}}]}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def make_dpo(make_plan: MakePlan, tmp_path: Path) -> MakePlan:
    """A function that makes a plan of a short run on pairs of texts."""

    def make(rows: list[Any] = TEXTS, **changes: Any) -> Plan:
        plan = make_plan(**changes)
        data = plan.data.model_copy(update={"paths": (write(tmp_path / "pairs.jsonl", rows),)})
        return read_plan(plan.model_copy(update={"data": data}).to_json().replace('"dpo": null', '"dpo": {}'))

    return make


def logged(plan: Plan, name: str) -> list[float]:
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines()
    return [entry[name] for entry in map(json.loads, lines) if name in entry]


def losses(plan: Plan) -> list[float]:
    return logged(plan, "loss")


@pytest.mark.parametrize("rows", [TEXTS, CHATS], ids=["texts", "conversations"])
@pytest.mark.parametrize("max_length", [None, 24])
def test_pairs_are_the_tokens_that_trl_makes_of_them(
    make_dpo: MakePlan, tokenizer: Any, rows: list[Any], max_length: int | None
) -> None:
    plan = make_dpo(rows, data={"max_length": max_length})
    encoded = encode_pairs(tokenizer, read_pairs(plan.data.paths).rows, plan.data)
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=max_length, truncation_mode="keep_start")
    with quiet_libraries():
        theirs = DPOTrainer._prepare_dataset(
            SimpleNamespace(_tokenizer=tokenizer), Dataset.from_list(rows), tokenizer, arguments, "train"
        )

    assert [(pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) for pair in encoded.pairs] == [
        (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in theirs
    ]


@pytest.mark.slow
def test_a_run_trains_what_trl_s_own_trainer_does(make_dpo: MakePlan, tokenizer: Any, tmp_path: Path) -> None:
    plan = make_dpo(data={"shuffle": False}, output={"path": str(tmp_path / "results"), "samples": 1})
    report = run_plan(plan, OPTIONS)

    set_seed(plan.training.seed)
    with quiet_libraries():
        arguments = DPOConfig(
            output_dir=str(tmp_path / "trl"), use_cpu=True, max_length=64, max_steps=4, per_device_train_batch_size=2,
            learning_rate=1e-2, logging_steps=1, save_strategy="no", gradient_checkpointing=False, bf16=False,
            optim="adamw_torch", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(plan.model.path, dtype=torch.float32)
        trainer = DPOTrainer(
            model, args=arguments, train_dataset=Dataset.from_list(TEXTS), processing_class=tokenizer,
            peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
        )  # fmt: skip
        trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    assert losses(plan) == pytest.approx(theirs, rel=1e-3)
    assert losses(plan)[0] == pytest.approx(0.6931, abs=1e-4)
    assert losses(plan)[-1] < 0.5
    assert [sample.expected[:11] for sample in report.samples] == ["A wrong key"]
    trained = load_file(Path(report.adapter_folder) / "adapter_model.safetensors")
    assert not [name for name in trained if ".ref." in name]
    assert not (Path(report.adapter_folder) / "ref").exists()


@pytest.mark.slow
def test_a_run_on_preferences_is_resumed_and_its_memory_predicted(make_dpo: MakePlan, tmp_path: Path) -> None:
    training = {"save_strategy": "steps", "save_steps": 2}
    whole = make_dpo(CHATS, training=training)
    report = run_plan(whole, OPTIONS)
    part = make_dpo(CHATS, training=training, output={"path": str(tmp_path / "part")})
    output = Path(part.output.path)
    output.parent.mkdir(exist_ok=True)
    Path(whole.output.path).rename(output)
    (output / "fine_tuning_completed.txt").unlink()
    before = losses(part)
    for file in (output / "checkpoints" / "checkpoint-4").iterdir():
        file.unlink()

    run_plan(part, RunOptions("cpu", resume=True, show_progress=False))

    assert losses(part) == before
    assert report.predicted_allocated_bytes is not None
    assert report.measured_allocated_bytes is not None
    assert report.predicted_allocated_bytes == pytest.approx(report.measured_allocated_bytes, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_two_processes_prefer_what_one_does_and_learn_no_pair_twice(
    make_dpo: MakePlan, tmp_path: Path, sharding: str
) -> None:
    """Of five pairs in batches of two each epoch ends with one pair, and with none for the second process."""

    def plan_of(name: str, num_accumulated: int) -> Plan:
        training = {
            "gradient_accumulation_steps": num_accumulated, "gradient_checkpointing": True, "eval_strategy": "epoch",
            "per_device_eval_batch_size": 2,
        }  # fmt: skip
        output = {"path": str(tmp_path / name)}
        return make_dpo(TEXTS[:5], training=training, data={"eval_paths": [held_out]}, output=output)

    held_out = write(tmp_path / "eval.jsonl", TEXTS[5:10])

    two = plan_of("two", 1).model_copy(update={"num_processes": 2, "sharding": sharding})
    one = plan_of("one", 2)

    ended = run_ranks(two, tmp_path / "ranks")
    run_plan(one, OPTIONS)

    assert [rank.returncode for rank in ended] == [0, 0], ended[0].stderr
    for name in ("loss", "rewards/margins", "eval_loss", "eval_rewards/margins", "eval_logps/chosen"):
        assert logged(two, name) == pytest.approx(logged(one, name), abs=1e-4), name
    assert len(logged(two, "eval_rewards/margins")) == 2
    ours, expected = (
        load_file(Path(plan.output.path) / "adapter" / "adapter_model.safetensors") for plan in (two, one)
    )
    assert all(torch.allclose(ours[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.slow
def test_pairs_for_evaluation_alone_are_evaluated(make_dpo: MakePlan, tmp_path: Path) -> None:
    held_out = write(tmp_path / "eval.jsonl", TEXTS[:5])
    plan = make_dpo(data={"eval_paths": [held_out]}, training={"eval_strategy": "steps", "eval_steps": 2})

    report = run_plan(plan, OPTIONS)
    lines = map(json.loads, (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines())
    evaluated = [entry for entry in lines if "eval_loss" in entry]

    assert report.num_examples == len(TEXTS)
    assert len(evaluated) == 2
    assert all("eval_rewards/margins" in entry and "eval_perplexity" not in entry for entry in evaluated)


@pytest.mark.parametrize("architecture", ["phi3", "qwen3_moe"])
def test_the_fillers_behind_the_pairs_of_several_processes_count_for_nothing(
    architecture: str, make_dpo: MakePlan, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router of a mixture counts none of their tokens either."""
    save_tiny(architecture, tmp_path / "tiny", tokenizer)
    plan = make_dpo(model={"path": str(tmp_path / "tiny")}, training={"per_device_train_batch_size": 3})
    with quiet_libraries():
        trainer = build_trainer(plan, make_ready(plan, OPTIONS))
        pairs = [dict(row) for row in FilledRows(trainer.train_dataset)][:2]
        filler = FilledRows(trainer.train_dataset)[len(trainer.train_dataset)]
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:  # an adapter that prefers something
                torch.nn.init.normal_(parameter, std=0.1)
        monkeypatch.setattr(Accelerator, "num_processes", 2)
        losses, noted = [], []
        for rows in (pairs, [*pairs, filler]):
            losses.append(float(trainer.compute_loss(trainer.model.train(), trainer.data_collator(rows))))
            noted.append({name: values.pop() for name, values in trainer._metrics["train"].items()})

    assert abs(losses[0] - math.log(2)) > 1e-3
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    for name in ("rewards/chosen", "rewards/margins", "rewards/accuracies", "logps/rejected"):
        assert noted[1][name] == pytest.approx(noted[0][name], abs=1e-4)
    assert noted[1].get("aux_loss", 0.0) == pytest.approx(noted[0].get("aux_loss", 0.0), abs=1e-5)


def test_a_run_that_does_not_fit_with_both_rows_of_a_pair_is_stopped_before_weights_are_loaded(
    make_dpo: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kaitoc.runtime.launch.preflight import check_memory
    from kaitoc.runtime.model.load import load_config
    from kaitoc.runtime.observe.prediction import predicted_footprint

    plan = make_dpo()
    config = load_config(plan)
    pairs = predicted_footprint(plan, config)
    rows = predicted_footprint(plan.model_copy(update={"dpo": None}), config)
    assert pairs is not None
    assert rows is not None
    assert pairs.phases[1].categories.activations > 1.9 * rows.phases[1].categories.activations

    from test_sharding import FOOTPRINT

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (rows.reserved_bytes, rows.reserved_bytes))
    predicted = FOOTPRINT.model_copy(update={"reserved_bytes": pairs.reserved_bytes})
    with pytest.raises(OutOfMemory):
        check_memory(plan.model_copy(update={"predicted": predicted}), "cuda")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a"}, "expected `chosen` and `rejected`"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "are equal"),
        ({"prompt": "a", "chosen": "b", "rejected": [{"role": "user", "content": "c"}]}, "all strings or all lists"),
        ({"prompt": "a", "chosen": "b", "rejected": 3}, "`rejected` must be a string or a list of messages, not int"),
        ({"chosen": "b", "rejected": "c"}, "needs a `prompt`"),
        ({"question": "a", "chosen": "b", "rejected": "c"}, "needs a `prompt` .* it has question, chosen, rejected"),
        ({"prompt": "a", "chosen": "\ud800", "rejected": "c"}, "`chosen` has half of a character"),
        ({"prompt": [USER], "chosen": [{**GOOD, "weight": 0}], "rejected": [BAD]}, "a turn of an answer has no loss"),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD], "tools": 3}, "`tools` must be a list of functions"),
    ],
)
def test_a_row_that_is_no_pair_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "pairs.jsonl", [*TEXTS, row])

    with pytest.raises(DataFailure, match=rf"pairs\.jsonl:13: .*{words}"):
        read_pairs((path,))


def encoded_pairs(plan: Plan, tokenizer: Any, *rows: dict[str, Any]) -> Any:
    path = write(Path(plan.output.path).parent / "rows.jsonl", [*rows])
    return encode_pairs(tokenizer, read_pairs((path,)).rows, plan.data)


@pytest.mark.parametrize(
    "spelled",
    [
        {"prompt": [{"from": "human", "value": "q"}], "chosen": [{"from": "gpt", "value": "g"}], "rejected": [BAD]},
        {"prompt": [{**USER, "content": [{"type": "text", "text": "q"}]}], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [{**USER, "weight": 0}], "chosen": [{**GOOD, "weight": 1}], "rejected": [BAD]},
    ],
    ids=["sharegpt", "parts", "weights"],
)
def test_messages_of_pairs_are_read_as_those_of_conversations(
    make_dpo: MakePlan, tokenizer: Any, spelled: dict[str, Any]
) -> None:
    plain = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}

    assert (
        encoded_pairs(make_dpo(), tokenizer, spelled).pairs == encoded_pairs(make_dpo(), tokenizer, plain).pairs
    )  # fmt: skip


def test_tools_and_variables_of_a_pair_go_to_its_template(make_dpo: MakePlan, tokenizer: Any) -> None:
    templated = copy(tokenizer)
    templated.chat_template = "{{ tools[0].function.name }} {{ mood }}" + tokenizer.chat_template
    row = {
        "prompt": [USER], "chosen": [GOOD], "rejected": [BAD], "chat_template_kwargs": {"mood": "kind"},
        "tools": [{"type": "function", "function": {"name": "look"}}],
    }  # fmt: skip

    (pair,) = encoded_pairs(make_dpo(), templated, row).pairs

    assert tokenizer.decode(pair.prompt_ids).startswith("look kind")


def test_what_a_template_drops_of_pairs_is_named(make_dpo: MakePlan, tokenizer: Any) -> None:
    row = {"prompt": [USER], "chosen": [{**GOOD, "reasoning_content": "hm"}], "rejected": [BAD]}

    said = encoded_pairs(make_dpo(), tokenizer, row).describe(None)

    assert re.search(r"drops `reasoning_content` \(1 text in 1 row, the first: .*rows\.jsonl:1\)", said)


def test_an_answer_of_which_a_template_renders_nothing_is_refused(make_dpo: MakePlan, tokenizer: Any) -> None:
    with pytest.raises(
        DataFailure, match=r"rows\.jsonl:1: the chat template drops a turn of `chosen` \(`tool_calls`\)"
    ):
        encoded_pairs(make_dpo(), tokenizer, {"prompt": [USER], "chosen": [CALL], "rejected": [BAD]})


def test_a_pair_that_a_template_refuses_is_named_by_file_and_line(make_dpo: MakePlan, tokenizer: Any) -> None:
    strict = copy(tokenizer)
    strict.chat_template = "{{ raise_exception('no systems') }}"

    with pytest.raises(DataFailure, match=r"rows\.jsonl:1: the chat template refuses the conversation: no systems"):
        encoded_pairs(make_dpo(), strict, {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]})


def test_pairs_are_not_learned_as_text(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(RunFailure, match="--task dpo"):
        run_plan(make_plan(data={"paths": [write(tmp_path / "pairs.jsonl", TEXTS)]}), OPTIONS)


@pytest.mark.parametrize("change", [{"lora": None}, {"data": {"packing": True}}, {"training": {"loss_type": "dft"}}])
def test_a_plan_without_a_reference_is_refused(make_dpo: MakePlan, change: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="dpo"):
        make_dpo(**change)
