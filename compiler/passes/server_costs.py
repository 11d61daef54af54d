"""What a million output tokens cost on an instance type, by the prices that the user states."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.prices import usd_per_million_tokens
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.serving.speed import ServingSpeed, shape_within
from kaitoc.compiler.passes.instances import listed_instance_types
from kaitoc.compiler.passes.model import Goal
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_run import ServingRun, run_of
from kaitoc.compiler.passes.server_search import search_for_server
from kaitoc.compiler.passes.speed_server import seconds_of


@dataclass(frozen=True, slots=True)
class PricedServer:
    """The cheapest configuration on an instance type that surely starts, and what a million output tokens cost."""

    instance: InstanceType
    usd_per_million_tokens: float


def usd_of(job: ServingJob, run: ServingRun, speed: ServingSpeed) -> float | None:
    """Compute the USD per million output tokens of a fully loaded server on all its nodes, None without a price."""
    price = job.assumptions.prices.of(run.instance)
    return usd_per_million_tokens(price * run.num_nodes, 1.0 / speed.tokens_per_second) if price is not None else None


def missing_price(job: ServingJob) -> str:
    """Name the price that the cost goal lacks; empty when none."""
    instance = job.instance.value if job.instance is not None else None
    if instance is None or job.assumptions.prices.of(instance) is not None:
        return ""
    return f"--goal cost: the price of {instance.name} is missing; give --price {instance.name}=USD"


def priced_servers(job: ServingJob, context: ServingContext, jobs: dict[str, ServingJob]) -> list[PricedServer]:
    """Return a server at its cheapest on each instance type with a price, of those in `jobs` that hold it."""
    shape = shape_within(_length(job))
    found = []
    for instance in listed_instance_types(job.assumptions.release, _cloud(job)):
        there = jobs.get(instance.name)
        search = search_for_server(there, context, Goal.COST) if there is not None else None
        price = job.assumptions.prices.of(instance)
        best = search.best(lambda one: seconds_of(one, Goal.COST, shape)) if search is not None else None
        if search is None or best is None or price is None:
            continue
        run = search.varied(best)[0]
        seconds = seconds_of(run, Goal.COST, shape)
        found.append(PricedServer(instance, usd_per_million_tokens(price * run.num_nodes, seconds)))
    return found


def _length(job: ServingJob) -> int:
    run = run_of(job)
    return run.footprint.length_tokens if run is not None and run.footprint is not None else 0


def _cloud(job: ServingJob) -> str:
    return job.instance.value.cloud if job.instance is not None else ""
