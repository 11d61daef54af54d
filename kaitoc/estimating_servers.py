"""Predicts the GPU memory of servers, of manifests or of what a caller describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.catalog.architecture import ArchitectureError
from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, find_instance_type
from kaitoc.compiler.catalog.releases import Release, newest_release, serving_traits
from kaitoc.compiler.catalog.served_models import find_served, suggest_served
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.inputs import Inputs, find_files
from kaitoc.compiler.check.rule_set import RuleSet
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.wording import did_you_mean
from kaitoc.compiler.job.assumptions import (
    DEFAULT_MARGIN_PERCENT,
    AssumptionError,
    Overrides,
    release_named,
    stated_gpu,
)
from kaitoc.compiler.job.serving_link import link_serving_jobs
from kaitoc.compiler.job.serving_memory import nodes_needed, on_nodes, serving_memory, summarize_server
from kaitoc.compiler.job.serving_nodes import kaito_token_bytes
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.job.summary import JobSummary, ServingNeed
from kaitoc.compiler.kaito.controller_arguments import utilization_of
from kaitoc.compiler.kaito.node_estimate import NodeEstimate, estimate_nodes
from kaitoc.compiler.kaito.node_layout import node_layout
from kaitoc.compiler.kaito.vllm_options import serving_table
from kaitoc.compiler.memory.estimate import EstimateError
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.encoders import takes_items
from kaitoc.compiler.memory.serving.footprint import serving_footprint
from kaitoc.compiler.memory.serving.models import shape_of
from kaitoc.compiler.memory.serving.read_shape import read_served_model
from kaitoc.compiler.memory.serving.read_speculation import read_speculation
from kaitoc.compiler.memory.serving.shape import ServedModel
from kaitoc.compiler.memory.serving.solve import SolvedServing, fewest_gpus, instances_that_fit, longest_that_fits
from kaitoc.compiler.memory.serving.speculation import Speculation
from kaitoc.compiler.memory.serving.weights import format_of
from kaitoc.compiler.memory.serving.workload import LoraSlots, ServingError, ServingWorkload, WeightFormat
from kaitoc.unreadable_files import nothing_found, require_readable

_SHOWN_INSTANCES = 5


@dataclass(frozen=True, slots=True)
class Serve:
    """What is to be served without a manifest; None leaves it to Kaito's controller, or to vLLM.

    `offloads` is Kaito's default, to keep KV blocks in host memory too, for which vLLM turns its hybrid KV manager off.
    `speculative_config` and `items_per_prompt` are vLLM's `speculative-config` and `limit-mm-per-prompt`.
    """

    model: ServedModel
    num_gpus: int | None = None
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    data_parallel: int | None = None
    expert_parallel: bool = False
    utilization: float | None = None
    max_length_tokens: int | None = None
    max_sequences: int | None = None
    max_batched_tokens: int | None = None
    kv_dtype: str = "auto"
    weight_format: WeightFormat | None = None
    eager: bool = False
    prefix_caching: bool = False
    offloads: bool = True
    lora: LoraSlots | None = None
    kv_cache_bytes: int | None = None
    speculative_config: Mapping[str, object] | None = None
    items_per_prompt: Mapping[str, object] | None = None

    @property
    def states_layout(self) -> bool:
        """Return whether a parallel size is stated, so that Kaito's are not taken."""
        return any(size is not None for size in (self.tensor_parallel, self.data_parallel, self.pipeline_parallel))


@dataclass(frozen=True, slots=True)
class ServingSubject:
    """A server to estimate, the GPU it runs on, and what reports say of it; `margin` is a share, 0 to 1.

    `on_one_node` is the server on one node of an instance type, `workload` on those that Kaito starts.
    """

    workload: ServingWorkload
    gpu: Gpu | None
    margin: float
    job: JobSummary
    on_one_node: ServingWorkload
    has_replicas: bool = True
    kaito: NodeEstimate | None = None


@dataclass(frozen=True, slots=True)
class ServingEstimate:
    """What a server needs; `solved` answers what was asked for beside, empty for nothing."""

    subject: ServingSubject
    need: ServingNeed

    @property
    def verdict(self) -> Verdict:
        """Return whether the server starts: surely, only if the estimate errs on the high side, or not."""
        return self.need.footprint.verdict

    @property
    def job(self) -> JobSummary:
        """Return the server and what it needs, as reports show it."""
        return replace(self.subject.job, serving=self.need, verdict=self.verdict)

    def to_json(self) -> str:
        """Return the estimate as `kaitoc estimate --task serve --format json` prints it."""
        from kaitoc.compiler.report.model import Report  # numbers need no report

        return Report(jobs=(self.job,)).to_json()

    def __str__(self) -> str:
        """Return the table that `kaitoc estimate --task serve` prints."""
        from kaitoc.compiler.report.estimate.serving import serving_table as table_of  # as above

        return table_of(self.need, self.subject.margin)


