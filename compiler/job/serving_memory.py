"""From a server to the question for the memory engine, and its answer."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_layout import layout_words
from kaitoc.compiler.job.serving_nodes import served_nodes
from kaitoc.compiler.job.serving_workload import workload_of
from kaitoc.compiler.job.summary import JobSummary, ServingNeed
from kaitoc.compiler.kaito.node_estimate import NodeEstimate
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.footprint import ServingFootprint, serving_footprint
from kaitoc.compiler.memory.serving.models import shape_of
from kaitoc.compiler.memory.serving.workload import LayoutError, ServingError, ServingWorkload
from kaitoc.compiler.yaml.placeholders import UnknownValueError

_MOST_NODES = 64
"""No instance type needs more for a model of the catalog."""


@dataclass(frozen=True, slots=True)
class ServingMemory:
    """What a server needs.

    `footprint` is that on the nodes that Kaito starts, None where it is unknown, which `why_unknown` explains.
    `needed_nodes` is the smallest number on which it fits, None where none does; `kaito` is Kaito's own estimate.
    `layout_fault` says why vLLM cannot divide the model among its GPUs, empty where it can or that is unknown.
    """

    workload: ServingWorkload | None
    footprint: ServingFootprint | None
    kaito: NodeEstimate | None
    num_nodes: int
    needed_nodes: int | None
    why_unknown: str = ""
    layout_fault: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """Return whether the server starts, None where that is unknown."""
        return self.footprint.verdict if self.footprint is not None else None


def serving_memory(job: ServingJob) -> ServingMemory:
    """Return the memory of a server, or why it is unknown."""
    return job.memo.get("serving memory", lambda: _serving_memory(job))


def _serving_memory(job: ServingJob) -> ServingMemory:
    try:
        why = _why_unknown(job)
        return _unknown(why) if why else _known_memory(job)
    except UnknownValueError:
        return _unknown("a value that it depends on is not known")
    except LayoutError as error:
        return replace(_unknown(str(error)), layout_fault=str(error))
    except ServingError as error:
        return _unknown(str(error))


def _unknown(why: str) -> ServingMemory:
    return ServingMemory(None, None, None, 1, None, why)


def _why_unknown(job: ServingJob) -> str:
    if not job.uses_vllm:
        return "the transformers runtime is not estimated"
    if job.served is None:
        return "the model is not known; name it with `--model`"
    if job.instance is not None and not job.is_listed:
        return f"Kaito {job.release} does not list its instance type"
    if gpu_of(job) is None:
        return "the GPU is not known; name it with `--gpu`"
    if job.config is not None and not job.is_readable:
        return "the launcher stops at its config"
    if len(job.known_options) < len(job.options):
        return "a value that it depends on is not known"
    return "" if job.parsed.is_accepted and not job.engine_problems else "vLLM stops at its arguments"


def gpu_of(job: ServingJob) -> Gpu | None:
    """Return the GPU that a server runs on: the instance type's, else the one that is assumed."""
    if job.instance is not None:
        return job.instance.value.gpu
    return job.assumptions.gpu


def _known_memory(job: ServingJob) -> ServingMemory:
    served, gpu, margin = job.served, gpu_of(job), job.assumptions.margin
    if served is None:
        raise AssertionError("a server of unknown memory has been told apart")
    model = shape_of(served)
    workload = workload_of(job, model)
    footprint = serving_footprint(workload, gpu, margin)
    if job.instance is None:
        return ServingMemory(workload, footprint, None, 1, None)
    on_one_node = workload if job.num_nodes == 1 else workload_of(job, model, job.parsed_on(1))
    needed = nodes_needed(on_one_node, job.instance.value, margin)
    return ServingMemory(workload, footprint, job.kaito_nodes, job.num_nodes, needed)


def nodes_at(job: ServingJob, length_tokens: int | None) -> NodeEstimate | None:
    """Run Kaito's node estimator on a server, None for an unknown instance type or model."""
    if job.instance is None or job.served is None:
        return None
    return served_nodes(job.release, job.instance.value, job.served, length_tokens)


def on_nodes(workload: ServingWorkload, instance: InstanceType, num_nodes: int) -> ServingWorkload:
    """Return a workload as Kaito lays it out on nodes: a stage of the pipeline each, tensor parallel inside."""
    if num_nodes == 1:
        return workload
    return replace(
        workload,
        data_parallel=1,
        tensor_parallel=instance.num_gpus,
        pipeline_parallel=num_nodes,
        offloaded_share=0.0,
        hybrid_manager=True,
    )


def nodes_needed(workload: ServingWorkload, instance: InstanceType, margin: float) -> int | None:
    """Return the smallest number of nodes on which a server starts, None where none does."""
    for num_nodes in range(1, min(_MOST_NODES, len(workload.model.layers)) + 1):
        try:
            laid_out = on_nodes(workload, instance, num_nodes)
            if serving_footprint(laid_out, instance.gpu, margin).verdict is not Verdict.DOES_NOT_FIT:
                return num_nodes
        except ServingError:
            return None
    return None


def summarize_server(job: ServingJob) -> JobSummary:
    """Summarize a server for reports: names, model, GPU, predicted memory and verdict."""
    memory = serving_memory(job)
    footprint, gpu = memory.footprint, gpu_of(job)
    ref = job.manifest.ref
    role = f"/{job.view.role}" if job.view is not None and job.view.role else ""
    name = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
    config = job.config_map.ref if job.config_map is not None else None
    return JobSummary(
        path=job.manifest.source.path,
        workspace=name + role if job.view is not None else "",
        configmap=(f"{config.namespace}/{config.name}" if config.namespace else config.name) if config else "",
        model=job.served.name if job.served is not None else "",
        gpu=gpu.name if gpu is not None else "",
        method="serve",
        seq_len=footprint.length_tokens or None if footprint is not None else None,
        batch=footprint.limits.sequences if footprint is not None else None,
        capacity_bytes=gpu.memory_bytes if gpu is not None else None,
        margin=job.assumptions.margin,
        verdict=memory.verdict,
        why_unknown=memory.why_unknown,
        serving=_need(job, memory),
    )


def _need(job: ServingJob, memory: ServingMemory) -> ServingNeed | None:
    if memory.footprint is None:
        return None
    return ServingNeed(memory.footprint, memory.num_nodes, memory.needed_nodes, memory.kaito, layout=layout_words(job))
