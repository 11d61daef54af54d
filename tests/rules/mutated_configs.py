"""Training configs with faults, and whether Kaito stops on them.

PyYAML reads the text, the webhook refuses sections that it does not know, and the parser reads each section.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import yaml

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.compiler.kaito.arguments import parse_section

RELEASES = tuple(release.name for release in all_releases())
Entries = list[tuple[str, object]]
Sections = list[tuple[str, object]]

GOOD: dict[str, Entries] = {
    "ModelConfig": [("torch_dtype", "bfloat16"), ("local_files_only", True), ("device_map", "auto")],
    "QuantizationConfig": [
        ("load_in_4bit", True), ("bnb_4bit_quant_type", "nf4"), ("bnb_4bit_compute_dtype", "bfloat16"),
        ("bnb_4bit_use_double_quant", True),
    ],
    "LoraConfig": [
        ("r", 8), ("lora_alpha", 16), ("lora_dropout", 0.05), ("target_modules", ["qkv_proj", "o_proj"]),
        ("bias", "none"),
    ],
    "TrainingArguments": [
        ("output_dir", "/mnt/results"), ("num_train_epochs", 3), ("per_device_train_batch_size", 1),
        ("learning_rate", "1e-4"), ("save_strategy", "epoch"), ("logging_steps", 10), ("warmup_steps", 0),
        ("gradient_checkpointing", True), ("optim", "adamw_torch"),
    ],
    "DatasetConfig": [("shuffle_dataset", True), ("train_test_split", 1)],
    "DataCollator": [("mlm", False)],
}  # fmt: skip
ODD_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 8.0, 0.5, -1e-5, 1e300, "", " ", "8", "8.0", "1_0", "-1", "-x", "--bf16", "yes", "no",
    "steps", "none", "NF4", "None", "{", '{"a": 1}', [], [1], ["a", "b"], [None], [[1]], ["--r", "5"], {}, {"a": 1},
    {"kwargs": "{}"}, {"steps": 5}, "a: b", "x # y", "é", "1" * 40,
)  # fmt: skip
STRUCTURES: tuple[object, ...] = (None, [], [1], "text", 3, {})
HEAD = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: tune-params\ndata:\n  training_config.yaml: |\n"
    "    training_config:\n"
)


def mutated(draw: random.Random) -> str:
    """Return a ConfigMap whose config has up to three faults."""
    sections: Sections = [(name, list(entries)) for name, entries in GOOD.items()]
    for _ in range(draw.randrange(4)):
        _mutate(draw, sections)
    lines = list(_lines(sections))
    if draw.random() < 0.1:
        spot = draw.randrange(len(lines))
        lines[spot] = draw.choice(("  ", "")) + lines[spot].removeprefix(draw.choice(("  ", "    ")))
    return HEAD + "".join(f"    {line}\n" for line in lines)


def _mutate(draw: random.Random, sections: Sections) -> None:
    number = draw.randrange(len(sections))
    name, body = sections[number]
    change = draw.randrange(10)
    if change == 0:
        sections[number] = (name, draw.choice(STRUCTURES))
    elif change == 1 and len(sections) > 1:
        del sections[number]
    elif change == 2:
        sections[number] = (_misspelt(draw, name), body)
    elif isinstance(body, list) and body and isinstance(body[0], tuple):
        _mutate_entries(draw, body, change)


def _mutate_entries(draw: random.Random, entries: Entries, change: int) -> None:
    spot = draw.randrange(len(entries))
    name, value = entries[spot]
    if change == 3:
        del entries[spot]
    elif change == 4:
        entries[spot] = (_misspelt(draw, name), value)
    elif change == 5:
        entries[spot] = (name, None)
    elif change == 6:
        head, _, tail = name.rpartition("_")
        entries[spot] = (head or name, {tail: value})
    elif change == 7:
        draw.shuffle(entries)
    elif change == 8:
        foreign = draw.choice(GOOD[draw.choice(list(GOOD))])
        entries.insert(spot, foreign)
    else:
        entries[spot] = (name, draw.choice(ODD_VALUES))


def _misspelt(draw: random.Random, name: str) -> str:
    spot = draw.randrange(len(name))
    return draw.choice(
        (
            name[: spot + 1], name.replace("_", "-"), name[:spot] + name[spot + 1 :], name.upper(), f"no_{name}",
            name[:spot] + name[spot : spot + 2][::-1] + name[spot + 2 :], f"{name}=5", "1", "on", "~", "x y",
        )
    )  # fmt: skip


def _lines(sections: Sections) -> Iterator[str]:
    for name, body in sections:
        if isinstance(body, list) and body and isinstance(body[0], tuple):
            yield f"  {name}:"
            yield from (f"    {key}: {_flow(value)}" for key, value in body)
        else:
            yield f"  {name}: {_flow(body)}"


def _flow(value: object) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)).splitlines()[0]


def stops(text: str, release: str) -> str:
    """Return why Kaito stops on a ConfigMap's config, empty when the parser takes all of it."""
    inner = yaml.safe_load(text)["data"]["training_config.yaml"]
    try:
        content = yaml.safe_load(inner)
    except yaml.YAMLError as error:
        return f"not YAML: {error}"
    config = content.get("training_config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        return "no mapping named training_config"
    sections = release_arguments(release).sections
    if not config.keys() <= sections.keys():
        return "a section that the webhook does not know"
    for section in sections:
        body = config.get(section, {})
        if not isinstance(body, dict):
            return f"{section} is not a mapping"
        if section == "DataCollator" and isinstance(body.get("mlm"), dict) and body["mlm"]:
            body = {**body, "mlm": False}  # Kaito's second parse writes false over it (tests/oracle)
        parsed = parse_section(section, [(str(key), value) for key, value in body.items()], release)
        if not parsed.is_accepted:
            return f"{section}: {next(problem.kind.value for problem in parsed.problems if problem.is_fatal)}"
    return ""
