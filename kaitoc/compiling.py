"""Rewrites manifests into a configuration that is right, fits and is fast; writes nothing."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from kaitoc.compiler.check.engine_options import EngineOptions, all_rules
from kaitoc.compiler.check.inputs import TEXT_NAME, Inputs, PathsOrText, find_files, inputs_of
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation, CompileError, CompileRequest
from kaitoc.compiler.job.assumptions import NOTHING_STATED, Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.passes.model import Goal, PassContext, Preserve

E = TypeVar("E", bound=Enum)


def compile(  # noqa: A001  # `kaitoc.compile` is what the command is called
    paths_or_text: PathsOrText,
    *,
    assume: Overrides = NOTHING_STATED,
    goal: str = Goal.FIT.value,
    preserve: str = Preserve.STATISTICAL.value,
    allow_workspace_edits: bool = False,
    isolated: bool = False,
    config: str | None = None,
    text_name: str = TEXT_NAME,
) -> Compilation:
    """Rewrite manifests into a configuration that is right and fits, as `kaitoc compile` does; write nothing.

    `goal` is `fit`, `throughput`, `memory` or `cost`, the last by `assume.prices`; `preserve` is `exact`, `statistical`
    or `any`. The compiled texts are in `files`; `ok` is false where a problem is left that no pass repairs.

    Raises `SourceError` for a file that cannot be read, `SettingsError`, `AssumptionError`, and `CompileError` for a
    goal or bound that is none.
    """
    request = request_for(
        assume,
        goal=_named(Goal, "goal", goal),
        preserve=_named(Preserve, "preserve", preserve),
        allow_workspace_edits=allow_workspace_edits,
        settings=EngineOptions(isolated=isolated, config=config).settings,
    )
    result = compiled(inputs_of(paths_or_text, text_name), request)
    for error in result.errors:
        raise error
    return result


def request_for(
    overrides: Overrides,
    *,
    goal: Goal = Goal.FIT,
    preserve: Preserve = Preserve.STATISTICAL,
    allow_workspace_edits: bool = False,
    settings: SettingsFinder | None = None,
) -> CompileRequest:
    """Return the request for the compiler, with all rules."""
    rules = all_rules()
    context = PassContext(
        goal=goal,
        preserve=preserve,
        job_rules=tuple(rules.job_rules),
        allow_workspace_edits=allow_workspace_edits,
    )
    return CompileRequest(overrides, settings or SettingsFinder(), rules, context)


def compiled(inputs: Inputs, request: CompileRequest) -> Compilation:
    """Compile inputs; errors of files that cannot be read are part of the result."""
    if inputs.text is not None:
        return compile_files([inputs.text.path], request, [inputs.text])
    return compile_files(find_files(inputs.paths, request.settings), request)


def _named(choices: type[E], what: str, name: str) -> E:
    try:
        return choices(name)
    except ValueError as error:
        known = ", ".join(choice.value for choice in choices)
        raise CompileError(f"{what}: `{name}` is not one of {known}") from error
