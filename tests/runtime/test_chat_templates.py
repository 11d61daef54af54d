"""Answers are found in what a chat template renders, whatever it does to earlier turns: held to TRL's templates."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import trl_templates

from kaitoc.compiler.plan.plan import DataPlan
from kaitoc.runtime.data.answers import Rendering, render
from kaitoc.runtime.data.chat_template import ChatTemplate
from kaitoc.runtime.data.encode import IGNORED, Encoder
from kaitoc.runtime.data.examples import Row
from kaitoc.runtime.data.messages import parse_messages
from kaitoc.runtime.data.prepare import prepare
from kaitoc.runtime.failures import DataFailure

pytestmark = pytest.mark.runtime

CALL = [{"type": "function", "function": {"name": "look_up", "arguments": {"key": "r", "unit": "none"}}}]
ASKED = {"role": "user", "content": "Which rank?"}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one answer": [ASKED, {"role": "assistant", "content": "Eight."}],
    "three answers": [
        ASKED, {"role": "assistant", "content": "Eight."},
        {"role": "user", "content": " And alpha?\n"}, {"role": "assistant", "content": "Sixteen, twice the rank.\n"},
        {"role": "user", "content": "assistant"}, {"role": "assistant", "content": "user"},
    ],
    "a system prompt, and a question last": [
        {"role": "system", "content": "Be brief."}, ASKED, {"role": "assistant", "content": "Eight."},
        {"role": "user", "content": "Thanks."},
    ],
    "reasoning beside answers": [
        ASKED, {"role": "assistant", "content": "Eight.", "reasoning_content": "It is small."},
        {"role": "user", "content": "And alpha?"},
        {"role": "assistant", "content": "Sixteen.", "reasoning_content": "Twice as much."},
    ],
    "reasoning inside answers": [
        ASKED, {"role": "assistant", "content": "<think>\nIt is small.\n</think>\n\nEight."},
        {"role": "user", "content": "And alpha?"},
        {"role": "assistant", "content": "<think>\nTwice as much.\n</think>\n\nSixteen."},
    ],
    "a tool": [
        ASKED, {"role": "assistant", "content": "", "tool_calls": CALL},
        {"role": "tool", "name": "look_up", "content": "8"}, {"role": "assistant", "content": "Eight."},
        {"role": "user", "content": "And alpha?"}, {"role": "assistant", "content": "Sixteen."},
    ],
    "an answer with a call": [
        ASKED, {"role": "assistant", "content": "Let me see.", "tool_calls": CALL},
        {"role": "tool", "name": "look_up", "content": "returned"}, {"role": "assistant", "content": "Eight."},
    ],
    "reasoning around a tool": [
        ASKED, {"role": "assistant", "content": "", "reasoning_content": "Look it up.", "tool_calls": CALL},
        {"role": "tool", "name": "look_up", "content": "returned"},
        {"role": "assistant", "content": "Eight.", "reasoning_content": "It is small."},
        {"role": "user", "content": "And alpha?"}, {"role": "assistant", "content": "Sixteen."},
    ],
}  # fmt: skip


def row(name: str) -> Row:
    return Row(f"{name}:1", messages=parse_messages(name, CONVERSATIONS[name]))


LEARNED_HERE_ALONE = {"llava_next": " ", "diffusion_gemma": "<|tool_response>"}
"""What follows an answer and TRL leaves out: white space, and the token by which Gemma hands over to a tool."""
PROMPTED_BEHIND_TOOLS = "<\uff5ctool▁outputs▁end\uff5c>"
"""What DeepSeek's template writes to ask for an answer after a tool: TRL learns it, though the model is given it."""


def by_trl(name: str, conversation: Row, template: ChatTemplate) -> tuple[str, set[int]]:
    """What TRL's template for training renders, and the places of the characters that it has a model learn."""
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, spans = render_jinja_template(
        conversations=[[template.in_form(message).as_turn() for message in conversation.messages]],
        chat_template=trl_templates.source(f"{name}_training"),
        return_assistant_tokens_mask=True,
        **trl_templates.tokenizer().special_tokens_map,
    )
    return texts[0], places(spans[0])


def rendered(template: ChatTemplate, conversation: Row) -> Rendering | None:
    """A rendering, None for a conversation that the template does not take: without system prompts, without tools."""
    try:
        return render(template, conversation, "answers", "<eos>")
    except DataFailure as failure:
        if "cannot" in str(failure):
            raise
        return None


def places(spans: Any) -> set[int]:
    return {place for start, end in spans for place in range(start, end)}


