"""Predicts the GPU memory of fine-tunes, of manifests or of what a caller describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError, UnknownModelTypeError
from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, find_instance_type
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.inputs import TEXT_NAME, Inputs, PathsOrText, find_files, inputs_of
from kaitoc.compiler.check.rule_set import RuleSet
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.assumptions import (
    DEFAULT_MARGIN_PERCENT,
    NOTHING_STATED,
    Overrides,
    model_named,
    require_sensible,
    stated_gpu,
)
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.loading import loading_of
from kaitoc.compiler.job.memory import asks_offload, seq_len_of, workload_of
from kaitoc.compiler.job.missing_config import require_config
from kaitoc.compiler.job.possible import instance_type_of, lacking_gpus, missing_gpus, more_nodes, why_impossible
from kaitoc.compiler.job.prices import prices_from
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.job.speed import price_of
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.job.summary import JobSummary, Swept
from kaitoc.compiler.job.variation import lengths_of
from kaitoc.compiler.manifest.serving_objects import serving_views
from kaitoc.compiler.memory.batches import Lengths, Loading
from kaitoc.compiler.memory.closed_form.footprint import footprint, verdict
from kaitoc.compiler.memory.closed_form.validation import validate_count
from kaitoc.compiler.memory.estimate import EstimateError, FineTune, has_closed_form, levers, workload_from
from kaitoc.compiler.memory.result import Footprint, Verdict
from kaitoc.compiler.memory.throughput.epoch import Epoch, epoch_of
from kaitoc.compiler.memory.variation import Drawing, Variation, can_vary, variation, verdict_with
from kaitoc.compiler.memory.workload import Reference, Workload, WorkloadError
from kaitoc.unreadable_files import nothing_found, require_readable


@dataclass(frozen=True, slots=True)
class Subject:
    """A fine-tune to estimate, the GPU to compare with, and what reports say of it; `margin` is a share, 0 to 1.

    `loading` is how its batches are made of the data, `lengths` the data's rows as they are cut; `usd_per_hour` is the
    price of all its machines, `instance` their kind. What is not known of them is None. `asks_offload`: saved
    activations are to go to the host, which the workload does where that is predicted.
    """

    workload: Workload
    gpu: Gpu | None
    margin: float
    job: JobSummary
    loading: Loading = Loading()
    usd_per_hour: float | None = None
    instance: InstanceType | None = None
    lengths: Lengths | None = None
    asks_offload: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a fine-tune needs: `footprint` in bytes by category and phase, `verdict` None where no GPU is known.

    `variation` is what batches of different lengths take, None where lengths are not known, `epoch` the time of one
    pass over the data if it fits, None where the number of samples is not known; `swept` is what it needs at other
    sizes, where a sweep was asked for.
    """

    subject: Subject
    footprint: Footprint
    variation: Variation | None = None
    epoch: Epoch | None = None
    swept: Swept | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Return whether it fits the GPU, barely fits or does not; None where no GPU is known."""
        gpu = self.subject.gpu
        if gpu is None:
            return None
        return verdict_with(verdict(self.footprint, gpu, self.subject.margin), self.variation)

    @property
    def ok(self) -> bool:
        """Return whether `kaitoc estimate` would exit 0: the run fits, or there is no GPU to compare with."""
        return self.verdict is not Verdict.DOES_NOT_FIT

    @property
    def job(self) -> JobSummary:
        """Return the run and what it needs, as reports show it."""
        workload, gpu = self.subject.workload, self.subject.gpu
        return replace(
            self.subject.job,
            model=workload.architecture.name,
            gpu=gpu.name if gpu is not None else "",
            seq_len=workload.seq_len_tokens,
            batch=workload.batch_size // workload.rows_per_example,
            task="sft" if workload.reference is Reference.NONE else "dpo",
            footprint=self.footprint,
            capacity_bytes=gpu.memory_bytes if gpu is not None else None,
            margin=self.subject.margin,
            verdict=self.verdict,
            variation=self.variation,
            epoch=self.epoch,
            swept=self.swept,
        )

    def to_json(self) -> str:
        """Return the estimate as `kaitoc estimate --format json` prints it."""
        from kaitoc.compiler.report.model import Report  # numbers need no report

        return Report(jobs=(self.job,)).to_json()

    def __str__(self) -> str:
        """Return the tables that `kaitoc estimate` prints."""
        return self.text()

    def text(self, *, phases: bool = False) -> str:
        """Return the tables that `kaitoc estimate` prints, with `phases` that of the phases' peaks too."""
        from kaitoc.compiler.report.estimate import text as tables  # as above

        subject = self.subject
        blocks = [
            tables.headline(subject.workload, subject.gpu, self.footprint),
            tables.footprint_table(self.footprint, subject.gpu, subject.margin),
            *([tables.variation_table(self.variation, self.footprint, subject.gpu)] if self.variation else []),
            *([tables.phase_table(self.footprint)] if phases else []),
            *([tables.epoch_line(self.epoch, fits=self.ok)] if self.epoch else []),
            *([tables.sweep_table(self.swept)] if self.swept else []),
            tables.levers_table(levers(subject.workload, subject.gpu, self.footprint)),
        ]
        return "\n\n".join(blocks)


