from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lsp_editor import Editor, apply, at
from lsp_manifests import BOTH, CONFIG_MAP, WORKSPACE
from lsprotocol import types

HERE = "¦"


class Typing:
    """A document in which the cursor stands at `¦`."""

    def __init__(self, editor: Editor, path: Path, marked: str) -> None:
        assert marked.count(HERE) == 1
        self.text = marked.replace(HERE, "")
        uri = editor.open(path, self.text)
        self.items = {item.label: item for item in editor.completions(uri, at(marked, HERE))}

    @property
    def labels(self) -> set[str]:
        return set(self.items)

    def take(self, label: str) -> str:
        """Return the text after a completion was taken."""
        item = self.items[label]
        assert isinstance(item.text_edit, types.TextEdit)
        return apply(self.text, [item.text_edit, *(item.additional_text_edits or ())])


Type = Callable[[str], Typing]


@pytest.fixture
def typing(editor: Editor, tmp_path: Path) -> Type:
    return lambda marked: Typing(editor, tmp_path / "new.yaml", marked)


def test_keys_of_a_section_are_offered_without_those_that_are_there(typing: Type) -> None:
    found = typing(BOTH.replace("        r: 16\n", f"        r: 16\n        {HERE}\n"))

    assert {"lora_alpha", "lora_dropout", "use_dora"} <= found.labels
    assert not {"r", "target_modules", "max_length", "LoraConfig"} & found.labels


def test_a_key_replaces_what_was_typed_of_it(typing: Type) -> None:
    found = typing(BOTH.replace("        r: 16\n", f"        r: 16\n        lora_a{HERE}\n"))

    assert found.take("lora_alpha") == BOTH.replace("        r: 16\n", "        r: 16\n        lora_alpha: \n")


def test_a_key_before_its_colon_keeps_its_value(typing: Type) -> None:
    found = typing(BOTH.replace("max_length", f"max_{HERE}seq"))

    assert "max_steps: 2048" in found.take("max_steps")


def test_a_key_is_put_in_line_with_its_siblings(typing: Type) -> None:
    found = typing(BOTH.replace("        r: 16\n", f"        r: 16\n          lora_a{HERE}\n"))

    assert found.take("lora_alpha") == BOTH.replace("        r: 16\n", "        r: 16\n        lora_alpha: \n")


def test_the_first_key_of_a_section_is_indented_below_it(typing: Type) -> None:
    marked = CONFIG_MAP.replace("      DataCollator:\n        mlm: false\n", f"      DataCollator:\n        {HERE}\n")

    assert typing(marked).take("mlm").endswith("      DataCollator:\n        mlm: \n")


def test_sections_are_offered_with_the_indentation_of_their_keys(typing: Type) -> None:
    found = typing(BOTH.replace("      LoraConfig:\n", f"      Quant{HERE}\n      LoraConfig:\n"))

    assert found.labels == {"QuantizationConfig"}
    assert "\n      QuantizationConfig:\n        \n      LoraConfig:\n" in found.take("QuantizationConfig")


def test_the_root_key_is_offered_in_an_empty_config(typing: Type) -> None:
    found = typing(CONFIG_MAP.partition("    training_config:\n")[0] + f"    tr{HERE}\n")

    assert found.labels == {"training_config"}
    assert found.take("training_config").endswith("|\n    training_config:\n      \n")


def test_a_flag_takes_true_and_false(typing: Type) -> None:
    found = typing(BOTH.replace("checkpointing: true", f"checkpointing: {HERE}"))

    assert found.labels == {"true", "false"}
    assert "gradient_checkpointing: false\n" in found.take("false")


def test_a_value_right_after_the_colon_gets_its_space(typing: Type) -> None:
    found = typing(BOTH.replace("checkpointing: true", f"checkpointing:{HERE}"))

    assert "gradient_checkpointing: false\n" in found.take("false")


def test_a_choice_offers_its_values(typing: Type) -> None:
    found = typing(BOTH.replace("bf16: true", f"save_strategy: ep{HERE}"))

    assert found.labels >= {"epoch", "steps", "no"}
    assert "save_strategy: epoch\n" in found.take("epoch")