def model_to_serve(name: str, config: Mapping[str, object] | None = None) -> ServedModel:
    """Return the shape of a model by name, or of a `config.json`.

    Raises `AssumptionError` for a name that no catalog has and `EstimateError` for a config that lacks a size.
    """
    if config is not None:
        try:
            return read_served_model(name, config)
        except ArchitectureError as error:
            raise EstimateError(str(error)) from error
    known = find_served(name)
    if known is None:
        raise AssumptionError(f"the model `{name}` is not in the catalog{did_you_mean(suggest_served(name))}")
    return shape_of(known)


def described(serve: Serve, overrides: Overrides) -> ServingSubject:
    """Resolve a description to a server, in Kaito's layout unless one is stated.

    Raises `EstimateError` and `AssumptionError`.
    """
    release = _release(overrides)
    instance = find_instance_type(overrides.gpu) if overrides.gpu is not None else None
    gpu = stated_gpu(overrides)
    model = serve.model
    _require_possible(serve, release)
    has_replicas = bool(serving_traits(release.name)["has_data_parallel_tier"])
    ranks, replicas = _layout(serve, gpu, instance, has_replicas=has_replicas)
    stages = serve.pipeline_parallel or 1
    offloads = serve.offloads and replicas == 1 and stages == 1
    offloads = offloads and model.model_type not in serving_traits(release.name)["no_offload_types"]
    workload = ServingWorkload(
        model=model,
        vllm=release.vllm,
        tensor_parallel=ranks,
        pipeline_parallel=stages,
        data_parallel=replicas,
        expert_parallel=serve.expert_parallel,
        utilization=serve.utilization or utilization_of(release.name, gpu.model if gpu is not None else ""),
        max_length_tokens=serve.max_length_tokens,
        max_sequences=serve.max_sequences,
        max_batched_tokens=serve.max_batched_tokens,
        kv_dtype=serve.kv_dtype,
        weight_format=serve.weight_format or format_of(model),
        eager=serve.eager,
        prefix_caching=serve.prefix_caching,
        hybrid_manager=not offloads,
        lora=serve.lora,
        offloaded_share=0.5 if offloads else 0.0,
        kv_cache_bytes=serve.kv_cache_bytes,
        speculation=_speculation(serve),
    )
    if serve.items_per_prompt is not None:
        workload = replace(workload, profiles_encoder=takes_items(workload, serve.items_per_prompt))
    job = JobSummary(
        model=model.name,
        gpu=gpu.name if gpu is not None else "",
        method="serve",
        capacity_bytes=gpu.memory_bytes if gpu is not None else None,
        margin=_margin(overrides),
    )
    kaito = None
    if instance is not None and model.checkpoint_bytes is not None and not serve.states_layout:
        kaito = estimate_nodes(
            release.name, instance, model.checkpoint_bytes, kaito_token_bytes(model), serve.max_length_tokens
        )
    started = workload
    if kaito is not None and kaito.num_nodes is not None and instance is not None:
        started = on_nodes(workload, instance, kaito.num_nodes)
    return ServingSubject(started, gpu, _margin(overrides), job, workload, has_replicas, kaito)


def _require_possible(serve: Serve, release: Release) -> None:
    """Raise `EstimateError` for a length or a type of the KV cache with which vLLM would refuse to start."""
    length, limit = serve.max_length_tokens, serve.model.max_length_tokens
    if length is not None and limit and length > limit:
        raise EstimateError(f"{serve.model.name} has a context of {limit:,} tokens, fewer than {length:,}")
    option = serving_table(release.name).option("kv-cache-dtype")
    if option is not None and serve.kv_dtype not in option.choices:
        known = ", ".join(option.choices)
        raise EstimateError(f"vLLM {release.vllm} has no KV cache type `{serve.kv_dtype}`; it takes {known}")


def _speculation(serve: Serve) -> Speculation | None:
    if serve.speculative_config is None:
        return None
    found = read_speculation(serve.speculative_config, serve.model)
    if found is None:
        raise EstimateError("speculative decoding needs `num_speculative_tokens` of at least 1")
    return found


def _layout(serve: Serve, gpu: Gpu | None, instance: InstanceType | None, *, has_replicas: bool) -> tuple[int, int]:
    """Return ranks and replicas: as stated, else as Kaito lays out a node of so many GPUs."""
    num_gpus = serve.num_gpus or (instance.num_gpus if instance is not None else 1)
    if serve.states_layout:
        ranks, replicas = serve.tensor_parallel or 1, serve.data_parallel or 1
        used = ranks * replicas * (serve.pipeline_parallel or 1)
        if serve.num_gpus is not None and used != serve.num_gpus:
            raise EstimateError(f"--tp, --pp and --dp take {used} GPUs, not {serve.num_gpus}; remove --gpus")
        return ranks, replicas
    per_gpu_gib = gpu.nominal_gib if gpu is not None else 0.0
    node = InstanceType("", "", gpu, "", num_gpus, per_gpu_gib * num_gpus, None)
    layout = node_layout(node, serve.model.checkpoint_bytes, has_replicas=has_replicas)
    return layout.ranks, layout.replicas


