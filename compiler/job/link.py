"""From manifests to jobs: Workspace to ConfigMap or default template, preset to model, instance type to GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, find_instance_type
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.catalog.releases import default_template
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Assumptions, Job, Setting
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.manifest.adapter_places import written_to
from kaitoc.compiler.manifest.object_schemas import default_instance_type
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.recognition import PLAN_LABEL
from kaitoc.compiler.manifest.serving_objects import config_names
from kaitoc.compiler.manifest.training_config import (
    TrainingConfig,
    is_training_config,
    read_template,
    read_training_config,
)
from kaitoc.compiler.yaml.placeholders import UnknownValueError

METHODS = ("lora", "qlora")


def link_jobs(file: ManifestFile, library: Library, assumptions: Assumptions) -> Iterator[Job]:
    """Yield the jobs that a file brings in.

    A Workspace is a job, and another one with each ConfigMap that may take the place of its own, as in an overlay. A
    ConfigMap that no Workspace at hand names is a job of its own where it is Kaito's by what it says; when only
    Workspaces that the user did not name use it, those are the jobs.
    """
    if library.is_patch(file.source.path):
        return
    for manifest in file.manifests:
        if manifest.is_tuning_workspace:
            job = workspace_job(manifest, library, assumptions)
            yield job
            name = manifest.written_text("tuning", "config")
            for other in library.other_config_maps(manifest, name) if name else ():
                yield _with_config_map(job, other)
        elif manifest.is_config_map:
            yield from _config_map_jobs(manifest, file, library, assumptions)


def _config_map_jobs(
    config_map: Manifest, file: ManifestFile, library: Library, assumptions: Assumptions
) -> Iterator[Job]:
    if not library.is_meant(config_map) and _tuning_users(config_map, library):
        user = _tuning_users(config_map, library)[0]
        yield _with_config_map(workspace_job(user, library, assumptions), config_map)
    elif not library.has_given_user(config_map):
        users = _tuning_users(config_map, library)
        if not users and is_training_config(config_map):
            yield _config_map_job(config_map, _idle_workspaces(config_map, file), assumptions)
        for user in users:
            yield workspace_job(user, library, assumptions)


def _tuning_users(config_map: Manifest, library: Library) -> list[Manifest]:
    return [user for user in library.workspaces_using(config_map) if user.is_tuning_workspace]


def _idle_workspaces(config_map: Manifest, file: ManifestFile) -> tuple[Manifest, ...]:
    """Return the tuning Workspaces in a ConfigMap's file that could use it and name another one or none."""
    if config_map.known_text("metadata", "name") is None:
        return ()
    return tuple(
        manifest
        for manifest in file.manifests
        if manifest.is_tuning_workspace
        and manifest.ref.namespace == config_map.ref.namespace
        and manifest.known_text("tuning", "config") is not None
    )


def jobs_from_elsewhere(
    file: ManifestFile, library: Library, assumptions_for: Callable[[str], Assumptions]
) -> Iterator[Job]:
    """Yield the jobs of given Workspaces in other files that use a ConfigMap of this one.

    They are judged under what is assumed for the Workspace's file.
    """
    for manifest in file.manifests:
        for user in library.given_users_elsewhere(manifest) if manifest.is_config_map else ():
            if not user.is_tuning_workspace:
                continue
            job = workspace_job(user, library, assumptions_for(user.source.path))
            if job.config_map is not None and _is_same(job.config_map, manifest):
                yield job


def _is_same(manifest: Manifest, other: Manifest) -> bool:
    """Return whether two objects are the same one, perhaps read twice."""
    return manifest.source.path == other.source.path and manifest.node.span == other.node.span


def stands_alone(file: ManifestFile) -> bool:
    """Return whether a file's jobs are the same whatever other files hold.

    Each ConfigMap that a Workspace names is beside it, which no other file can outdo, and each ConfigMap has a user.
    The ConfigMap of a plan may be anywhere.
    """
    if PLAN_LABEL in file.source.text or any(manifest.plain is not None for manifest in file.manifests):
        return False
    config_maps = [(manifest.ref.namespace, manifest.ref.name) for manifest in file.manifests if manifest.is_config_map]
    users = [(manifest.ref.namespace, name) for manifest in file.manifests for name in config_names(manifest)]
    return set(config_maps) == set(users) and len(set(config_maps)) == len(config_maps)