def test_the_types_of_weights_are_offered(typing: Type) -> None:
    assert typing(BOTH.replace("dtype: bfloat16", f"dtype: {HERE}")).labels == {"bfloat16", "float16", "float32"}


def test_target_modules_are_those_of_the_model(typing: Type) -> None:
    found = typing(BOTH.replace("[qkv_proj, o_proj, gate_up_proj, down_proj]", f"[{HERE}]"))

    assert found.labels == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def test_target_modules_leave_out_those_that_are_listed(typing: Type) -> None:
    found = typing(BOTH.replace("[qkv_proj, o_proj, gate_up_proj, down_proj]", f"[qkv_proj, ga{HERE}, down_proj]"))

    assert found.labels == {"o_proj", "gate_up_proj"}
    assert "[qkv_proj, gate_up_proj, down_proj]" in found.take("gate_up_proj")


def test_target_modules_are_offered_as_list_items(typing: Type) -> None:
    block = f"target_modules:\n          - qkv_proj\n          - {HERE}"
    found = typing(BOTH.replace("target_modules: [qkv_proj, o_proj, gate_up_proj, down_proj]", block))

    assert "          - o_proj\n" in found.take("o_proj")


def test_target_modules_follow_the_model_of_a_partner_on_disk(editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").write_text(WORKSPACE.replace("phi-3-mini-4k-instruct", "mistral-7b-instruct"))
    marked = CONFIG_MAP.replace("[qkv_proj, o_proj, gate_up_proj, down_proj]", f"[{HERE}]")

    labels = Typing(editor, tmp_path / "config.yaml", marked).labels
    assert labels == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_modules_to_save_may_be_the_head(typing: Type) -> None:
    assert "lm_head" in typing(BOTH.replace("        r: 16", f"        modules_to_save: [{HERE}]")).labels


def test_a_key_is_documented(typing: Type) -> None:
    found = typing(BOTH.replace("        r: 16\n", f"        r: 16\n        {HERE}\n"))
    documentation = found.items["lora_alpha"].documentation

    assert isinstance(documentation, types.MarkupContent)
    assert "lora_alpha / r" in documentation.value


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        (WORKSPACE.replace("  config:", f"  {HERE}\n  config:"), "output"),
        (WORKSPACE.replace("Standard_NV36ads_A10_v5", f"Standard_NC{HERE}"), "Standard_NC24ads_A100_v4"),
        (WORKSPACE.replace("phi-3-mini-4k-instruct", HERE), "phi-4"),
        (WORKSPACE.replace("method: lora", f"method: {HERE}"), "qlora"),
    ],
)
def test_a_workspace_is_completed(typing: Type, marked: str, expected: str) -> None:
    if expected == "output":
        marked = marked.partition("  output:")[0]
    assert expected in typing(marked).labels


@pytest.mark.parametrize(
    "marked",
    [
        BOTH.replace("r: 16", f"r: 16 # lo{HERE}"),
        BOTH.replace("r: 16", f"r: {HERE}"),
        CONFIG_MAP.replace("metadata:\n", f"metadata:\n  {HERE}\n"),
        f"image:\n  {HERE}\n",
        f"kind: Workspace\n- {HERE}\n",
    ],
    ids=["comment", "number", "other object", "other file", "list item of no key"],
)
def test_where_nothing_is_known_nothing_is_offered(typing: Type, marked: str) -> None:
    assert typing(marked).labels == set()


def test_crlf_and_wide_characters_do_not_shift_the_edit(typing: Type) -> None:
    marked = BOTH.replace("        r: 16\n", f"        # 😀\n        target_modules: [😀, o{HERE}]\n").replace(
        "\n", "\r\n"
    )

    assert "        target_modules: [😀, o_proj]\r\n" in typing(marked).take("o_proj")


FLOW = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: tune-phi-3-params}
data:
  training_config.yaml: |
    training_config: {
      ModelConfig: {torch_dtype: bfloat16},
      LoraConfig: {r: 16, target_modules: [qkv_proj, o_proj]},
      TrainingArguments: {output_dir: /mnt/results, bf16: true},
    }
