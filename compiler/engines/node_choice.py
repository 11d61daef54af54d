"""Chooses the nodes of a plan: as many as asked for, else the cheapest by the stated prices, else the fewest."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType, all_instance_types
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.emit_options import EmitError, EmitOptions
from kaitoc.compiler.engines.world_size import World, world_of
from kaitoc.compiler.job.job import Assumptions
from kaitoc.compiler.job.prices import usd_per_million_tokens
from kaitoc.compiler.passes.space import TIE
from kaitoc.compiler.plan.plan import Plan
from kaitoc.compiler.plan.speed import speed_of_plan


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a run; `usd` is what a million of its tokens cost there, None where no price says.

    `reason` says in a sentence why it is these, empty where the user asked for them.
    """

    instance: InstanceType
    world: World
    usd: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        """Return the number of nodes and their type."""
        return f"{self.world.num_nodes} x {self.instance.name}"


def nodes_of(plan: Plan, instance: InstanceType, options: EmitOptions, assumptions: Assumptions) -> Nodes:
    """Return the nodes of a plan; the instance type is the stated one unless the options allow another.

    More nodes of a type than the fewest only add to what they send each other, so they never cost less per token.
    Raises `EmitError` where the plan fits on none of them.
    """
    if options.num_nodes is not None:
        return Nodes(instance, world_of(plan, instance, options.num_nodes, assumptions.margin, options.shard_group))
    others = list(_priced_others(plan, instance, options, assumptions))
    cheapest = min(others, key=_usd_of, default=None)
    try:
        stated = _fewest(plan, instance, options, assumptions)
    except EmitError as error:
        if cheapest is None:
            raise
        if not options.may_change_instance:
            raise EmitError(f"{error}; it fits on {cheapest} (--allow-workspace-edits)") from error
        return _because(cheapest, f"it does not fit on {instance.name}")
    if stated.usd is None:
        why = f"the fewest that fit; --price {instance.name}=USD and those of other types let it take the cheapest"
        return _because(stated, why)
    if cheapest is None or _usd_of(cheapest) >= stated.usd * (1 - TIE):
        return _because(stated, f"{_cost(stated)}, the least by the stated prices")
    difference = f"{_cost(cheapest)}, {stated.usd:.3f} on {stated}"
    if options.may_change_instance:
        return _because(cheapest, difference)
    return _because(stated, f"{_cost(stated)}; --allow-workspace-edits takes {cheapest}: {_cost(cheapest)}")


def _priced_others(plan: Plan, stated: InstanceType, options: EmitOptions, assumptions: Assumptions) -> Iterator[Nodes]:
    """Yield the fewest nodes of each other type of the same cloud whose price is stated, where the plan fits."""
    for instance in all_instance_types():
        if instance == stated or assumptions.prices.of(instance) is None or not _is_alike(instance, stated):
            continue
        try:
            nodes = _fewest(plan, instance, options, assumptions)
        except EmitError:
            continue
        if nodes.usd is not None:
            yield nodes


def _is_alike(instance: InstanceType, stated: InstanceType) -> bool:
    """Return whether a type is of the same cloud and computes in all types that the stated one does."""
    if instance.gpu is None or instance.cloud != stated.cloud:
        return False
    return instance.gpu.has_bf16 or stated.gpu is None or not stated.gpu.has_bf16


def _fewest(plan: Plan, instance: InstanceType, options: EmitOptions, assumptions: Assumptions) -> Nodes:
    world = world_of(plan, instance, None, assumptions.margin, options.shard_group)
    price = assumptions.prices.of(instance)
    speed = speed_of_plan(world.applied_to(plan), instance) if price is not None else None
    if speed is None or price is None:
        return Nodes(instance, world)
    return Nodes(instance, world, usd_per_million_tokens(price * world.num_nodes, 1 / speed.tokens_per_second))


def _because(nodes: Nodes, reason: str) -> Nodes:
    return Nodes(nodes.instance, nodes.world, nodes.usd, f"--nodes auto takes {nodes}: {reason}")


def _cost(nodes: Nodes) -> str:
    return f"a million tokens cost USD {_usd_of(nodes):.3f}"


def _usd_of(nodes: Nodes) -> float:
    return float("inf") if nodes.usd is None else nodes.usd
