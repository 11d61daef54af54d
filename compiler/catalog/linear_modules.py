"""Which linear layers a model has, and which of them an adapter's `target_modules` reach.

Module names are those of transformers' code (`schemas/catalog/families.json`); experts are fused 3-D parameters in
transformers 5, which neither PEFT's module names nor bitsandbytes reach, and separate linear layers before.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import Family, find_family
from kaitoc.compiler.catalog.module_names import other_modules
from kaitoc.compiler.catalog.sites import (
    Site,
    attention_sites,
    expert_sites,
    is_target,
    mlp_sites,
)
from kaitoc.compiler.core.records import dataclass, replace

ALL_LINEAR = "all-linear"


_ROLES = (
    frozenset(("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack", "query")),
    frozenset(("o_proj", "out_proj", "dense", "attn.c_proj")),
    frozenset(("gate_proj", "up_proj", "gate_up_proj", "fc1", "c_fc", "dense_h_to_4h", "w1", "w3")),
    frozenset(("down_proj", "fc2", "dense_4h_to_h", "w2", "mlp.c_proj")),
)


@dataclass(frozen=True, slots=True)
class LinearModule:
    """A linear layer and how often the model has it.

    `path` is the full name of the first of them; `name` its last part. `is_head` marks the output embedding, which
    "all-linear" leaves out; a fused expert is not `reachable` by name.
    """

    name: str
    path: str
    in_features: int
    out_features: int
    count: int
    is_head: bool = False
    reachable: bool = True

    def num_lora_parameters(self, rank: int) -> int:
        """Return the parameters of adapters of a rank on all of them: A is rank x in, B is out x rank."""
        return self.count * rank * (self.in_features + self.out_features)


@dataclass(frozen=True, slots=True)
class TargetMatch:
    """What a list of target modules reaches: linear layers, embeddings, modules on which PEFT stops, or nothing.

    `equivalents` are (written name, names of the model's layers with the same role), empty where there are none; for a
    block that PEFT cannot adapt they are the linear layers in it. `embeddings` and `refused` are written names, of
    which an empty one is the whole model's.
    """

    modules: tuple[LinearModule, ...]
    unmatched: tuple[str, ...] = ()
    equivalents: tuple[tuple[str, tuple[str, ...]], ...] = ()
    embeddings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def num_lora_parameters(self, rank: int) -> int:
        """Return the trainable parameters of LoRA adapters of a rank on the layers that are reached."""
        return sum(module.num_lora_parameters(rank) for module in self.modules)


def linear_modules(architecture: Architecture, *, fused_experts: bool) -> tuple[LinearModule, ...]:
    """Return a model's linear layers; raises `UnknownModelTypeError` for a model type without a family."""
    return _linear_modules(architecture, fused_experts)


def match_targets(architecture: Architecture, targets: tuple[str, ...], *, fused_experts: bool) -> TargetMatch:
    """Match target modules to layers by PEFT's rule: a name is a layer's full path or its suffix after a dot."""
    return _match_targets(architecture, targets, fused_experts)


def all_linear_targets(architecture: Architecture, *, fused_experts: bool = True) -> tuple[str, ...]:
    """Return the names that put adapters on every linear layer but the output embedding."""
    return _all_linear_targets(architecture, fused_experts)


@lru_cache(maxsize=128)
def _linear_modules(architecture: Architecture, fused_experts: bool) -> tuple[LinearModule, ...]:
    family = find_family(architecture.model_type)
    attention = _modules(attention_sites(architecture, family, 0), architecture.num_layers)
    modules = [*attention, *_mlp(architecture, family, fused_experts)]
    head = LinearModule(
        family.head, family.head, architecture.hidden_size, architecture.vocab_size, count=1, is_head=True
    )
    return (*modules, head)


@lru_cache(maxsize=128)
def _all_linear_targets(architecture: Architecture, fused_experts: bool) -> tuple[str, ...]:
    modules = _linear_modules(architecture, fused_experts)
    return tuple(dict.fromkeys(module.name for module in modules if module.reachable and not module.is_head))


def _modules(sites: Iterable[Site], count: int, *, reachable: bool = True) -> list[LinearModule]:
    """Return layers that the model has `count` times each."""
    return [
        LinearModule(site.name, site.path, site.in_features, site.out_features, count, reachable=reachable)
        for site in sites
    ]


def _mlp(architecture: Architecture, family: Family, fused_experts: bool) -> list[LinearModule]:
    if architecture.num_experts:
        return _experts(architecture, family, fused_experts)
    return _modules(mlp_sites(architecture, family, 0), architecture.num_layers)


def _experts(architecture: Architecture, family: Family, fused: bool) -> list[LinearModule]:
    """Return the experts; PEFT's module names reach no fused one, and the gate beside fused ones is no linear layer."""
    experts, count = expert_sites(architecture, family, 0, fused=fused), architecture.num_layers
    modules = _modules(experts.per_expert, count * experts.num_experts, reachable=not fused)
    if not fused:
        modules += _modules([experts.router], count)
    modules += _modules(experts.shared, count)
    return modules + (_modules([experts.shared_gate], count) if experts.shared_gate is not None else [])


@lru_cache(maxsize=512)
def _match_targets(architecture: Architecture, targets: tuple[str, ...], fused_experts: bool) -> TargetMatch:
    modules = _linear_modules(architecture, fused_experts)
    reachable = [module for module in modules if module.reachable]
    if targets == (ALL_LINEAR,):
        return TargetMatch(tuple(module for module in reachable if not module.is_head))
    matched = [module for module in reachable if any(is_target(module.path, name) for name in targets)]
    others = [name for name in targets if not any(is_target(module.path, name) for module in reachable)]
    in_one_layer = {name: _in_one_layer(reachable, name, architecture.num_layers) for name in others}
    matched += [module for name in others for module in in_one_layer[name] if module not in matched]
    known = other_modules(architecture)
    missed = [name for name in others if not in_one_layer[name] and not known.is_embedding(name)]
    refused = tuple(name for name in missed if not name or known.is_refused(name))
    unmatched = tuple(name for name in missed if name not in refused)
    equivalents = [(name, _equivalents(reachable, name)) for name in unmatched]
    equivalents += [(name, _inside(reachable, name)) for name in refused]
    embeddings = tuple(name for name in others if known.is_embedding(name))
    return TargetMatch(tuple(matched), unmatched, tuple(equivalents), embeddings, refused)


def _in_one_layer(modules: list[LinearModule], name: str, num_layers: int) -> list[LinearModule]:
    """Return the layers that a name reaches in one decoder layer, as `layers.3.mlp.down_proj` does."""
    parts = name.split(".")
    numbers = [int(part) for part in parts if part.isdecimal()]
    if len(numbers) != 1 or numbers[0] >= num_layers:
        return []
    in_first = ".".join("0" if part.isdecimal() else part for part in parts)
    return [replace(module, count=1) for module in modules if is_target(module.path, in_first)]


def _inside(modules: list[LinearModule], name: str) -> tuple[str, ...]:
    """Return the names of the linear layers in a block."""
    block = "." + ".".join("0" if part.isdecimal() else part for part in name.split(".")) + "."
    return tuple(dict.fromkeys(module.name for module in modules if block in f".{module.path}" and not module.is_head))


def _equivalents(modules: list[LinearModule], name: str) -> tuple[str, ...]:
    """Return the model's layers that do what the layer of that name does in other models."""
    for role in _ROLES:
        if name in role:
            names = (module.name for module in modules if _in_role(module, role))
            return tuple(dict.fromkeys(names))
    return ()


def _in_role(module: LinearModule, role: frozenset[str]) -> bool:
    return module.name in role or any("." in name and module.path.endswith(f".{name}") for name in role)
