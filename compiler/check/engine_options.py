"""From what a user states to the engine that does it."""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What decides how files are judged: assumptions, the selected rules, and whether settings files count."""

    overrides: Overrides = Overrides()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    isolated: bool = False


def all_rules() -> RuleSet:
    """Return every rule there is."""
    from kaitoc.rules import FILE_RULES, JOB_RULES  # 140 modules: loaded when something is checked

    return RuleSet(FILE_RULES, JOB_RULES)


def engine_of(options: EngineOptions, *, refuse_error_suppressions: bool = False) -> Engine:
    """Return an engine with all rules; raises `SettingsError` for a selector that names no rule."""
    from kaitoc.rules import RULES  # as above

    engine = Engine(
        all_rules(),
        options.overrides,
        SettingsFinder(isolated=options.isolated),
        select=options.select,
        ignore=options.ignore,
        refuse_error_suppressions=refuse_error_suppressions,
    )
    engine.settings_for(".").refuse_unknown_selectors({rule.CODE: rule.NAME for rule in RULES})
    return engine


def selectors_in(values: Iterable[str]) -> tuple[str, ...]:
    """Return selectors that are given one by one or with commas between them."""
    return tuple(code.strip() for value in values for code in value.split(",") if code.strip())
