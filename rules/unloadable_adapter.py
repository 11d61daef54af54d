"""An adapter that one of the given runs trains and that its server cannot load."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.served_adapters import default_lora_rank, needed_lora_rank, vllm_refusals
from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.serving_job import ServingJob, TrainedAdapter
from kaitoc.compiler.manifest.serving_config import SERVING_SECTION
from kaitoc.rules._adapters import SECTION, adapter_config, refused_embeddings
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import option_place
from kaitoc.rules._serving import STOPS

CODE = "KT732"
NAME = "unloadable-adapter"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_OPTION = "max-lora-rank"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield adapters with what vLLM refuses, and with a rank above what the server allows."""
    for adapter in job.find_trainers() if job.uses_vllm and job.parsed.is_accepted else ():
        config = adapter_config(adapter.job)
        refusals = vllm_refusals(config)
        embeddings = refused_embeddings(adapter.job)
        if embeddings:
            refusals = {**refusals, "target_modules": f"it takes no adapters on {join_names(embeddings)} of this model"}
        for key, reason in refusals.items():
            message = f"vLLM {job.table.vllm} refuses the adapter that {_trainer(adapter)} trains: {reason}; {STOPS}"
            yield Fault(adapter.place, message, help="merge the adapter into its model and serve that",
                        related=(related("set here", option_place(adapter.job, SECTION, key)),))  # fmt: skip
        needed = needed_lora_rank(config) if not refusals else None
        if needed is not None and needed > _allowed(job):
            yield _of_rank(job, adapter, config["r"], needed)


def _of_rank(job: ServingJob, adapter: TrainedAdapter, rank: int, needed: int) -> Fault:
    message = (
        f"the adapter that {_trainer(adapter)} trains has rank {rank}, and `{_OPTION}` is {_allowed(job)}; {STOPS}"
    )
    fix = setting_fix(job, SERVING_SECTION, _OPTION, needed, f"Write `{_OPTION}: {needed}`", Applicability.SAFE)
    return Fault(
        adapter.place,
        message,
        help=f"write `{_OPTION}: {needed}` under `vllm` in inference_config.yaml",
        related=(related("trained with this rank", option_place(adapter.job, SECTION, "r")),),
        fix=fix,
    )


def _allowed(job: ServingJob) -> int:
    served = job.parsed.values.get(_OPTION)
    return served.value if served is not None and isinstance(served.value, int) else default_lora_rank()


def _trainer(adapter: TrainedAdapter) -> str:
    return f"`{adapter.job.manifest.ref.name}`"