def workspace_job(workspace: Manifest, library: Library, assumptions: Assumptions) -> Job:
    """Resolve a tuning Workspace to a job: its ConfigMap, model, GPUs and release."""
    name = workspace.written_text("tuning", "config")
    config_map = library.config_map(name, workspace) if name else None
    template = "" if name else f"{(workspace.known_text('tuning', 'method') or '').lower()}-params-template"
    config: TrainingConfig | None = None
    if config_map is not None:
        config = read_training_config(config_map)
    elif template:
        config = _template_config(template, assumptions)
    preset, instance_type = _text(workspace, "tuning", "preset", "name"), _instance_type(workspace)
    gpu, num_gpus = _gpu(instance_type, assumptions)
    return Job(
        workspace=workspace,
        config_map=config_map,
        config=config,
        template=template,
        preset=preset,
        model=_model(preset, assumptions),
        instance_type=instance_type,
        gpu=gpu,
        num_gpus=num_gpus,
        method=_text(workspace, "tuning", "method"),
        assumptions=assumptions,
        may_name_unknown=config_map is None and bool(name) and library.has_unnamed(workspace),
        is_served=lambda: library.is_served(written_to(workspace)),
    )


def _with_config_map(job: Job, config_map: Manifest) -> Job:
    """Return a Workspace's job with another ConfigMap of the name that it gives."""
    return replace(job, config_map=config_map, config=read_training_config(config_map))


def _config_map_job(config_map: Manifest, idle_workspaces: tuple[Manifest, ...], assumptions: Assumptions) -> Job:
    return Job(
        workspace=None,
        config_map=config_map,
        config=read_training_config(config_map),
        template="",
        preset=None,
        model=_assumed_model(assumptions),
        instance_type=None,
        gpu=_assumed_gpu(assumptions),
        num_gpus=_num_gpus(assumptions, assumptions.instance_type),
        method=None,
        assumptions=assumptions,
        idle_workspaces=idle_workspaces,
    )


def _template_config(template: str, assumptions: Assumptions) -> TrainingConfig | None:
    method = template.removesuffix("-params-template")
    if method not in METHODS:
        return None
    text = default_template(method)
    return read_template(f"{template} of Kaito {assumptions.release.name}", text)


def _text(workspace: Manifest, *path: str) -> Setting[str] | None:
    try:
        field = workspace.field(*path)
        text = field.text if field is not None else None
    except UnknownValueError:
        return None
    return Setting(text, field.value, "file") if field is not None and text else None


def _instance_type(workspace: Manifest) -> Setting[str] | None:
    """Return the instance type that a Workspace states, or that the API server sets where a `resource` has none."""
    try:
        stated, resource = workspace.given("resource", "instanceType"), workspace.given("resource")
        text = stated.text if stated is not None else None
    except UnknownValueError:
        return None
    if stated is not None:
        return Setting(text, stated.value, "file") if text else None
    default = default_instance_type(workspace.api_version) if resource is not None else ""
    return Setting(default, None, f"default of {workspace.api_version}") if default else None


def _assumed_model(assumptions: Assumptions) -> Setting[Architecture] | None:
    return Setting(assumptions.model, None, "--model") if assumptions.model is not None else None


def _assumed_gpu(assumptions: Assumptions) -> Setting[Gpu] | None:
    return Setting(assumptions.gpu, None, "--gpu") if assumptions.gpu is not None else None


def _num_gpus(assumptions: Assumptions, instance: InstanceType | None) -> int:
    """Return the GPUs of a job: as many as stated, else all of as many nodes as are stated, one each where unknown."""
    per_node = instance.num_gpus if instance is not None else 1
    return assumptions.num_gpus or per_node * max(1, assumptions.sharing.num_nodes)


def _model(preset: Setting[str] | None, assumptions: Assumptions) -> Setting[Architecture] | None:
    assumed = _assumed_model(assumptions)
    if assumed is not None or preset is None:
        return assumed
    model = find_model(preset.value)
    return Setting(model, preset.place, "file") if model is not None else None


def _gpu(stated: Setting[str] | None, assumptions: Assumptions) -> tuple[Setting[Gpu] | None, int]:
    """Return the GPU of the instance type and how many it has; Kaito starts one process on each.

    An instance type that is assumed in place of the stated one brings its own number, a GPU that is assumed does not.
    """
    instance = find_instance_type(stated.value) if stated is not None else None
    assumed = _assumed_gpu(assumptions)
    if assumed is not None:
        return assumed, _num_gpus(assumptions, assumptions.instance_type or instance)
    if instance is None or instance.gpu is None or stated is None:
        return None, _num_gpus(assumptions, None)
    return Setting(instance.gpu, stated.place, stated.origin), _num_gpus(assumptions, instance)
