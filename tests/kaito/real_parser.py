"""The real thing: transformers' HfArgumentParser over Kaito's section classes, with the installed libraries."""

from __future__ import annotations

import contextlib
import enum
import io
import json
import os
import random
import warnings
from dataclasses import dataclass
from functools import cache

from kaitoc.schemas import read_json

# The libraries of the running environment decide which release this can be; `make test` installs the bundled ones.
RELEASE = os.environ.get("KAITOC_SOAK_RELEASE", "bundled")
SECTIONS = ("ModelConfig", "QuantizationConfig", "LoraConfig", "TrainingArguments", "DatasetConfig", "DataCollator")
Entries = list[tuple[str, object]]


@dataclass(frozen=True)
class Verdict:
    """What the real parser says: the values it read, None when it refuses."""

    values: dict[str, object] | None


@cache
def real_classes() -> dict[str, type]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kaitoc.schemas.generate.introspect_arguments import section_classes
        from kaitoc.schemas.generate.training_config import arguments_class

        sections = read_json("training_config/sections")["sections"]
        return section_classes(sections, RELEASE, arguments_class(RELEASE))


@cache
def real_parser(section: str):
    from transformers import HfArgumentParser

    return HfArgumentParser((real_classes()[section],))


def command_line(entries: Entries) -> list[str]:
    """Flatten as Kaito's `flatten_config_to_cli_args` does."""
    strings: list[str] = []

    def add(name: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{name}_{key}", inner)
        else:
            strings.append(name)
            strings.extend(map(str, value if isinstance(value, list) else [value]))

    for key, value in entries:
        add(f"--{key}", value)
    return strings


def real_verdict(section: str, entries: Entries) -> Verdict:
    """Parse with argparse, then read JSON and dtype names as the section's class does."""
    import torch

    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            namespace, left = real_parser(section).parse_known_args(command_line(entries))
    except SystemExit:
        return Verdict(None)
    if left:
        return Verdict(None)
    values = vars(namespace)
    for name in getattr(real_classes()[section], "_VALID_DICT_FIELDS", ()):
        if isinstance(values[name], str) and values[name].startswith("{"):
            try:
                values[name] = json.loads(values[name])
            except ValueError:
                return Verdict(None)
    dtype = values.get("torch_dtype")
    if dtype and not isinstance(getattr(torch, dtype, None), torch.dtype):
        return Verdict(None)
    return Verdict(values)


def plain(value: object) -> object:
    """Return enum members as their values, which is how the tables have them."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


GOOD: dict[str, Entries] = {
    "ModelConfig": [("torch_dtype", "bfloat16"), ("local_files_only", True), ("device_map", "auto")],
    "QuantizationConfig": [
        ("load_in_4bit", True),
        ("bnb_4bit_quant_type", "nf4"),
        ("bnb_4bit_compute_dtype", "bfloat16"),
        ("llm_int8_skip_modules", ["lm_head"]),
        ("llm_int8_threshold", 6.0),
    ],
    "LoraConfig": [
        ("r", 8),
        ("lora_alpha", "16"),
        ("lora_dropout", 0.05),
        ("target_modules", ["qkv_proj", "o_proj"]),
        ("layers_to_transform", [0, 1]),
        ("bias", "none"),
        ("init_lora_weights", True),
    ],
    "TrainingArguments": [
        ("output_dir", "/mnt/results"),
        ("per_device_train_batch_size", 2),
        ("learning_rate", "1e-4"),
        ("save_strategy", "no"),
        ("bf16", True),
        ("max_steps", -1),
        ("optim", "adamw_torch"),
        ("debug", "underflow_overflow"),
        ("fsdp", []),
        ("gradient_checkpointing", False),
        ("gradient_checkpointing_kwargs", '{"use_reentrant": false}'),
        ("dataset_kwargs", "{}"),
    ],
    "DatasetConfig": [("shuffle_dataset", True), ("train_test_split", 1), ("dataset_path", "data/train.json")],
    "DataCollator": [("mlm", True), ("mlm_probability", 0.15), ("pad_to_multiple_of", 8)],
}

ODD_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 8, 8.0, 0.5, -0.5, -1e-5, 1e-5, 1e300, float("inf"), float("-inf"), float("nan"),
    "", " ", "8", " 8 ", "+8", "-8", "-8 ", "- 8", "8.0", "1_0", "1e-3", "-1e-3", "nan", "-inf", "-.5", "5.", "x",
    "yes", "NO", "t", "on", "None", "null", "-", "--", "-h", "-hx", "-h x", "-x", "-x y", "--r", "--x y", "--r=5 6",
    "--bf16", "--nothing", "{}", "{", '{"a": 1}', "[]", "no", "steps", "none", "bfloat16", "int8", "nn", "auto",
    [], [1], ["1", 2], ["a", "b"], [None], [True], [[1]], [{}], [{"a": 1}], ["--r", "5"], ["a", "--r", "5"],
    {}, {"a": 1}, {"config": "x"}, {"kwargs": "{}"}, {"steps": 5}, {"a": {}}, {"a": {"b": 1}},
    "a\nb", "-1\n", "٣", "-٣", "é", "0x10", "1" * 5000,
)  # fmt: skip


def mutated(rng: random.Random, section: str) -> Entries:
    """Return a good section with up to four faults: dropped, retyped, misspelt, nulled, nested, cut, reordered."""
    entries = list(GOOD[section])
    names = [*real_names(section), *(name for name, _ in entries)]
    for _ in range(rng.randrange(5)):
        spot = rng.randrange(len(entries)) if entries else 0
        change = rng.randrange(9)
        if change == 0 and entries:
            del entries[spot]
        elif change == 1 and entries:
            entries[spot] = (_respelt(rng, entries[spot][0]), entries[spot][1])
        elif change == 2:
            rng.shuffle(entries)
        elif change == 3 and entries:
            name, value = entries[spot]
            head, _, tail = name.rpartition("_")
            entries[spot] = (head or name, {tail: value})
        elif change == 4:
            entries.insert(
                spot, (rng.choice(("h", "help", "no_bf16", "no_mlm", "x=1", "r=8", "1")), rng.choice((1, [])))
            )
        elif change == 5 and entries:
            entries.append((rng.choice(("", "no_", "no-")) + entries[spot][0], rng.choice(ODD_VALUES)))
        else:
            entries.insert(spot, (rng.choice(names), rng.choice(ODD_VALUES)))
    return entries


@cache
def real_names(section: str) -> tuple[str, ...]:
    return tuple(action.dest for action in real_parser(section)._actions if action.dest != "help")


def _respelt(rng: random.Random, name: str) -> str:
    spot = rng.randrange(len(name) or 1)
    return rng.choice(
        (
            name[: spot + 1],
            name.replace("_", "-"),
            name.replace("_", "-", 1),
            name[:spot] + name[spot + 1 :],
            name.upper(),
            f"{name}=5",
            f"{name[: spot + 1]}=5",
            f"no_{name}",
        )
    )
