"""The JSON Schemas of an inference config are those of the tables, and say what a config should look like."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from kaitoc.schemas import ROOT, load_schema
from kaitoc.schemas.generate.inference_config import releases, rendered


@pytest.mark.parametrize("release", releases())
def test_a_schema_is_current(release: str) -> None:
    assert (Path(ROOT) / "inference_config" / f"{release}.json").read_text(encoding="utf-8") == rendered(release)


@pytest.mark.parametrize(
    ("vllm", "is_valid"),
    [
        ({"max-model-len": 4096, "dtype": "bfloat16", "no-enable-prefix-caching": True}, True),
        ({"max-model-len": "8k", "compilation-config.cudagraph_mode": "NONE"}, True),
        ({"swap-space": 4}, False),
        ({"enable-prefix-caching": False}, False),
        ({"dtype": "bf16"}, False),
        ({"max-lora-rank": 24}, False),
        ({"gpu-memory-utilization": 95}, False),
    ],
)
def test_a_schema_takes_what_should_be_written(vllm: dict[str, object], is_valid: bool) -> None:
    schema = load_schema("inference_config/v0.12")

    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid({"vllm": vllm}) is is_valid
