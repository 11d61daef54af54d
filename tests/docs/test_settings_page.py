"""The page of settings has every key, and its example is one that kaitoc takes."""

from __future__ import annotations

import re
from pathlib import Path

from kaitoc.compiler.job.settings import load_settings
from kaitoc.compiler.job.settings_model import SettingsModel

PAGE = (Path(__file__).parents[2] / "docs/settings.md").read_text(encoding="utf-8")


def test_every_key_is_in_the_table() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    listed = {key for row in rows for key in re.findall(r"`([a-z-]+)`", row)}

    assert listed == {field.alias or name for name, field in SettingsModel.model_fields.items()}


def test_the_example_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "kaitoc.toml"
    path.write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0], encoding="utf-8")
    settings = load_settings(path)

    assert settings is not None
    assert settings.strict
    assert settings.formats == ("concise",)
