"""What the runtime's parser says of a job's options, for the rules that each name one kind of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblem, ArgProblemKind
from kaitoc.compiler.manifest.config_edits import rename_option, replace_value
from kaitoc.compiler.manifest.training_config import Option

STOPS = "the job stops before the model loads"


def problems_of(job: Job, *kinds: ArgProblemKind) -> Iterator[tuple[Option, ArgProblem]]:
    """Yield the options of which the parser says one of `kinds`, with what it says."""
    for option, problem in job.problems:
        if problem.kind in kinds:
            yield option, problem


def closest_choice(option: Option, problem: ArgProblem) -> str:
    """Return a did-you-mean for a value that is not among the choices; `no` without quotes is not a word in YAML."""
    plain = option.plain
    choices = problem.expectation.removeprefix("one of ").split(", ")
    if isinstance(plain, bool):
        word = "no" if plain is False else "yes"
        written = option.value.source.slice(option.value.span)
        quoted = f'put it in quotes: "{word}"' if word in choices else ""
        return f"YAML reads {written} as {str(plain).lower()}; {quoted}".rstrip("; ")
    from difflib import get_close_matches

    close = get_close_matches(str(plain).lower(), choices, n=1)
    return f"did you mean `{close[0]}`?" if close else ""


def null_effect(problem: ArgProblem) -> str:
    """Describe the effect of a null: a refusal, or the literal text."""
    if problem.is_fatal:
        return STOPS
    return f"`{problem.key}` becomes the text `None`"


def nested_effect(problem: ArgProblem) -> str:
    """Describe the effect of a flattened mapping."""
    return f"which is not an option; {STOPS}" if problem.is_fatal else f"which sets `{problem.suggestion}`"


def nested_help(option: Option, problem: ArgProblem) -> str:
    """Suggest the spelling that the parser accepts; empty for a fatal problem without one."""
    if problem.suggestion == option.name:
        return "write the mapping as a JSON string in single quotes"
    return "" if problem.is_fatal else f"write `{problem.suggestion}` itself"


def as_json(job: Job, option: Option, problem: ArgProblem) -> Fix | None:
    """Offer the mapping as a JSON string, the form that the parser takes for such keys."""
    config = job.config
    if problem.suggestion != option.name or config is None or not config.is_editable:
        return None
    try:
        text = json.dumps(option.plain)
    except TypeError:
        return None
    return Fix("Write it as JSON text", Applicability.SAFE, (replace_value(config, option, text),))


def len_of(option: Option) -> int:
    """Count an option's list elements, 0 when it is not a list."""
    plain = option.plain
    return len(plain) if isinstance(plain, list) else 0


def negation(job: Job, option: Option, problem: ArgProblem) -> Fix | None:
    """Offer `key: false` for `no_key: true`, and `key: true` for `no_key: false`."""
    config, plain = job.config, option.plain
    if config is None or not config.is_editable or not isinstance(plain, bool):
        return None
    if config.option(option.section, problem.key) is not None:
        return None
    edits = (rename_option(config, option, problem.key), replace_value(config, option, not plain))
    return Fix(f"Write `{problem.key}: {str(not plain).lower()}`", Applicability.SAFE, edits)
