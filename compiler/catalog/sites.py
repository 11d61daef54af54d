"""Which linear layers a decoder layer has, before adapters: names, paths and shapes."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import Family
from kaitoc.compiler.core.records import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """A linear layer of the model before adapters: name, path, shape."""

    name: str
    path: str
    in_features: int
    out_features: int


@dataclass(frozen=True, slots=True)
class ExpertSites:
    """The linear layers of a layer's experts: `per_expert` those of the first, `top_k` the experts that a token visits.

    `shared` is a block that every token visits, behind `shared_gate`.
    """

    router: Site
    per_expert: tuple[Site, ...]
    shared: tuple[Site, ...]
    shared_gate: Site | None
    num_experts: int
    top_k: int


def attention_sites(architecture: Architecture, family: Family, index: int) -> list[Site]:
    """Return the projections into attention of layer `index`, the one out of it last."""
    path = f"{family.layers_path}.{index}.{family.attention_path}"
    hidden = architecture.hidden_size
    query = architecture.num_heads * architecture.head_dim
    key = architecture.num_kv_heads * architecture.head_dim
    widths = [query + 2 * key] if len(family.attention) == 1 else [query, key, key]
    inward = [Site(name, f"{path}.{name}", hidden, width) for name, width in zip(family.attention, widths, strict=True)]
    return [*inward, Site(family.output, f"{path}.{family.output}", query, hidden)]


def mlp_sites(architecture: Architecture, family: Family, index: int) -> list[Site]:
    """Return the linear layers of the feed-forward block of layer `index`."""
    path = f"{family.layers_path}.{index}.{family.mlp_path}"
    return feed_forward_sites(path, architecture.hidden_size, architecture.intermediate_size, family)


def feed_forward_sites(path: str, hidden: int, intermediate: int, family: Family) -> list[Site]:
    """Return the linear layers of a feed-forward block at `path`, an expert's or a dense one."""
    *inward, outward = family.mlp_modules
    width = intermediate * (2 if family.mlp == "gated_fused" else 1)
    sites = [Site(name, f"{path}.{name}", hidden, width) for name in inward]
    return [*sites, Site(outward, f"{path}.{outward}", intermediate, hidden)]


def expert_sites(architecture: Architecture, family: Family, index: int, *, fused: bool) -> ExpertSites:
    """Return the experts of layer `index`; `fused`: all experts' gates and ups are one parameter, all downs another.

    transformers 5 fuses them, and renamed Mixtral's block.
    """
    config, hidden = architecture.config, architecture.hidden_size
    width = int(str(config.get("moe_intermediate_size", architecture.intermediate_size)))
    block = "block_sparse_moe" if family.experts == "mixtral" and not fused else "mlp"
    path = f"{family.layers_path}.{index}.{block}"
    shared: list[Site] = []
    if family.shared_expert:
        shared_width = int(str(config.get("shared_expert_intermediate_size", width)))
        shared = feed_forward_sites(f"{path}.shared_expert", hidden, shared_width, family)
    return ExpertSites(
        router=Site("gate", f"{path}.gate", hidden, architecture.num_experts),
        per_expert=tuple(_expert(f"{path}.experts", hidden, width, family, fused=fused)),
        shared=tuple(shared),
        shared_gate=Site("shared_expert_gate", f"{path}.shared_expert_gate", hidden, 1) if shared else None,
        num_experts=architecture.num_experts,
        top_k=int(str(config.get("num_experts_per_tok", 2))),
    )


def _expert(path: str, hidden: int, width: int, family: Family, *, fused: bool) -> list[Site]:
    if not fused:
        return feed_forward_sites(f"{path}.0", hidden, width, family)
    return [
        Site("gate_up_proj", f"{path}.gate_up_proj", hidden, 2 * width),
        Site("down_proj", f"{path}.down_proj", width, hidden),
    ]


def is_target(path: str, name: str) -> bool:
    """Return whether a target name reaches a layer: PEFT's `check_target_module_exists` for a list of names."""
    return path == name or path.endswith(f".{name}")


def matches(site: Site, targets: tuple[str, ...]) -> bool:
    """Return whether a list of target modules, or PEFT's "all-linear", reaches a layer."""
    return targets == ("all-linear",) or any(is_target(site.path, target) for target in targets)