def runs(text: str, marked: set[int]) -> set[str]:
    """The texts of places that follow each other."""
    starts = [place for place in sorted(marked) if place - 1 not in marked]
    ends = [place + 1 for place in sorted(marked) if place + 1 not in marked]
    return {text[start:end] for start, end in zip(starts, ends, strict=True)}


@pytest.mark.parametrize("name", trl_templates.names())
def test_answers_are_found_where_trl_s_training_templates_mark_them(name: str) -> None:
    """Without its marks, each of TRL's templates shows the same answers, less what a server's cue gives the model."""
    source = trl_templates.without_markers(trl_templates.source(f"{name}_training"))
    template = ChatTemplate(trl_templates.with_template(source))
    num_compared = 0
    for conversation in map(row, CONVERSATIONS):
        found = rendered(template, conversation)
        if found is None:
            continue
        text, expected = by_trl(name, conversation, template)
        ours = places(found.learned)
        assert found.text == text
        for lost in runs(text, expected - ours):
            assert lost in template.frame.cue or lost == PROMPTED_BEHIND_TOOLS
        assert runs(text, ours - expected) <= {LEARNED_HERE_ALONE.get(name)}
        num_compared += 1
    assert num_compared >= len(CONVERSATIONS) - 4


@pytest.mark.parametrize("name", trl_templates.names())
def test_each_answer_of_a_model_s_own_template_is_learned_to_its_end(name: str) -> None:
    tokenizer = trl_templates.with_template(trl_templates.source(name))
    template = ChatTemplate(tokenizer)
    conversation = row("three answers")
    found = render(template, conversation, "answers", "<eos>")
    native = tokenizer.apply_chat_template(
        [template.in_form(message).as_turn() for message in conversation.messages], tokenize=False
    )
    special = tuple(tokenizer.get_added_vocab())

    assert found.text.removesuffix("" if template.frame.ends_answers else "<eos>") == native
    assert len(found.learned) == 3
    for (start, end), message in zip(found.learned, conversation.messages[1::2], strict=True):
        answer = found.text[start:end]
        assert message.content.strip() in answer
        assert answer.rstrip().endswith(special)
        assert not any(question in answer for question in ("Which rank?", "And alpha?"))


@pytest.mark.parametrize("name", trl_templates.names())
def test_labels_are_trl_s_token_by_token_where_a_template_marks_answers(name: str) -> None:
    tokenizer = trl_templates.with_template(trl_templates.source(f"{name}_training"))
    template = ChatTemplate(tokenizer)
    for conversation in map(row, ("three answers", "reasoning inside answers")):
        turns = [template.in_form(message).as_turn() for message in conversation.messages]
        expected = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
        (example,) = Encoder(tokenizer, DataPlan(paths=("data",)))([conversation]).examples

        assert example.input_ids == expected["input_ids"]
        assert [label != IGNORED for label in example.labels] == [bool(bit) for bit in expected["assistant_masks"]]


@pytest.mark.parametrize("name", trl_templates.all_names())
def test_what_is_asked_and_what_a_tool_returns_is_not_learned(name: str) -> None:
    """Gemma 4 writes an answer behind what the tool returned that the answer calls."""
    template = ChatTemplate(trl_templates.with_template(trl_templates.without_markers(trl_templates.source(name))))
    for conversation in map(row, CONVERSATIONS):
        found = rendered(template, conversation)
        if found is None:
            continue
        answers = "".join(found.text[start:end] for start, end in found.learned)
        assert not any(text in answers for text in ("rank?", "alpha?", "Be brief", "returned"))
        assert "Eight." in answers


def learned(name: str, turns: list[dict[str, Any]], **beside: Any) -> list[str]:
    """The answers that are learned of a conversation with a model's own template."""
    template = ChatTemplate(trl_templates.with_template(trl_templates.source(name)))
    found = render(template, Row("a:1", messages=parse_messages("a:1", turns), **beside), "answers", "<eos>")
    return [found.text[start:end] for start, end in found.learned]


def test_earlier_answers_are_learned_where_a_template_renders_the_last_one_differently() -> None:
    assert learned("qwen3", CONVERSATIONS["reasoning beside answers"]) == [
        "Eight.<|im_end|>\n", "<think>\nTwice as much.\n</think>\n\nSixteen.<|im_end|>\n",
    ]  # fmt: skip


