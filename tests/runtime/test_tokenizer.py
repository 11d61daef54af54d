"""The tokenizer that is saved is the one that was trained with: what is stated is applied before tokenizing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from transformers import AutoTokenizer

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.encode import IGNORED
from kaitoc.runtime.failures import ModelFailure
from kaitoc.runtime.launch.ready import RunOptions, make_ready
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.model.load import load_tokenizer
from kaitoc.runtime.quiet import quiet_libraries

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]


def stating(make_plan: MakePlan, **extra: Any) -> Plan:
    return make_plan(training={"extra_training_arguments": extra})


def test_stated_tokens_are_trained_and_saved(make_plan: MakePlan, tmp_path: Path) -> None:
    path = tmp_path / "plain.jsonl"
    path.write_text("".join(json.dumps({"text": f"rule {number}"}) + "\n" for number in range(8)))
    extra = {"eos_token": "<|end|>", "pad_token": "<|system|>"}
    plan = make_plan(data={"paths": [str(path)]}, training={"extra_training_arguments": extra})

    with quiet_libraries():
        ready = make_ready(plan, RunOptions("cpu", show_progress=False))
    report = run_plan(plan, RunOptions("cpu", overwrite=True, show_progress=False))
    saved = AutoTokenizer.from_pretrained(report.adapter_folder)

    assert {labels[-1] for labels in ready.train_set["labels"]} == {saved.convert_tokens_to_ids("<|end|>")}
    assert (saved.eos_token, saved.pad_token) == ("<|end|>", "<|system|>")


def test_a_stated_template_is_trained_and_saved(make_plan: MakePlan, tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}"
    (tmp_path / "own.jinja").write_text(template)
    plan = stating(make_plan, chat_template_path=str(tmp_path / "own.jinja"))

    with quiet_libraries():
        ready = make_ready(plan, RunOptions("cpu", show_progress=False))
    report = run_plan(plan, RunOptions("cpu", overwrite=True, show_progress=False))
    text = ready.tokenizer.decode(ready.train_set[0]["input_ids"])

    assert text.startswith("user: What")
    assert any(label == IGNORED for label in ready.train_set[0]["labels"])
    assert AutoTokenizer.from_pretrained(report.adapter_folder).chat_template == template


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"eos_token": "<none>"}, "eos_token: `<none>` is not in the tokenizer's vocabulary"),
        ({"pad_token": "<none>"}, "pad_token: `<none>` is not in"),
        ({"chat_template_path": "org/model"}, "chat_template_path: `org/model` is not a template"),
        ({"chat_template_path": "/none/a.jinja"}, "cannot be read"),
    ],
)
def test_what_cannot_be_applied_is_refused_by_name(make_plan: MakePlan, extra: dict[str, str], words: str) -> None:
    with pytest.raises(ModelFailure, match=words):
        load_tokenizer(stating(make_plan, **extra))
