"""What holds of every compiled manifest, in every style of scalar: settled, right, and untouched where no change is."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compile import compiled, config_map, strict_findings, workspace

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.compile.model import CompiledFile

pytestmark = pytest.mark.no_cover
VALUES = {
    "torch_dtype": st.sampled_from([None, "bfloat16", "fp16"]),
    "load_in_4bit": st.sampled_from([None, True]),
    "bnb_4bit_quant_type": st.sampled_from([None, "nf4", "NF4"]),
    "bnb_4bit_compute_dtype": st.sampled_from([None, "bfloat16", "bf16"]),
    "r": st.sampled_from([4, 8, 64]),
    "lora_dropout": st.sampled_from([0.0, 0.05]),
    "target_modules": st.sampled_from(
        [None, ["q_proj", "v_proj"], ["qkv_proj"], ["gate_proj", "up_proj", "down_proj"]]
    ),
    "output_dir": st.sampled_from([None, "results", "/mnt/results", "/scratch/x"]),
    "per_device_train_batch_size": st.sampled_from([None, 1, 2, 8]),
    "max_length": st.sampled_from([None, 512, 4096]),
    "gradient_checkpointing": st.sampled_from([None, True, False]),
    "save_strategy": st.sampled_from([None, "epoch", False]),
    "mlm": st.sampled_from([None, True, False]),
    "train_test_split": st.sampled_from([None, 1, 0.9]),
}
SECTION_OF = {
    "torch_dtype": "ModelConfig",
    **dict.fromkeys(("load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_compute_dtype"), "QuantizationConfig"),
    **dict.fromkeys(("r", "lora_dropout", "target_modules"), "LoraConfig"),
    **dict.fromkeys(
        ("output_dir", "per_device_train_batch_size", "max_length", "gradient_checkpointing", "save_strategy"),
        "TrainingArguments",
    ),
    "mlm": "DataCollator",
    "train_test_split": "DatasetConfig",
}
PRESETS = ("phi-3-mini-128k-instruct", "phi-4-mini-instruct")
INSTANCES = ("Standard_NC24ads_A100_v4", "Standard_NV36ads_A10_v5")
WITHOUT_MAX_LENGTH = ("v0.8", "v0.9", "v0.10")
NARROW, WIDE = 60, 10**6
KEY = "  training_config.yaml: "

STATED = st.one_of(
    st.just({"target": "bundled"}),
    st.sampled_from([release.name for release in all_releases()]).map(lambda version: {"version": version}),
)


def inner_text(values: dict[str, object], is_spaced: bool) -> str:
    """Return a training config with a comment behind every line, and empty lines between sections if asked for."""
    lines = ["training_config: # everything"]
    for section in dict.fromkeys(SECTION_OF.values()):
        options = {name: value for name, value in values.items() if SECTION_OF[name] == section and value is not None}
        if options:
            lines += [""] * is_spaced
            lines.append(f"  {section}: # section {section}")
            lines.extend(f"    {name}: {json.dumps(value)} # about {name}" for name, value in options.items())
    return "\n".join(lines) + "\n"


@st.composite
def manifests(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """Draw a Workspace with its ConfigMap, and what to compile it for."""
    values, stated = draw(st.fixed_dictionaries(VALUES)), draw(STATED)
    if "version" in stated and stated["version"] in WITHOUT_MAX_LENGTH:
        values["max_length"] = None
    place = draw(st.fixed_dictionaries({"preset": st.sampled_from(PRESETS), "instance": st.sampled_from(INSTANCES)}))
    tuned = workspace(**place, method="qlora" if values["load_in_4bit"] else "lora")
    style, width = draw(st.sampled_from([("|", WIDE), (">", WIDE), ("'", WIDE), ('"', WIDE), ('"', NARROW)]))
    inner = inner_text(values, draw(st.booleans()))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return f"{tuned}---\n{config_map(inner, style, width)}".replace("\n", newline), stated


def content_lines(file: CompiledFile, text: str) -> list[bytes]:
    """Return a file's lines as bytes; of a quoted config, which is no line of its own, those of its value."""
    lines = file.source.encode(text).splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.decode("utf-8").startswith(KEY))
    if lines[at].decode("utf-8").removeprefix(KEY).strip()[0] in "|>":
        return lines
    documents = list(yaml.safe_load_all(text))
    inner = documents[1]["data"]["training_config.yaml"]
    return lines[:at] + [line.encode("utf-8") for line in inner.splitlines(keepends=True)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=manifests(), bom=st.booleans())
def test_any_manifest_settles_passes_and_is_untouched_elsewhere(drawn: tuple[str, dict[str, str]], bom: bool) -> None:
    text, stated = drawn

    result = compiled(text, bom=bom, **stated)
    (file,) = result.files
    again = compiled(file.text, bom=bom, **stated)

    assert [problem.message for problem in result.problems] == []
    assert not again.files[0].is_changed
    assert strict_findings(file.text, **stated) == []
    assert sorted(re.findall(r"# \w+", text)) == sorted(re.findall(r"# \w+", file.text))
    named = {name for change in result.jobs[0].changes for name in re.findall(r"\w+", change.what)}
    kept = [line for line in content_lines(file, text) if key_of(line) not in named]
    after = content_lines(file, file.text)
    assert [line for line in after if line in set(kept)] == kept
    assert file.source.encode(file.text).startswith(b"\xef\xbb\xbf") is bom


def key_of(line: bytes) -> str:
    return line.decode("utf-8").split("#")[0].strip().partition(":")[0]
