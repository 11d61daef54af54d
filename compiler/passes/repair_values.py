"""Write keys and values the way the runtime's parser takes them, where what is meant is clear."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from kaitoc.compiler.job import Job
from kaitoc.compiler.kaito_args import ArgProblem, ProblemKind
from kaitoc.compiler.kaito_args_table import Argument, ArgType, release_arguments
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import remove, rename, set_to
from kaitoc.compiler.training_config import Option

NAME = "repair-values"

_DTYPES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "half": "float16",
    "float": "float32",
    "auto": "bfloat16",
}
_STOPS = "the runtime's parser stops here"


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the repair of each key or value that the parser refuses or reads differently."""
    for section, parse in job.parsed.items():
        options = job.options(section)
        for problem in parse.problems:
            repair = _REPAIRS.get(problem.kind)
            change = repair(job, options[problem.entry_index], problem) if repair is not None else None
            if change is not None:
                yield change


def _rename(job: Job, option: Option, problem: ArgProblem) -> Change | None:
    name = problem.suggestion
    if not name or "," in name or _is_written(job, option.section, name):
        return None
    if problem.kind is ProblemKind.UNKNOWN_KEY:
        reason = f"{option.section} has no key `{option.name}`; {_STOPS}"
        return rename(job, option, name, reason, Preserves.INTENT)
    reason = f"short for `{name}`, which Kaito's webhook does not recognise in this spelling"
    return rename(job, option, name, reason, Preserves.EXACT)


def _is_written(job: Job, section: str, name: str) -> bool:
    return job.config is not None and job.config.option(section, name) is not None


def _remove_null(job: Job, option: Option, _: ArgProblem) -> Change:
    reason = f"null becomes the text `None`; {_STOPS} or takes it literally"
    return remove(job, option, reason, Preserves.INTENT)


def _remove_empty(job: Job, option: Option, _: ArgProblem) -> Change:
    return remove(job, option, f"an empty list has no value to give; {_STOPS}", Preserves.INTENT)


def _as_json(job: Job, option: Option, problem: ArgProblem) -> Change | None:
    argument = _argument(job, option)
    if argument is None or not argument.is_json or not isinstance(option.plain, dict):
        return None
    text = json.dumps(option.plain)
    reason = f"a nested mapping is flattened into unknown keys; {_STOPS}, but it reads JSON text"
    return set_to(job, option.section, option.name, text, reason, Preserves.INTENT)


def _as_integer(job: Job, option: Option, problem: ArgProblem) -> Change | None:
    argument, value = _argument(job, option), option.plain
    if argument is None or argument.type is not ArgType.INT or not isinstance(value, float):
        return None
    if not value.is_integer():
        return None
    reason = f"`{problem.key}` takes an integer; {_STOPS}"
    return set_to(job, option.section, option.name, int(value), reason, Preserves.INTENT)


def _as_choice(job: Job, option: Option, problem: ArgProblem) -> Change | None:
    argument, value = _argument(job, option), option.plain
    if argument is None:
        return None
    meant = _dtype(value) if argument.name == "torch_dtype" else _choice(argument, value)
    if meant is None:
        return None
    reason = f"`{value}` is not among the values that `{argument.name}` takes; {_STOPS}"
    return set_to(job, option.section, option.name, meant, reason, Preserves.INTENT)


def _choice(argument: Argument, value: object) -> str | None:
    """Return the choice that is meant: YAML reads an unquoted `no` as false, and choices are in lower case."""
    if value is False and "no" in argument.choices:
        return "no"
    lowered = str(value).strip().lower()
    return lowered if lowered in argument.choices else None


def _dtype(value: object) -> str | None:
    name = str(value).removeprefix("torch.").lower()
    known = _DTYPES.get(name, name)
    return known if known in _DTYPES.values() and known != value else None


def _argument(job: Job, option: Option) -> Argument | None:
    return release_arguments(job.args_release).sections[option.section].arguments.get(option.name)


_REPAIRS: dict[ProblemKind, Callable[[Job, Option, ArgProblem], Change | None]] = {
    ProblemKind.UNKNOWN_KEY: _rename,
    ProblemKind.ABBREVIATED_KEY: _rename,
    ProblemKind.HYPHENATED_KEY: _rename,
    ProblemKind.NULL_VALUE: _remove_null,
    ProblemKind.EMPTY_LIST: _remove_empty,
    ProblemKind.NESTED_MAPPING: _as_json,
    ProblemKind.WRONG_TYPE: _as_integer,
    ProblemKind.INVALID_CHOICE: _as_choice,
}
