"""From a command's options to the engine that does what they say."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.cli.options import overrides
from kaitoc.compiler.engine import Engine, RuleSet
from kaitoc.compiler.settings import SettingsFinder


def engine_of(options: dict[str, Any], *, refuse_error_suppressions: bool = False) -> Engine:
    """Return an engine with all rules; raises `SettingsError` for a selector that names no rule."""
    from kaitoc.rules import FILE_RULES, JOB_RULES, RULES

    engine = Engine(
        RuleSet(FILE_RULES, JOB_RULES),
        overrides(options),
        SettingsFinder(isolated=options["isolated"]),
        select=codes(options["select"]),
        ignore=codes(options["ignore"]),
        refuse_error_suppressions=refuse_error_suppressions,
    )
    engine.settings_for(".").refuse_unknown_selectors({rule.CODE: rule.NAME for rule in RULES})
    return engine


def codes(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return selectors that are given one by one or with commas between them."""
    return tuple(code.strip() for value in values for code in value.split(",") if code.strip())
