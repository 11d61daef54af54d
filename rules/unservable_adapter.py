"""An adapter that Kaito cannot serve as it is trained."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.served_adapters import needed_lora_rank, takes_adapters, vllm_refusals
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._adapters import SECTION, adapter_config, refused_embeddings
from kaitoc.rules._memory import option_place

CODE = "KT731"
NAME = "unservable-adapter"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each setting that the release's vLLM refuses, and for a rank that needs an option there.

    Where something at hand serves the adapter, that is judged instead.
    """
    faults = _refused(job)
    first = next(faults, None)
    if first is not None and not job.is_served():  # a server decides nothing about an adapter that vLLM takes
        yield first
        yield from faults


def _refused(job: Job) -> Iterator[Fault]:
    if job.model is not None and not takes_adapters(job.model.value.model_type):
        place = job.model.place or job.config_place
        yield Fault(
            place, f"{_refusal(job)} it takes no adapters for {job.model.value.name}", help=_help("tune another model")
        )
        return
    config = adapter_config(job)
    for key, reason in vllm_refusals(config).items():
        change = "lower `r`" if key == "r" else f"leave `{key}` out"
        yield Fault(option_place(job, SECTION, key), f"{_refusal(job)} {reason}", help=_help(change))
    embeddings = refused_embeddings(job)
    if embeddings:
        names = join_names(embeddings)
        yield Fault(
            option_place(job, SECTION, "target_modules"),
            f"{_refusal(job)} it takes no adapters on {names} of this model",
            help=_help(f"remove {names} from `target_modules`"),
        )
    rank = needed_lora_rank(config)
    if rank is not None:
        yield Fault(
            option_place(job, SECTION, "r"),
            f"{_server(job)} fails to start with an adapter of rank {config['r']} unless `max-lora-rank` allows it",
            help=f"to serve it, set `max-lora-rank: {rank}` under `vllm` in the server's `inference_config.yaml`",
            severity=Severity.INFO,  # nothing here is to be changed
        )


def _server(job: Job) -> str:
    return f"vLLM {job.release.vllm} of Kaito {job.release.name}"


def _refusal(job: Job) -> str:
    return f"{_server(job)} cannot serve this adapter:"


def _help(change: str) -> str:
    return f"to serve it with Kaito, {change}, or merge the adapter into its model and serve that"
