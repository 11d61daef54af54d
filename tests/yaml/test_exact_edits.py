"""Places and edits are exact whatever characters stand around them, in the manifest and in the text inside it."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.config_edits import remove_option, rename_option, replace_value, set_option
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.manifest.training_config import TrainingConfig, read_training_config

BOM, NEL, ZERO_WIDTH, ASTRAL = "\ufeff", "\x85", "\u200b\u200d", "\U0001f600\U00020000"
NOISE = st.sampled_from(["", "plain", "\u00e9\u4e16", ZERO_WIDTH, ASTRAL, f"{ASTRAL}{ZERO_WIDTH}", "\u2028", NEL, BOM])
INNER = """{top}training_config:
  LoraConfig: # {a}
    lora_dropout: "{b}" # {c}
    r: 8
  TrainingArguments:
    output_dir: /mnt/{d}
    max_steps: 5
"""


def as_literal(inner: str, newline: str) -> str:
    return "training_config.yaml: |" + newline + "".join(f"    {line}{newline}" for line in inner.split("\n")[:-1])


def as_double(inner: str, newline: str) -> str:
    escaped = inner.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace(BOM, "\\uFEFF")
    return f'training_config.yaml: "{escaped}"{newline}'


def as_single(inner: str, newline: str) -> str:
    lines = inner.replace("'", "''").split("\n")
    return f"training_config.yaml: '{(newline * 2 + '    ').join(lines)}'{newline}"


@st.composite
def manifests(draw: st.DrawFn) -> tuple[str, str]:
    """Return the bytes of a ConfigMap as text, and what its training config says."""
    noise = {name: draw(NOISE) for name in "abcd"}
    inner = INNER.format(top=draw(st.sampled_from(["", BOM])), **noise)
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    # A break of Unicode's in a literal block ends its line, and with it the block.
    wrap = draw(
        st.sampled_from([as_double] if any(mark in inner for mark in "\x85\u2028") else [as_literal, as_double])
    )
    head = (
        f"{draw(st.sampled_from(['', BOM]))}# {draw(NOISE.filter(lambda text: NEL not in text and BOM not in text))}\n"
    )
    text = f"{head}apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  ".replace("\n", newline)
    return text + wrap(inner, newline), inner


def read(text: str) -> tuple[Source, TrainingConfig]:
    source = Source.decode("x.yaml", text.encode())
    (manifest,) = read_manifests(source).manifests
    config = read_training_config(manifest)
    assert config is not None
    return source, config


@given(manifests())
def test_every_key_and_value_stands_where_its_place_says(made: tuple[str, str]) -> None:
    source, config = read(made[0])

    for section in config.sections:
        assert source.slice(section.key.span) == section.name
        for option in section.options:
            assert source.slice(option.key.span) == option.name
            if option.name in ("r", "max_steps"):
                assert source.slice(option.value.span) == str(option.plain)


def inner_of(text: str) -> dict[str, object]:
    """Return the training config that PyYAML's own reader finds in the text, as the pod does."""
    content = yaml.safe_load(text.removeprefix(BOM))
    loaded: dict[str, object] = yaml.safe_load(content["data"]["training_config.yaml"])
    return loaded


@given(manifests(), st.sampled_from(["replace", "rename", "remove", "add", "add section"]))
def test_an_edit_changes_what_it_says_and_nothing_else(made: tuple[str, str], change: str) -> None:
    source, config = read(made[0])
    if not config.is_editable:
        return
    option = config.option("LoraConfig", "r")
    assert option is not None
    edit = {
        "replace": lambda: replace_value(config, option, 16),
        "rename": lambda: rename_option(config, option, "rank"),
        "remove": lambda: remove_option(config, option),
        "add": lambda: set_option(config, "LoraConfig", "lora_alpha", 16),
        "add section": lambda: set_option(config, "DataCollator", "mlm", False),
    }[change]()

    before = inner_of(made[0])
    after = inner_of(source.encode(apply_edits(source, [edit])).decode())

    wanted = before["training_config"]
    assert isinstance(wanted, dict)
    lora = wanted["LoraConfig"]
    if change == "replace":
        lora["r"] = 16
    elif change == "rename":
        lora["rank"] = lora.pop("r")
    elif change == "remove":
        del lora["r"]
    elif change == "add":
        lora["lora_alpha"] = 16
    else:
        wanted["DataCollator"] = {"mlm": False}
    assert after == before


def test_a_byte_order_mark_inside_the_text_moves_no_edit() -> None:
    inner = f"{BOM}training_config:\n  LoraConfig:\n    r: 8\n"
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  {as_literal(inner, chr(10))}"
    source, config = read(text)
    option = config.option("LoraConfig", "r")

    assert option is not None
    assert apply_edits(source, [replace_value(config, option, 16)]) == text.replace("r: 8", "r: 16")


def test_lines_that_end_in_a_break_of_unicode_are_not_edited() -> None:
    inner = "training_config:\n  LoraConfig:\n    r: 8 # a\u2028    lora_alpha: 8\n"
    _, config = read(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  {as_double(inner, chr(10))}")

    assert not config.is_editable
