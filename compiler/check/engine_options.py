"""From what a user states to the engine that does it."""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.rule_set import RuleSet, names_of_rules
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import DEFAULTS, SettingsError, SettingsFinder


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What decides how files are judged: assumptions, the selected rules, and whether settings files count."""

    overrides: Overrides = Overrides()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    isolated: bool = False
    config: str | None = None
    severity: Severity | None = None

    @property
    def settings(self) -> SettingsFinder:
        """Return the finder of settings; raises `SettingsError` where two options contradict each other."""
        if self.isolated and self.config is not None:
            raise SettingsError("--isolated and --config are mutually exclusive")
        return SettingsFinder(isolated=self.isolated, config=self.config)


def all_rules() -> RuleSet:
    """Load the rules of every kind; those for servers and clusters load on first use."""
    from kaitoc.rules import (  # loaded when something is checked
        FILE_RULES,
        JOB_RULES,
        OBJECT_RULES,
        cluster_rules,
        serving_rules,
    )

    return RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES, serving_rules, cluster_rules)


def engine_of(options: EngineOptions, *, refuse_error_suppressions: bool = False) -> Engine:
    """Return an engine with all rules; raises `SettingsError` for a selector that names no rule."""
    engine = Engine(
        all_rules(),
        options.overrides,
        options.settings,
        select=options.select,
        ignore=options.ignore,
        severity=options.severity,
        refuse_error_suppressions=refuse_error_suppressions,
    )
    DEFAULTS.with_selection(options.select, options.ignore).refuse_unknown_selectors(names_of_rules)
    engine.settings_for(".").refuse_unknown_selectors(names_of_rules)
    return engine


def selectors_in(values: Iterable[str]) -> tuple[str, ...]:
    """Return selectors that are given one by one or with commas between them."""
    return tuple(code.strip() for value in values for code in value.split(",") if code.strip())