def test_earlier_answers_end_though_the_last_one_ends_in_another_token() -> None:
    answers = learned("gptoss", CONVERSATIONS["three answers"])

    assert [answer.partition("<|message|>")[2] for answer in answers] == [
        "Eight.<|end|>", "Sixteen, twice the rank.\n<|end|>", "user<|return|>",
    ]  # fmt: skip


def test_a_turn_without_weight_is_context_alone() -> None:
    turns = [dict(turn) for turn in CONVERSATIONS["three answers"]]
    turns[1]["weight"] = 0
    turns[3]["weight"] = 1

    assert learned("llama3", turns) == ["Sixteen, twice the rank.<|eot_id|>", "user<|eot_id|>"]


def test_a_turn_without_weight_is_left_out_of_whole_conversations_too() -> None:
    turns = [ASKED, {"role": "assistant", "content": "No.", "weight": 0}, ASKED, {"role": "assistant", "content": "8"}]
    template = ChatTemplate(trl_templates.with_template(trl_templates.source("qwen3_instruct_2507")))
    found = render(template, Row("a:1", messages=parse_messages("a:1", turns)), "everything", "<eos>")

    assert "".join(found.text[start:end] for start, end in found.learned) == found.text.replace("No.<|im_end|>\n", "")


def test_tools_and_tool_calls_reach_the_template_as_trl_hands_them() -> None:
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]
    tokenizer = trl_templates.with_template(trl_templates.source("qwen2_5"))
    turns = CONVERSATIONS["a tool"]
    (example,) = Encoder(tokenizer, DataPlan(paths=("data",)))(
        [Row("a:1", messages=parse_messages("a:1", turns), tools=tuple(tools))]
    ).examples

    assert example.input_ids == tokenizer.apply_chat_template(turns, tools=tools, return_dict=True)["input_ids"]
    assert '"look_up"' in tokenizer.decode([label for label in example.labels if label != IGNORED])


@pytest.mark.parametrize("name", ["qwen3_6", "glm4moe", "gemma4_v5"])
def test_arguments_that_are_json_text_reach_a_template_that_takes_mappings_alone(name: str) -> None:
    def turns(arguments: Any) -> list[dict[str, Any]]:
        call = {"type": "function", "function": {"name": "look_up", "arguments": arguments}}
        return [ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}]

    assert learned(name, turns('{"key": "r"}')) == learned(name, turns({"key": "r"}))


def test_values_of_a_row_reach_the_template() -> None:
    turns = CONVERSATIONS["reasoning beside answers"]

    kept = learned("qwen3_6", turns, template_values={"preserve_thinking": True})

    assert "It is small." in kept[0]
    assert "It is small." not in learned("qwen3_6", turns)[0]


def test_parts_of_text_are_joined_where_a_template_reads_text_alone() -> None:
    parts = [{"type": "text", "text": "Eight"}, {"type": "text", "text": "or nine"}]
    turns = [ASKED, {"role": "assistant", "content": parts}]

    assert learned("phi3", turns) == ["Eight\nor nine<|end|>\n<eos>"]
    assert learned("smolvlm", turns) == [" Eightor nine<end_of_utterance>\n"]


@pytest.mark.parametrize(
    ("name", "conversation", "words"),
    [
        ("qwen3", "reasoning beside answers", "drops `reasoning_content` (1 text in 1 row, the first: a:1)"),
        ("deepseek_r1_distill", "reasoning inside answers", "drops `content` (2 texts in 1 row, the first: a:1)"),
        ("llama3", "reasoning beside answers", "drops `reasoning_content` (2 texts"),
    ],
)
def test_what_a_template_drops_is_counted_and_named(name: str, conversation: str, words: str) -> None:
    messages = row(conversation).messages
    tokenizer = trl_templates.with_template(trl_templates.source(name))
    found = prepare(tokenizer, [Row("a:1", messages=messages)], DataPlan(paths=("data",)))

    assert words in found.describe(None)


def test_tools_that_a_template_drops_are_named() -> None:
    tools = ({"type": "function", "function": {"name": "look_up"}},)
    tokenizer = trl_templates.with_template(trl_templates.source("llama3"))
    found = prepare(tokenizer, [Row("a:1", messages=row("one answer").messages, tools=tools)], DataPlan(paths=("d",)))

    assert "drops `tools`" in found.describe(None)


def test_an_answer_of_which_a_template_renders_nothing_is_refused() -> None:
    with pytest.raises(DataFailure, match=r"a:1: the chat template drops turn 2 \(`tool_calls`\)"):
        learned("llama3", CONVERSATIONS["a tool"])