def estimate(
    what: PathsOrText | FineTune,
    *,
    assume: Overrides = NOTHING_STATED,
    trace: bool = False,
    task: str = "sft",
    text_name: str = TEXT_NAME,
) -> tuple[Estimate, ...]:
    """Predict the GPU memory of every fine-tune in manifests, or of one that is described, as `kaitoc estimate` does.

    Of `assume` a described fine-tune takes the GPU and the margin; `task` "dpo" prices manifests as `kaitoc run --task
    dpo` runs them. `trace` runs the real model code on meta tensors.

    Raises `EstimateError` where nothing can be estimated, `SourceError` for a file that cannot be read,
    `SettingsError` and `AssumptionError`.
    """
    try:
        if isinstance(what, FineTune):
            return (predict(subject_of(what, assume), use_trace=trace),)
        subjects = tuple(subjects_in(inputs_of(what, text_name), assume, task))
        return tuple(predict(subject, use_trace=trace) for subject in subjects)
    except (ArchitectureError, WorkloadError) as error:
        raise EstimateError(str(error)) from error


def architecture(name: str, config: Mapping[str, object] | None = None) -> Architecture:
    """Return a model of the catalog, or that of a `config.json`; transformers reads what the catalog lacks.

    Raises `AssumptionError` for a name that the catalog lacks, and `EstimateError` for a config that tells no model.
    """
    if config is None:
        return model_named(name)
    try:
        return from_config(name, config)
    except UnknownModelTypeError as error:
        if find_spec("torch") is None:
            raise EstimateError(
                f'{error}; `pip install "kaitoc[runtime]"` traces all that transformers knows'
            ) from error
        unknown = error
    except ArchitectureError as error:
        raise EstimateError(str(error)) from error
    from kaitoc.compiler.memory.trace.architecture import architecture_from_transformers  # torch takes seconds

    try:
        return architecture_from_transformers(name, config)
    except ArchitectureError as error:
        raise EstimateError(f"{unknown}; {error}") from error


def subject_of(fine_tune: FineTune, overrides: Overrides) -> Subject:
    """Resolve a description to a workload and the GPU it must fit; raises `WorkloadError` and `AssumptionError`."""
    require_sensible(overrides)
    gpu = stated_gpu(overrides)
    instance = find_instance_type(overrides.gpu) if overrides.gpu is not None else None
    fine_tune = _on_its_gpus(fine_tune, instance)
    percent = DEFAULT_MARGIN_PERCENT if overrides.margin_percent is None else overrides.margin_percent
    summary = JobSummary(method=fine_tune.method)
    price = _price(fine_tune, overrides, instance)
    return Subject(
        workload_from(fine_tune), gpu, percent / 100, summary, fine_tune.loading, price, instance,
        asks_offload=fine_tune.offloads_activations,
    )  # fmt: skip


def _price(fine_tune: FineTune, overrides: Overrides, instance: InstanceType | None) -> float | None:
    """Compute the USD per hour of the described machines, None without a price."""
    usd_per_hour = prices_from(overrides.prices).of(instance)
    return usd_per_hour * max(1, fine_tune.sharing.num_nodes) if usd_per_hour is not None else None


def _on_its_gpus(fine_tune: FineTune, instance: InstanceType | None) -> FineTune:
    """Return a description with the number of its GPUs: where none is stated all of the nodes' instance type, else one
    on each.

    Raises `EstimateError` for more on a node than an instance type has; a bare GPU name has no limit.
    """
    num_gpus, num_nodes = fine_tune.num_gpus, fine_tune.sharing.num_nodes
    if num_gpus is None:
        return replace(fine_tune, num_gpus=max(1, num_nodes) * (instance.num_gpus if instance is not None else 1))
    validate_count(num_gpus)
    why = lacking_gpus(instance, num_gpus, num_nodes, fine_tune.sharing) if instance is not None else ""
    if why:
        raise EstimateError(why)
    return fine_tune


