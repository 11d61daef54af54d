"""How objects under review are judged, and the options that say so."""

from __future__ import annotations

from collections.abc import Sequence

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.faults import UpdateRule


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """What a user states about admission; it travels to the processes that judge."""

    engine: EngineOptions
    is_strict: bool = False
    allow_suppressions: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """How to judge: `engine` has the rules and settings, and refuses or honours suppressions of errors.

    `is_strict` refuses warnings too; `mutates` answers with a patch of the safe fixes and refuses nothing.
    """

    engine: Engine
    update_rules: Sequence[UpdateRule]
    is_strict: bool = False
    mutates: bool = False


def policy_of(options: PolicyOptions, *, mutates: bool) -> Policy:
    """Return the policy that options state; raises `KaitocError` where they contradict the catalogs."""
    from kaitoc.rules import update_rules  # 140 modules: loaded when something is judged

    engine = engine_of(options.engine, refuse_error_suppressions=not options.allow_suppressions)
    engine.assumptions_for(".")
    return Policy(engine, update_rules(), is_strict=options.is_strict, mutates=mutates)
