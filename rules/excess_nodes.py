"""Several GPU nodes by Kaito's estimate, or more than the model needs."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.rules._serving_memory import gpu_place

CODE = "KT744"
NAME = "excess-nodes"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a server for which Kaito starts several nodes, and more than vLLM needs: it counts its KV cache on one."""
    memory = serving_memory(job)
    if memory.needed_nodes is None or memory.num_nodes <= memory.needed_nodes:
        if memory.num_nodes > 1:
            message = f"Kaito starts {memory.num_nodes} nodes for this model: it compares no memory when it admits it"
            help_text = "use an instance type with more GPU memory to pay for fewer"
            yield Fault(gpu_place(job), message, help=help_text, severity=Severity.INFO)
        return
    extra = memory.num_nodes - memory.needed_nodes
    nodes = f"{extra} extra nodes are" if extra > 1 else "1 extra node is"
    message = f"Kaito starts {memory.num_nodes} nodes but vLLM needs {memory.needed_nodes}: {nodes} billed"
    help_text = (
        "lower `max-model-len`, which lowers Kaito's estimate" if job.option_of("max-model-len") is not None else ""
    )
    yield Fault(gpu_place(job), message, help=help_text)