def _release(overrides: Overrides) -> Release:
    return release_named(overrides.kaito_version) if overrides.kaito_version else newest_release()


def _margin(overrides: Overrides) -> float:
    percent = overrides.margin_percent
    return (DEFAULT_MARGIN_PERCENT if percent is None else percent) / 100


def predict_described(
    subject: ServingSubject,
    overrides: Overrides,
    *,
    lengths: tuple[int, ...] = (),
    solve: SolvedServing | None = None,
) -> ServingEstimate:
    """Return the estimate of what is described; on an instance type beside Kaito's. Raises `EstimateError`."""
    try:
        footprint = serving_footprint(subject.workload, subject.gpu, subject.margin)
    except ServingError as error:
        raise EstimateError(str(error)) from error
    instance = find_instance_type(overrides.gpu) if overrides.gpu is not None else None
    needed = None
    if instance is not None and subject.kaito is not None:
        needed = nodes_needed(subject.on_one_node, instance, subject.margin)
    need = ServingNeed(footprint, subject.workload.pipeline_parallel, needed, subject.kaito, lengths)
    return ServingEstimate(subject, _answering(need, subject, solve))


def smallest_instance(subject: ServingSubject) -> InstanceType:
    """Return the smallest instance type that a server fits; raises `EstimateError` where there is none."""
    workload = subject.workload
    found = instances_that_fit(
        workload, workload.model.checkpoint_bytes, subject.margin, has_replicas=subject.has_replicas
    )
    instance = next((instance for instance, _ in found), None)
    if instance is None:
        raise EstimateError(f"no instance type of the catalog holds {workload.model.name} on one node")
    return instance


def _answering(need: ServingNeed, subject: ServingSubject, what: SolvedServing | None) -> ServingNeed:
    return need if what is None else replace(need, question=what.value, solved=solved(subject, what))


def solved(subject: ServingSubject, what: SolvedServing) -> str:
    """Return the answer to what is asked for, as reports show it."""
    workload, gpu, margin = subject.workload, subject.gpu, subject.margin
    if what is SolvedServing.LENGTH:
        return str(longest_that_fits(workload, gpu, margin))
    if what is SolvedServing.CONCURRENCY:
        footprint = serving_footprint(workload, gpu, margin)
        return f"{footprint.concurrency(footprint.length_tokens):.2f}" if footprint.length_tokens else "0"
    if what is SolvedServing.GPUS:
        if gpu is None:
            raise EstimateError("name a GPU with --gpu or --gpu-memory to solve for their number")
        laid_out = fewest_gpus(workload, gpu, margin)
        if laid_out is None:
            return "none"
        return f"{laid_out.num_gpus} (--tp {laid_out.tensor_parallel} --pp {laid_out.pipeline_parallel})"
    found = instances_that_fit(workload, workload.model.checkpoint_bytes, margin, has_replicas=subject.has_replicas)
    names = [instance.name for instance, _ in found]
    return ", ".join(names[:_SHOWN_INSTANCES]) if names else "none"


def estimates_in(
    inputs: Inputs,
    overrides: Overrides,
    *,
    lengths: tuple[int, ...] = (),
    solve: SolvedServing | None = None,
    settings: SettingsFinder | None = None,
) -> Iterator[ServingEstimate]:
    """Yield the estimates of the servers in manifests; raises `EstimateError` when there is none, or one is unknown."""
    engine = Engine(RuleSet(), overrides, settings or SettingsFinder())
    files = [engine.library.add_given(path) for path in find_files(inputs.paths, engine.settings)]
    for file in files:
        require_readable(engine, file)
    jobs = [
        job
        for file in files
        for job in link_serving_jobs(file, engine.library, engine.assumptions_for(file.source.path))
    ]
    if not jobs:
        tunes = any(manifest.is_tuning_workspace for file in files for manifest in file.manifests)
        hint = "; estimate a fine-tune without --task serve" if tunes else ""
        raise EstimateError(nothing_found("inference Workspace, InferenceSet or serving config", files) + hint)
    for job in jobs:
        memory = serving_memory(job)
        summary = summarize_server(job)
        if memory.workload is None or summary.serving is None:
            manifest = job.manifest
            start = manifest.source.position(manifest.node.span.start)
            raise EstimateError(
                f"{manifest.source.path}: cannot estimate `{manifest.ref.name}`: {memory.why_unknown}",
                path=manifest.source.path,
                line=start.line,
                column=start.column,
            )
        has_replicas = bool(serving_traits(job.release)["has_data_parallel_tier"])
        gpu = summary.serving.footprint.gpu
        subject = ServingSubject(memory.workload, gpu, job.assumptions.margin, summary, memory.workload, has_replicas)
        yield ServingEstimate(subject, _answering(replace(summary.serving, lengths=lengths), subject, solve))
