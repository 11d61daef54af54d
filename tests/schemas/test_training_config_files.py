"""The committed tables and schemas are what their generator writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import kaitoc.schemas
from kaitoc.compiler.kaito.argument_table import release_arguments, table_names
from kaitoc.schemas import load_schema, read_json, schema_names
from kaitoc.schemas.generate.training_config import is_current, rendered_schema, rendered_table

FOLDER = Path(kaitoc.schemas.__file__).parent


@pytest.mark.parametrize("release", table_names())
def test_a_release_schema_is_current(release: str) -> None:
    committed = (FOLDER / "training_config" / f"{release}.json").read_text(encoding="utf-8")
    assert committed == rendered_schema(release), "run `make schemas`"


@pytest.mark.parametrize("release", table_names())
def test_an_argument_table_is_laid_out_as_the_generator_does(release: str) -> None:
    path = FOLDER / "training_config" / "arguments" / f"{release}.json"
    assert path.read_text(encoding="utf-8") == rendered_table(read_json(f"training_config/arguments/{release}"))


@pytest.mark.parametrize("release", table_names())
def test_an_argument_table_was_read_from_the_versions_of_the_catalog(release: str) -> None:
    assert is_current(release), "run `make schemas`"


def test_every_key_has_a_description_and_no_description_is_stale() -> None:
    keys: dict[str, set[str]] = {}
    for release in table_names():
        for section, found in release_arguments(release).sections.items():
            keys.setdefault(section, {""}).update(found.arguments)
    described = read_json("training_config/descriptions")["sections"]
    assert {section: set(texts) for section, texts in described.items()} == keys


def test_every_rename_leads_from_a_key_that_some_release_refuses_to_one_that_some_release_takes() -> None:
    tables = [release_arguments(release).sections for release in table_names()]
    for section, renames in read_json("training_config/renames")["sections"].items():
        for old, names in renames.items():
            assert any(old not in table[section].arguments for table in tables), old
            assert all(any(name in table[section].arguments for table in tables) for name in names), old


@pytest.mark.parametrize("name", schema_names())
def test_a_schema_is_valid_json_schema_with_its_own_address(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"].endswith(f"/{name}.json")


def test_an_unknown_schema_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        load_schema("training_config/descriptions")