def subjects_in(
    inputs: Inputs, overrides: Overrides, task: str = "sft", settings: SettingsFinder | None = None
) -> Iterator[Subject]:
    """Yield the fine-tunes of manifests; raises `EstimateError` when there is none, or one cannot be estimated.

    Preferences are learned on the bundled runtime, whatever else runs the manifest.
    """
    stated = replace(overrides, target="bundled") if task == "dpo" else overrides
    engine = Engine(RuleSet(), stated, settings or SettingsFinder())
    if inputs.text is not None:
        engine.library.add_source(inputs.text)
    paths = (inputs.text.path,) if inputs.text is not None else find_files(inputs.paths, engine.settings)
    files, jobs = [], []
    for path in paths:
        files.append(engine.library.add_given(path))
        require_readable(engine, files[-1])
        jobs += list(engine.jobs_of(files[-1]))
    if not jobs:
        serves = any(True for file in files for manifest in file.manifests for _ in serving_views(manifest))
        hint = "; add --task serve to estimate servers" if serves else ""
        raise EstimateError(nothing_found("tuning Workspace or training config", files) + hint)
    for job in jobs:
        require_config(job)
        _require_possible(job, missing_gpus(job))
        workload = workload_of(job)
        if workload is not None and task == "dpo":
            workload = _on_preferences(job, workload)
        if workload is None:
            manifest = job.manifest
            start = manifest.source.position(manifest.node.span.start)
            raise EstimateError(
                f"{manifest.source.path}: cannot estimate `{manifest.ref.name}`; `kaitoc check` says what "
                "is wrong, and --model names the model of a ConfigMap without a Workspace",
                path=manifest.source.path,
                line=start.line,
                column=start.column,
            )
        _require_possible(job, why_impossible(job, workload))
        gpu = job.gpu.value if job.gpu is not None else None
        instance, lengths = instance_type_of(job), lengths_of(job)
        margin = job.assumptions.margin
        yield Subject(
            workload, gpu, margin, summarize(job), loading_of(job), price_of(job), instance, lengths,
            asks_offload=asks_offload(job),
        )  # fmt: skip


def _require_possible(job: Job, obstacle: str) -> None:
    if obstacle:
        path = job.manifest.source.path
        raise EstimateError(f"{path}: {obstacle}", path=path)


def _on_preferences(job: Job, supervised: Workload) -> Workload:
    """Return the step of `kaitoc run --task dpo`, shared among GPUs as the supervised one is.

    Raises `PlanError` for a job that no run can follow.
    """
    from kaitoc.compiler.plan.memory import workload_of_plan  # pydantic takes a tenth of a second
    from kaitoc.compiler.plan.of_job import plan_of
    from kaitoc.compiler.plan.plan import preferring

    plan = preferring(plan_of(job, num_processes=job.num_gpus), job.manifest.source.path)
    is_stated = job.assumptions.seq_len_tokens is not None or job.assumptions.rows is not None
    seq_len_tokens = seq_len_of(job) if is_stated else None
    preferring_step = workload_of_plan(plan, supervised.architecture, seq_len_tokens=seq_len_tokens)
    return replace(preferring_step, sharding=supervised.sharding)


def predict(subject: Subject, *, num_samples: int | None = None, use_trace: bool = False) -> Estimate:
    """Return the estimate by the closed form, or by the trace where that is asked for or all there is.

    Of rows whose lengths are known batches are replayed beside the longest one, where there is a closed form for a
    supervised run on a whole copy of the model; `num_samples` adds the time of an epoch.

    Raises `WorkloadError` and `EstimateError`, the latter where tracing lacks torch or an epoch lacks a GPU.
    """
    workload, gpu, lengths = subject.workload, subject.gpu, subject.lengths
    try:
        predicted = footprint_of(workload, gpu, use_trace=use_trace)
    except WorkloadError as error:
        raise WorkloadError(f"{error}{more_nodes(workload, subject.instance)}") from error
    varies = lengths is not None and can_vary(workload, predicted.sharding)
    varied = variation(workload, gpu, Drawing(lengths, subject.loading)) if lengths is not None and varies else None
    epoch = _epoch(subject, predicted, num_samples) if num_samples is not None else None
    return Estimate(subject, predicted, varied, epoch)


def _epoch(subject: Subject, predicted: Footprint, num_samples: int) -> Epoch:
    if subject.gpu is None:
        raise EstimateError("--samples needs a GPU of the catalog: name one with --gpu")
    if not has_closed_form(subject.workload.architecture):
        raise EstimateError("--samples needs a model with a closed form; this one can only be traced")
    return epoch_of(
        replace(subject.workload, sharding=predicted.sharding),
        subject.gpu,
        num_samples,
        predicted,
        accumulation_steps=subject.loading.accumulation_steps,
        usd_per_hour=subject.usd_per_hour,
        instance=subject.instance,
    )


def footprint_of(workload: Workload, gpu: Gpu | None, *, use_trace: bool = False) -> Footprint:
    """Return the footprint as `predict` does; raises `EstimateError` where tracing lacks torch."""
    if not use_trace and has_closed_form(workload.architecture):
        return footprint(workload, gpu)
    if find_spec("torch") is None:
        raise EstimateError('--trace runs the real model code; install it with `pip install "kaitoc[runtime]"`')
    from kaitoc.compiler.memory.trace.run import traced_footprint  # torch takes seconds

    return traced_footprint(workload, gpu)
