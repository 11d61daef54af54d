"""What a local run is asked for, and what of it is refused before a plan is made."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import find_instance_type
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.possible import count_of_gpus, instance_type_of
from kaitoc.compiler.memory.closed_form.validation import validate_count, validate_group
from kaitoc.compiler.memory.estimate import TASKS
from kaitoc.compiler.memory.notes import is_kept_whole, kept_whole, whole_copies_held
from kaitoc.compiler.memory.sharing import EARLIER_NAMES, NOT_RUN, SHARDING_WORDS
from kaitoc.compiler.memory.workload import WorkloadError
from kaitoc.compiler.plan.memory import shared_footprint, shared_workload
from kaitoc.compiler.plan.plan import Plan


class RunError(KaitocError):
    """A run that cannot be started as asked; `str(error)` is for the user."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """How to run the fine-tune of a manifest, as the parameters of `plan` say it.

    `num_processes` None leaves it to the machine, which is asked once the plan is made.
    """

    workspace: str | None = None
    model_path: str | None = None
    data: str | None = None
    eval_data: str | None = None
    output: str | None = None
    merge: bool = False
    oci_layout: bool = False
    samples: int = 0
    early_stopping: int | None = None
    allow_pickle: bool = False
    hub: bool = False
    skip_bad_rows: bool = False
    num_processes: int | None = 1
    sharding: str = "auto"
    shard_group: int | None = None
    task: str = "sft"


def require_possible(request: PlanRequest, gpu: str | None) -> None:
    """Raise `RunError` for what no local run can be, whatever the manifest; `gpu` is what is assumed of the machine."""
    _require_named(request)
    _require_known(request)
    _require_on_instance(gpu, request.num_processes)
    _require_shardable(request)


def runnable(sharding: str) -> str:
    """Return a way of sharding by its present name; raises `RunError` for one that only other launchers have."""
    name = EARLIER_NAMES.get(sharding, sharding)
    if name in NOT_RUN:
        raise RunError(f"the bundled runtime shards with fsdp2, not with {name}; use --sharding fsdp2, or auto")
    return name


def with_processes(made: Plan, num_processes: int, sharding: str) -> Plan:
    """Return a plan for a number of processes; `fsdp` of a manifest has no effect on one, as in transformers.

    `sharding` is what was asked for beside the manifest, which stays.
    """
    is_alone = num_processes == 1 and sharding == "auto"
    return made.model_copy(update={"num_processes": num_processes, **({"sharding": "auto"} if is_alone else {})})


def notes_on(made: Plan, job: Job, request: PlanRequest) -> Iterator[str]:
    """Yield what may surprise of the processes that are asked for; the GPU is assumed to be the manifest's."""
    num_processes, instance = request.num_processes, instance_type_of(job)
    if num_processes is None:
        return
    if instance is not None and num_processes > instance.num_gpus:
        yield f"{count_of_gpus(instance)}, fewer than the {num_processes} processes of the plan"
    if num_processes == 1 and request.shard_group is not None:
        yield f"--shard-group {request.shard_group} has no effect: one process holds the whole model"
    if num_processes == 1 or job.gpu is None:
        return
    workload, predicted = shared_workload(made), shared_footprint(made, job.gpu.value)
    if workload is None or predicted is None or predicted.sharding.is_sharded:
        return
    if is_kept_whole(workload, predicted, job.gpu.value):
        yield kept_whole(workload)
    if request.shard_group is not None:
        yield f"--shard-group {request.shard_group} has no effect: {whole_copies_held(workload)}"


def _require_named(request: PlanRequest) -> None:
    """Raise `RunError` for an empty path, as a variable of a shell leaves that is not set: it would be another's."""
    for name in ("model_path", "data", "eval_data", "output"):
        if getattr(request, name) == "":
            raise RunError(f"--{name.replace('_', '-')} is empty; name a path, or leave the option out")


def _require_known(request: PlanRequest) -> None:
    """Raise `RunError` for words and numbers that no option of `kaitoc run` takes."""
    for name, words in (("sharding", SHARDING_WORDS), ("task", TASKS)):
        value = getattr(request, name)
        if value not in words:
            raise RunError(f"{name}: `{value}` is not one of {', '.join(words)}")
    for name, least in (("samples", 0), ("early_stopping", 1)):
        value = getattr(request, name)
        if value is not None and value < least:
            raise RunError(f"{name}: expected an integer of at least {least}, got `{value}`")
    runnable(request.sharding)


def _require_on_instance(gpu: str | None, num_processes: int | None) -> None:
    """Raise `RunError` for more processes than the instance type has GPUs that is assumed in place of the manifest's.

    The manifest's own is a node of a cluster, and no limit for this machine.
    """
    instance = find_instance_type(gpu) if gpu is not None else None
    if instance is None or num_processes is None or num_processes <= instance.num_gpus:
        return
    num_nodes = -(-num_processes // instance.num_gpus)
    raise RunError(
        f"--num-processes {num_processes}: {count_of_gpus(instance)}; use --num-processes {instance.num_gpus}, or "
        f"`--on trainjob --nodes {num_nodes}`"
    )


def _require_shardable(request: PlanRequest) -> None:
    """Raise `RunError` for shards of one process, and for a shard group of whole copies or of another size."""
    num_processes = 1 if request.num_processes is None else request.num_processes
    if request.num_processes == 1 and request.sharding not in ("auto", "ddp"):
        raise RunError(
            f"--sharding {request.sharding} needs several processes; set --num-processes, or leave --sharding to auto"
        )
    if request.shard_group is not None and request.sharding == "ddp":
        raise RunError("--shard-group needs a sharded model: use --sharding fsdp2, or auto")
    try:
        validate_count(num_processes)
    except WorkloadError as error:
        raise RunError(f"--num-processes {num_processes}: {error}") from error
    try:
        validate_group(num_processes, request.shard_group)
    except WorkloadError as error:
        raise RunError(f"--shard-group {request.shard_group}: {error}") from error
