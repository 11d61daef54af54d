"""`target_modules` that name layers the model does not have, or modules that PEFT cannot adapt."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.linear_modules import ALL_LINEAR, TargetMatch, match_targets
from kaitoc.compiler.core.findings import Applicability, Fix, Related, Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import stack_of, targets_of
from kaitoc.compiler.job.repairs import linear_module_names, repaired_targets
from kaitoc.compiler.manifest.config_edits import replace_value
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.compiler.yaml.tree import Scalar, Sequence
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT401"
NAME = "unmatched-target-modules"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    option = job.option("LoraConfig", "target_modules")
    if option is None or job.model is None or job.uses_template or not linear_module_names(job):
        return
    model, written = job.model.value, targets_of(job)
    targets = tuple(name for name in written if not _is_saved(job, name))
    if written and not targets:
        yield _all_saved(job, option)
    if not targets:
        return
    if targets == (ALL_LINEAR,):
        yield from _all_linear(job, model, option)
        return
    match = match_targets(model, targets, fused_experts=stack_of(job).fused_experts)
    if match.refused:
        yield _refused(job, model, option, match)
    elif match.unmatched:
        yield _fault(job, model, option, match)


def _is_saved(job: Job, target: str) -> bool:
    """Return whether PEFT trains the modules of a target whole: it wraps them by the end of their path, first."""
    saved = job.value("LoraConfig", "modules_to_save")
    return isinstance(saved, (list, tuple)) and any(target.endswith(str(name)) for name in saved)


def _all_saved(job: Job, option: Option) -> Fault:
    return Fault(
        option.key,
        f"{join_names(targets_of(job))} {'is' if len(targets_of(job)) == 1 else 'are'} in `modules_to_save` too, which "
        "takes precedence in PEFT; it finds no target module and the job stops",
        help="name them in one of the two only",
    )


def _all_linear(job: Job, model: Architecture, option: Option) -> Iterator[Fault]:
    """Yield PEFT's word for every layer, which Kaito passes on as a list of one name."""
    if not is_on_kaito(job):
        return
    repaired = repaired_targets(job)
    yield Fault(
        option.key,
        f"`{ALL_LINEAR}` becomes a list of one name, and {model.name} has no layer of that name; PEFT finds no target "
        "module and the job stops",
        help=f"write {join_names(repaired)}" if repaired else "list the layers by name",
        fix=_fix(job, option, repaired),
    )


def _refused(job: Job, model: Architecture, option: Option, match: TargetMatch) -> Fault:
    """Return the fault of names that reach modules which PEFT cannot adapt, whatever else is listed."""
    repaired = repaired_targets(job)
    one = len(match.refused) == 1
    kind = "is neither a linear layer nor an embedding" if one else "are neither linear layers nor embeddings"
    return Fault(
        option.key,
        f"{join_names(match.refused)} of {model.name} {kind}: PEFT refuses to adapt {'it' if one else 'them'}, and "
        "the job stops after the model is loaded",
        help=f"write {join_names(repaired)}" if repaired else f"its layers are {join_names(linear_module_names(job))}",
        fix=_fix(job, option, repaired, Applicability.UNSAFE),
    )


def _fault(job: Job, model: Architecture, option: Option, match: TargetMatch) -> Fault:
    repaired = repaired_targets(job)
    missing = join_names(match.unmatched)
    trains = bool(match.modules or match.embeddings)
    if trains:
        message = f"{model.name} has no {missing}; {_trained(job, model, match, repaired)}"
    else:
        message = f"{model.name} has no {missing}; PEFT finds no target module and the job stops"
    return Fault(
        option.key,
        message,
        help=f"write {join_names(repaired)}" if repaired else f"its layers are {join_names(linear_module_names(job))}",
        related=_related(option, match),
        fix=_fix(job, option, repaired),
        severity=Severity.WARNING if trains else Severity.ERROR,
    )


def _trained(job: Job, model: Architecture, match: TargetMatch, repaired: tuple[str, ...] | None) -> str:
    rank = job.integer("LoraConfig", "r", 8)
    names = tuple(dict.fromkeys((*match.embeddings, *(module.name for module in match.modules))))
    trained = f"only {join_names(names)} will be trained"
    if repaired is None or rank < 1:
        return trained
    meant = match_targets(model, repaired, fused_experts=stack_of(job).fused_experts)
    if match.embeddings:
        return trained
    counts = (match.num_lora_parameters(rank), meant.num_lora_parameters(rank))
    return f"{trained}, {counts[0]:,} of {counts[1]:,} parameters"


def _related(option: Option, match: TargetMatch) -> tuple[Related, ...]:
    if not isinstance(option.node, Sequence) or option.node.is_flow:
        return ()
    return tuple(
        Related(f"no layer is named `{item.value.value}`", option.value.source, item.span)
        for item in option.node.items
        if isinstance(item.value, Scalar) and item.value.value in match.unmatched
    )


def _fix(
    job: Job, option: Option, repaired: tuple[str, ...] | None, applicability: Applicability = Applicability.SAFE
) -> Fix | None:
    if repaired is None or job.config is None or not job.config.is_editable:
        return None
    edit = replace_value(job.config, option, list(repaired))
    return Fix(f"Train {join_names(repaired)}", applicability, (edit,))
