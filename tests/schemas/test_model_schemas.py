"""The schemas of kaitoc's own files are those of its models."""

import json
from pathlib import Path

import jsonschema
import pytest

from kaitoc import schemas
from kaitoc.schemas.generate.models import MODELS, rendered

FOLDER = Path(schemas.__file__).parent


@pytest.mark.parametrize("name", MODELS)
def test_the_committed_schema_is_current(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == rendered(name)


@pytest.mark.parametrize("name", MODELS)
def test_the_schema_is_a_valid_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(rendered(name)))


def test_the_settings_schema_takes_what_kaitoc_takes() -> None:
    table = {"select": ["KT4"], "seq-len": 2048, "target": "bundled", "severity": {"KT402": "off"}}

    jsonschema.validate(table, json.loads(rendered("settings")))


@pytest.mark.parametrize(
    "table", [{"seq_len": 1}, {"select": "KT4"}, {"severity": {"KT402": "fatal"}}, {"margin": -1}, []]
)
def test_the_settings_schema_refuses_what_kaitoc_refuses(table: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(table, json.loads(rendered("settings")))
