"""From a job to the text of its manifests: the same input gives the same bytes."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.catalog.interconnects import nccl_environment
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.engines.emission_bundle import Bundle, Device
from kaitoc.compiler.engines.emit_options import EmitError, EmitOptions
from kaitoc.compiler.engines.emitted_name import name_of
from kaitoc.compiler.engines.emitted_objects import objects_of
from kaitoc.compiler.engines.emitted_storage import DATA_PATH, MODEL_PATH, RESULTS_PATH, Storage, storage_of
from kaitoc.compiler.engines.node_choice import Nodes, nodes_of
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.plan.memory import footprint_plan, shared_footprint
from kaitoc.compiler.plan.of_job import plan_of
from kaitoc.compiler.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class Emission:
    """Manifests as text, the name and namespace of their objects, what they need, and what a reader should know.

    `output` is the folder below the claim for results that the run writes into; `queue` and `priority_class` are empty
    for none.
    """

    engine: str
    name: str
    namespace: str
    text: str
    notes: tuple[str, ...]
    num_nodes: int
    output: str
    results_claim: str
    claims: tuple[str, ...]
    queue: str
    priority_class: str
    instance_type: str
    devices: tuple[Device, ...]


def emission_of(job: Job, options: EmitOptions) -> Emission:
    """Return the manifests that run a job; raises `EmitError` and `PlanError` for what cannot run without Kaito."""
    options.require_valid()
    storage = storage_of(job, options)
    instance = find_instance_type(job.instance_type.value) if job.instance_type is not None else None
    if instance is None:
        raise EmitError(
            "the Workspace names no instance type that kaitoc knows (`resource.instanceType`); "
            "`kaitoc instances` lists them"
        )
    plan, nodes = _planned(job, instance, options, storage)
    instance, world = nodes.instance, nodes.world
    bundle = _named(plan, Bundle("", _namespace(job), "", options, storage, world, instance.name, _gpu_of(instance)))
    claims = (storage.model_claim, storage.data_claim, storage.results_claim)
    return Emission(
        engine=options.engine,
        name=bundle.name,
        namespace=bundle.namespace,
        text=_text(bundle),
        notes=(*_notes(bundle, plan), *filter(None, [nodes.reason])),
        num_nodes=world.num_nodes,
        output=f"{RESULTS_PATH}/{bundle.name}",
        results_claim=storage.results_claim,
        claims=tuple(dict.fromkeys(claim for claim in claims if claim)),
        queue=options.queue,
        priority_class=options.priority_class,
        instance_type=instance.name,
        devices=bundle.devices,
    )


def _planned(job: Job, instance: InstanceType, options: EmitOptions, storage: Storage) -> tuple[Plan, Nodes]:
    """Return the plan for all processes and its nodes; the manifest's folder is left out, which is the machine's."""
    data = DATA_PATH if storage.data_claim else None
    several = max(2, (options.num_nodes or 2) * instance.num_gpus)
    # Several processes hold buffers that one does not, so a run that may have several is predicted as such.
    num_processes = 1 if options.num_nodes == instance.num_gpus == 1 else several
    plan = plan_of(job, model_path=MODEL_PATH, data=data, output=RESULTS_PATH, num_processes=num_processes)
    nodes = nodes_of(plan, instance, options, job.assumptions)
    changes = {"manifest": posixpath.basename(plan.provenance.manifest), "gpu": _gpu_of(nodes.instance)}
    plan = nodes.world.applied_to(plan).model_copy(update={"provenance": plan.provenance.model_copy(update=changes)})
    shared = shared_footprint(plan, nodes.instance.gpu)
    return (plan if shared is None else plan.model_copy(update={"predicted": footprint_plan(shared)})), nodes


def _named(plan: Plan, bundle: Bundle) -> Bundle:
    """Return the bundle with a name that says all of its content, and results in a folder of that name."""
    unnamed = replace(bundle, plan_json=plan.to_json())
    name = name_of(plan.name, _text(unnamed), bundle.world.num_nodes)
    output = plan.output.model_copy(update={"path": f"{RESULTS_PATH}/{name}"})
    return replace(bundle, name=name, plan_json=plan.model_copy(update={"output": output}).to_json())


def _gpu_of(instance: InstanceType) -> str:
    return instance.gpu.name if instance.gpu is not None else ""


def _text(bundle: Bundle) -> str:
    from kaitoc.compiler.manifest.render import render_document  # ruamel.yaml is for new documents alone

    return "---\n".join(render_document(content) for content in objects_of(bundle))


def _namespace(job: Job) -> str:
    return job.workspace.ref.namespace if job.workspace is not None else ""


def _notes(bundle: Bundle, plan: Plan) -> list[str]:
    world, storage = bundle.world, bundle.storage
    processes = "1 process" if world.num_processes == 1 else f"{world.num_processes} processes"
    shape = f"{world.num_nodes} x {bundle.instance_type}, {processes} ({world.words})"
    notes = [f"{bundle.name}: {shape}; Kaito provisions no nodes for it: the cluster needs a pool of them"]
    if bundle.options.shard_group is not None and world.sharding == "ddp":
        notes.append(f"--shard-group {bundle.options.shard_group} has no effect: each GPU holds a whole copy (ddp)")
    if world.num_nodes > 1:
        notes.append(f"claim `{storage.results_claim}` must be ReadWriteMany: all nodes write checkpoints into it")
        if not nccl_environment(bundle.instance_type):
            notes.append(f"NCCL's settings for {bundle.instance_type} are not known and are left out")
        if bundle.options.rdma is None:
            notes.append("InfiniBand is not requested; --rdma RESOURCE=COUNT names the device plugin's resource")
    if plan.predicted is None:
        notes.append("the memory of this model is not known, so it may not fit")
    return notes
