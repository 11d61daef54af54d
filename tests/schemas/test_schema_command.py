from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.cli.schema import schema
from kaitoc.schemas import load_schema, schema_names


def test_without_a_name_it_lists_every_schema() -> None:
    result = CliRunner().invoke(schema, [])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == list(schema_names())


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("training_config/v0.9", "training_config/v0.9"),
        ("training_config", f"training_config/{newest_release().name}"),
        ("v0.8", "training_config/v0.8"),
        ("workspace", "workspace/v1beta1"),
        ("workspace/v1beta1.json", "workspace/v1beta1"),
    ],
)
def test_a_name_prints_its_schema(name: str, full: str) -> None:
    result = CliRunner().invoke(schema, [name])
    assert result.exit_code == 0
    assert json.loads(result.output) == load_schema(full)


def test_an_unknown_name_is_a_usage_error_that_names_the_closest() -> None:
    result = CliRunner().invoke(schema, ["workspaces"])
    assert result.exit_code == 2
    assert "did you mean `workspace/v1beta1`?" in result.stderr
