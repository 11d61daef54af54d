"""Tokens and labels: what carries a loss, where sequences end, what is cut."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import DataPlan
from kaitoc.runtime.data.encode import IGNORED
from kaitoc.runtime.data.examples import Row
from kaitoc.runtime.data.messages import Message
from kaitoc.runtime.data.prepare import prepare
from kaitoc.runtime.failures import DataFailure, ModelFailure, PlanFailure

pytestmark = pytest.mark.runtime

CHAT = Row("a:1", messages=(Message("system", "Be brief."), Message("user", "Why?"), Message("assistant", "Because."),
                            Message("user", "And?"), Message("assistant", "So.")))  # fmt: skip
ASKED = Row("a:2", prompt="2 + 2 =", completion=" 4")


def plan(**values: Any) -> DataPlan:
    return DataPlan(paths=("data",), **values)


def learned(tokenizer: Any, row: Row, **values: Any) -> str:
    """The text of the tokens of a row that carry a loss."""
    (example,) = prepare(tokenizer, [row], plan(**values)).examples
    return str(tokenizer.decode([label for label in example["labels"] if label != IGNORED]))


def test_only_the_assistant_s_turns_carry_a_loss_and_their_ends_do_too(tokenizer: Any) -> None:
    assert learned(tokenizer, CHAT) == "Because.<|end|>\nSo.<|end|>\n"


def test_only_what_follows_the_prompt_of_a_conversation_carries_a_loss(tokenizer: Any) -> None:
    assert learned(tokenizer, Row("a:1", messages=CHAT.messages, num_prompt_messages=4)) == "So.<|end|>\n"


def test_all_turns_carry_a_loss_when_the_manifest_says_so(tokenizer: Any) -> None:
    found = learned(tokenizer, CHAT, assistant_only_loss=False)

    assert found.startswith("<|system|>\nBe brief.<|end|>")


def test_a_prompt_carries_no_loss_and_the_end_of_the_completion_does(tokenizer: Any) -> None:
    assert learned(tokenizer, ASKED) == " 4<|endoftext|>"


def test_a_prompt_carries_a_loss_when_the_manifest_says_so(tokenizer: Any) -> None:
    assert learned(tokenizer, ASKED, completion_only_loss=False) == "2 + 2 = 4<|endoftext|>"


def test_a_text_is_learned_whole_with_its_end(tokenizer: Any) -> None:
    assert learned(tokenizer, Row("a:1", text="one two")) == "one two<|endoftext|>"


def test_an_end_that_the_text_has_already_is_not_doubled(tokenizer: Any) -> None:
    assert learned(tokenizer, Row("a:1", text="one<|endoftext|>")) == "one<|endoftext|>"


def test_ids_are_those_of_the_chat_template(tokenizer: Any) -> None:
    (example,) = prepare(tokenizer, [CHAT], plan()).examples
    turns = [{"role": message.role, "content": message.content} for message in CHAT.messages]

    assert example["input_ids"] == tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # As Phi-3's own: the end of the sequence follows only where no answer is asked for.
        ("{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
         "Because.<|end|>\nSo.<|end|>\n<|endoftext|>"),
        # As Mistral's: a cue that is part of the user's turn, an end only behind answers.
        ("{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{{ eos_token }}"
         "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}", "Because.<|endoftext|>So.<|endoftext|>"),
        # A template that never says that an answer is over.
        ("{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}"
         "{% if add_generation_prompt %}assistant:\n{% endif %}", "Because.\nSo.\n<|endoftext|>"),
    ],
)  # fmt: skip
def test_answers_end_whatever_the_template(tokenizer: Any, template: str, expected: str) -> None:
    usual = tokenizer.chat_template
    tokenizer.chat_template = template
    try:
        assert learned(tokenizer, CHAT) == expected
    finally:
        tokenizer.chat_template = usual


def test_rows_are_cut_at_the_end_or_at_the_start_and_counted(tokenizer: Any) -> None:
    row = Row("a:1", text="one two three four five six seven eight")
    start = prepare(tokenizer, [row], plan(max_length=4))
    end = prepare(tokenizer, [row], plan(max_length=4, truncation_mode="keep_end"))

    assert start.num_truncated == end.num_truncated == 1
    assert len(start.examples[0]["input_ids"]) == 4
    assert end.examples[0]["input_ids"][-1] == tokenizer.eos_token_id


def test_rows_without_an_answer_after_cutting_are_left_out_and_counted(tokenizer: Any) -> None:
    found = prepare(tokenizer, [CHAT, Row("a:2", text="x y z")], plan(max_length=3))

    assert (len(found.examples), found.num_emptied) == (1, 1)
    assert "1 of them left out" in found.describe(3)


def test_data_whose_labels_are_all_masked_stops_the_run(tokenizer: Any) -> None:
    with pytest.raises(DataFailure, match="nothing is left to learn in 1 rows: within 3 tokens no answer begins"):
        prepare(tokenizer, [CHAT], plan(max_length=3))


def test_a_packer_that_splits_gets_rows_whole(tokenizer: Any) -> None:
    data = plan(max_length=8, packing=True, packing_strategy="bfd_split")
    found = prepare(tokenizer, [Row("a:1", text="x y z " * 20)], data)

    assert len(found.examples[0]["input_ids"]) > 8
    assert found.num_truncated == 0


def test_what_a_packer_would_drop_is_cut_and_counted(tokenizer: Any) -> None:
    data = plan(max_length=8, packing=True)
    found = prepare(tokenizer, [Row("a:1", text="x y z " * 20), Row("a:2", prompt="x y z " * 20, completion="w")], data)

    assert [len(example["input_ids"]) for example in found.examples] == [8]
    assert (found.num_truncated, found.num_emptied) == (2, 1)


def test_packing_without_a_length_is_refused(tokenizer: Any) -> None:
    with pytest.raises(PlanFailure, match="`packing` fills sequences up to `max_length`"):
        prepare(tokenizer, [ASKED], plan(max_length=None, packing=True))


def test_a_conversation_without_chat_template_says_what_to_set(tokenizer: Any) -> None:
    usual = tokenizer.chat_template
    tokenizer.chat_template = None
    try:
        with pytest.raises(ModelFailure, match=r"ModelConfig\.chat_template"):
            prepare(tokenizer, [CHAT], plan())
    finally:
        tokenizer.chat_template = usual


def test_lengths_are_told_before_cutting(tokenizer: Any) -> None:
    rows = [Row(f"a:{count}", text="x " * count) for count in range(1, 101)]
    found = prepare(tokenizer, rows, plan(max_length=10))

    assert found.percentile_tokens(0.5) > 10
    assert "p50" in found.describe(10)


def test_several_processes_make_the_same_examples(tokenizer: Any) -> None:
    rows = [Row(f"a:{number}", messages=(*CHAT.messages, Message("user", str(number)))) for number in range(600)]
    one, several = (prepare(tokenizer, rows, plan(max_length=40), num_workers) for num_workers in (1, 3))

    assert several.examples.to_list() == one.examples.to_list()
    assert (several.num_truncated, several.lengths_tokens) == (one.num_truncated, one.lengths_tokens)


def test_a_bad_row_is_named_also_by_several_processes(tokenizer: Any) -> None:
    bad = Row("a:600", messages=(Message("user", "q", {"tool_calls": [{}]}), Message("assistant", "a")))
    usual = tokenizer.chat_template
    tokenizer.chat_template = "{% for m in messages %}{{ m.tool_calls[0].x.y }}{{ m.content }}{% endfor %}"
    try:
        with pytest.raises(DataFailure, match="a:600: the chat template refuses"):
            prepare(tokenizer, [ASKED] * 600 + [bad], plan(), 3)
    finally:
        tokenizer.chat_template = usual
