"""Write the choice that is meant where the runtime's parser refuses a value: `"no"`, lower case, names of types."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-choices"

_DTYPES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "half": "float16",
    "float": "float32",
    "auto": "bfloat16",
}
"""Names of other libraries for torch's types; `auto` is the checkpoint's, bfloat16 for every tunable preset."""


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the choice for each value that is not one, where what is meant is clear."""
    for option, problem in job.problems:
        if problem.kind is not ArgProblemKind.INVALID_CHOICE:
            continue
        meant = _meant(job, option, problem.key)
        if meant is not None:
            reason = f"`{option.plain}` is not among the values of `{problem.key}`; the runtime's parser stops here"
            yield set_to(job, option.section, problem.key, meant, reason, Preserves.INTENT)


def _meant(job: Job, option: Option, key: str) -> str | None:
    value = option.plain
    if key == "torch_dtype":
        return _dtype(value)
    choices = release_arguments(job.args_release).sections[option.section].arguments[key].choices
    if value is False and "no" in choices:
        return "no"
    lowered = str(value).strip().lower()
    return lowered if lowered in choices else None


def _dtype(value: object) -> str | None:
    name = str(value).strip().removeprefix("torch.").lower()
    known = _DTYPES.get(name, name)
    return known if known in _DTYPES.values() else None
