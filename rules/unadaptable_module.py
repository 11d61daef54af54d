"""A module of the model that cannot be adapted or trained in full."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.module_names import OtherModules, other_modules
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import stage_effect
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.rules._whole_layers import holds_weights

CODE = "KT466"
NAME = "unadaptable-module"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_HELD = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "gate_up_proj", "down_proj"),
}
"""The layers inside a block, as the models that Kaito tunes name them."""
_LAYERS_OF_A_BLOCK = tuple(name for names in _HELD.values() for name in names)


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for module names that stop the job where PEFT wraps the model."""
    if not is_on_kaito(job) or job.model is None or job.uses_template:
        return
    model = job.model.value
    modules = other_modules(model)
    if modules.refused:  # the type of the model is recorded
        yield from _saved(job, model, modules)
        yield from _pattern(job, modules)
        yield from _decomposed(job, modules)


def _saved(job: Job, model: Architecture, modules: OtherModules) -> Iterator[Fault]:
    option = job.option("LoraConfig", "modules_to_save")
    names = _names(job, "modules_to_save")
    if option is None:
        return
    if "base_model" in names or "model" in names:
        yield Fault(
            job.place_of(option),
            f"`modules_to_save` wraps the whole model, which then has no configuration; {stage_effect('adapter')}",
            help="name single layers, such as embed_tokens",
        )
    elif lists := [name for name in names if name in ("layers", "h") and name in modules.refused_names]:
        yield Fault(
            job.place_of(option),
            f"`modules_to_save` cannot wrap {lists[0]}, which is a list of modules; {stage_effect('adapter')}",
            help="name single layers, such as embed_tokens",
        )
    elif inner := _targets_inside(job, names):
        yield Fault(
            job.place_of(option),
            f"`modules_to_save` wraps {inner[0]}, which holds the adapter on {inner[1]}; {stage_effect('adapter')}",
            help="name it in one of the two only",
        )
    elif job.flag("QuantizationConfig", "load_in_4bit"):
        frozen = [name for name in names if name != "lm_head" and holds_weights(job, model, name)]
        if frozen:
            yield Fault(
                job.place_of(option),
                f"{join_names(frozen)} {'has' if len(frozen) == 1 else 'have'} quantized weights, which cannot be "
                f"trained whole; {stage_effect('adapter')}",
                help="name them in `target_modules` instead",
            )


def _targets_inside(job: Job, saved: list[str]) -> tuple[str, str] | None:
    """Return a module to save and a target inside it, which PEFT then looks for in the wrapper."""
    targets = _names(job, "target_modules")
    num_layers = job.model.value.num_layers if job.model is not None else 0
    inside = {name: _LAYERS_OF_A_BLOCK for name in saved if _is_a_block(name, num_layers)}
    held = (
        (name, target) for name in saved for target in targets if target in (inside.get(name) or _HELD.get(name, ()))
    )
    return next(held, None)


def _is_a_block(name: str, num_layers: int) -> bool:
    """Return whether a name is the end of a decoder layer's path; PEFT asks for no dot before it."""
    is_numbered = name[-1:].isdecimal()
    return is_numbered and any(f"model.layers.{number}".endswith(name) for number in range(num_layers))


def _pattern(job: Job, modules: OtherModules) -> Iterator[Fault]:
    option = job.option("LoraConfig", "layers_pattern")
    if option is None or job.option("LoraConfig", "layers_to_transform") is None:
        return
    names = _names(job, "layers_pattern")
    if names and not any(name in modules.refused_names for name in names):
        known = [name for name in ("layers", "h") if name in modules.refused_names]
        yield Fault(
            job.place_of(option),
            f"the model has no module called {join_names(names)}, so no layer matches; {stage_effect('adapter')}",
            help=f"write {join_names(known)}, or leave it out",
        )


def _decomposed(job: Job, modules: OtherModules) -> Iterator[Fault]:
    """Yield DoRA over an embedding, for which PEFT 0.11 has none."""
    option = job.option("LoraConfig", "use_dora")
    embeddings = [name for name in _names(job, "target_modules") if name.rpartition(".")[2] in modules.embedding_names]
    if option is not None and job.flag("LoraConfig", "use_dora") and embeddings:
        yield Fault(
            job.place_of(option),
            f"`use_dora: true` excludes {join_names(embeddings)}: PEFT has no DoRA for embeddings; "
            f"{stage_effect('adapter')}",
            help="leave one of the two out",
        )


def _names(job: Job, name: str) -> list[str]:
    value = job.value("LoraConfig", name)
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else []
