"""`optim_args` in a form, or with a value, that the optimizer refuses."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.optimizer import optimizer_name
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._conditions import ARGUMENTS, stage_effect, written
from kaitoc.rules._hazards import is_on_kaito, uses_sft_config

CODE = "KT464"
NAME = "refused-optimizer-argument"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_NUMBERS = {
    "sgd": ("momentum", "dampening", "weight_decay"),
    "adagrad": ("lr_decay", "weight_decay", "eps"),
    "rmsprop": ("momentum", "alpha", "eps", "weight_decay"),
    "ademamix": ("beta1", "beta2", "beta3", "alpha", "eps", "t_alpha", "t_beta3"),
}
"""The arguments that transformers 5 reads for each, all numbers (`trainer_optimizer.py`); 4.57 only ademamix's."""
_UNSIGNED = ("momentum", "weight_decay", "lr_decay", "eps", "alpha", "beta1", "beta2", "beta3")
_WHOLE = ("t_alpha", "t_beta3")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault where the text cannot be taken apart, or an argument is refused."""
    option, text = job.option(ARGUMENTS, "optim_args"), job.value(ARGUMENTS, "optim_args")
    if not is_on_kaito(job) or option is None or option.plain is None or not isinstance(text, str) or not text:
        return
    problem = _problem(job, text)
    if problem:
        yield _fault(job, option, problem)


def _fault(job: Job, option: Option, problem: str) -> Fault:
    return Fault(
        job.place_of(option),
        f"{written(option)}: {problem}; {stage_effect('optimizer')}",
        help="write `key=value` pairs with commas between them, or leave `optim_args` out",
    )


def _problem(job: Job, text: str) -> str:
    pieces = [piece.split("=") for piece in text.replace(" ", "").split(",")]
    odd = next(("=".join(piece) for piece in pieces if len(piece) != 2), None)
    if odd is not None:
        return f"`{odd}` is not one key=value pair"
    name = str(optimizer_name(job))
    given = {piece[0]: piece[1] for piece in pieces}
    if name.startswith("rmsprop_bnb"):
        return _bitsandbytes_problem(given)
    if "ademamix" in name:
        return _number_problem("ademamix", given)
    return _number_problem(name, given) if uses_sft_config(job) else ""


def _bitsandbytes_problem(given: dict[str, str]) -> str:
    """Return why bitsandbytes' RMSprop, which gets the texts as they are, stops."""
    key = next((key for key in given if key not in ("min_8bit_size", "block_wise")), "")
    return f"bitsandbytes gets `{key}` as a string and stops" if key else ""


def _number_problem(family: str, given: dict[str, str]) -> str:
    for key in _NUMBERS.get(family, ()):
        if key not in given:
            continue
        number = _number(given[key], is_whole=key in _WHOLE)
        if number is None:
            return f"`{key}` is not a {'whole ' if key in _WHOLE else ''}number"
        if number < 0 and key in _UNSIGNED:
            return f"`{key}` is below 0"
        if family == "rmsprop" and key == "alpha" and number > 1:
            return "`alpha` is above 1, and every weight becomes NaN"
        if family == "ademamix" and key.startswith("beta") and number >= 1:
            return f"`{key}` is not below 1"
    if family == "sgd" and given.get("nesterov", "").lower() in ("true", "1", "yes"):
        momentum = _number(given.get("momentum", "0"), is_whole=False)
        dampening = _number(given.get("dampening", "0"), is_whole=False)
        if not momentum or dampening:
            return "`nesterov` needs a `momentum` above 0 and no `dampening`"
    return ""


def _number(text: str, *, is_whole: bool) -> float | None:
    try:
        return int(text) if is_whole else float(text)
    except ValueError:
        return None