"""
QUOTED = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: tune-phi-3-params}
data:
  training_config.yaml: "training_config:\\n  ModelConfig:\\n    torch_dtype: bfloat16\\n\\
    \\  LoraConfig:\\n    r: 16\\n    target_modules: [qkv_proj, o_proj]\\n\\
    \\  TrainingArguments:\\n    bf16: true\\n"
"""


def test_keys_of_a_flow_mapping_are_offered_without_those_that_are_there(typing: Type) -> None:
    found = typing(FLOW.replace("{r: 16, ", f"{{lora_a{HERE}, r: 16, "))

    assert "lora_alpha" in found.labels
    assert not {"r", "target_modules", "LoraConfig", "max_length"} & found.labels
    assert "LoraConfig: {lora_alpha: , r: 16" in found.take("lora_alpha")


def test_sections_of_a_flow_mapping_are_offered(typing: Type) -> None:
    found = typing(FLOW.replace("      LoraConfig: {", f"      Quant{HERE}\n      LoraConfig: {{"))

    assert found.labels == {"QuantizationConfig", "DataCollator", "DatasetConfig"}
    assert "      QuantizationConfig: \n" in found.take("QuantizationConfig")


def test_values_in_a_flow_mapping_are_offered(typing: Type) -> None:
    assert typing(FLOW.replace("bf16: true", f"bf16: {HERE}")).labels == {"true", "false"}
    assert "bf16: false}" in typing(FLOW.replace("bf16: true", f"bf16: t{HERE}")).take("false")


def test_elements_of_a_list_in_a_flow_mapping_are_offered(typing: Type) -> None:
    found = typing(f"{FLOW.replace('qkv_proj, o_proj', f'qkv_proj, {HERE}')}---\n{WORKSPACE}")

    assert found.labels == {"o_proj", "gate_up_proj", "down_proj"}


def test_keys_in_a_double_quoted_config_are_offered(typing: Type) -> None:
    found = typing(QUOTED.replace("r: 16\\n", f"r: 16\\n    lora_a{HERE}\\n"))

    assert "lora_alpha" in found.labels
    assert not {"r", "target_modules", "bf16"} & found.labels
    assert r"r: 16\n    lora_alpha: \n    target" in found.take("lora_alpha")


def test_a_section_in_a_double_quoted_config_has_its_line_break_escaped(typing: Type) -> None:
    found = typing(QUOTED.replace(r"\  LoraConfig:", rf"\  Quant{HERE}\n  LoraConfig:"))

    assert r"\  QuantizationConfig:\n    \n  LoraConfig:" in found.take("QuantizationConfig")


def test_values_in_a_double_quoted_config_are_offered(typing: Type) -> None:
    assert typing(QUOTED.replace("bf16: true", f"bf16: {HERE}")).labels == {"true", "false"}
    found = typing(f"{QUOTED.replace('qkv_proj, o_proj', f'qkv_proj, {HERE}')}---\n{WORKSPACE}")
    assert found.labels == {"o_proj", "gate_up_proj", "down_proj"}


@pytest.mark.parametrize(
    "written",
    [
        "|\n    {training_config: {LoraConfig: {r: 16, @}}}\n",
        "|\n    {training_config:\n      {LoraConfig: {r: 16, @}}}\n",
        '"{training_config: {LoraConfig: {r: 16, @}}}"\n',
        "'{training_config: {LoraConfig: {r: 16, @}}}'\n",
    ],
    ids=["block", "two lines", "double quotes", "single quotes"],
)
def test_keys_of_a_config_that_is_one_flow_mapping_are_offered(typing: Type, written: str) -> None:
    head = QUOTED.partition("  training_config.yaml: ")[0]
    found = typing(f"{head}  training_config.yaml: {written.replace('@', f'lora_a{HERE}')}")

    assert "lora_alpha" in found.labels
    assert not {"r", "bf16", "LoraConfig"} & found.labels
    assert "{r: 16, lora_alpha: }}}" in found.take("lora_alpha")


def test_behind_a_quoted_config_nothing_of_it_is_offered(typing: Type) -> None:
    assert not {"LoraConfig", "r"} & typing(QUOTED + f"  other: {HERE}\n").labels
