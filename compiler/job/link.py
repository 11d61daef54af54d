"""From manifests to jobs: Workspace to ConfigMap or default template, preset to model, instance type to GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu, find_instance_type
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.catalog.releases import default_template
from kaitoc.compiler.job.job import Assumptions, Job, Setting
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.training_config import DATA_KEY, TrainingConfig, read_template, read_training_config

METHODS = ("lora", "qlora")


def link_jobs(file: ManifestFile, library: Library, assumptions: Assumptions) -> Iterator[Job]:
    """Yield the jobs that a file brings in.

    A Workspace is a job. A ConfigMap is a job of its own only when no Workspace at hand uses it; when only
    Workspaces that the user did not name use it, those are the jobs.
    """
    for manifest in file.manifests:
        if manifest.is_tuning_workspace:
            yield _workspace_job(manifest, library, assumptions)
        elif manifest.is_config_map and not library.has_given_user(manifest):
            users = library.workspaces_using(manifest)
            if not users and manifest.field("data", DATA_KEY) is not None:
                yield _config_map_job(manifest, assumptions)
            for user in users:
                yield _workspace_job(user, library, assumptions)


def jobs_from_elsewhere(
    file: ManifestFile, library: Library, assumptions_for: Callable[[str], Assumptions]
) -> Iterator[Job]:
    """Yield the jobs of given Workspaces in other files that use a ConfigMap of this one.

    They are judged under what is assumed for the Workspace's file.
    """
    for manifest in file.manifests:
        for user in library.given_users_elsewhere(manifest) if manifest.is_config_map else ():
            job = _workspace_job(user, library, assumptions_for(user.source.path))
            if job.config_map is not None and _is_same(job.config_map, manifest):
                yield job


def _is_same(one: Manifest, other: Manifest) -> bool:
    """Return whether two objects are the same one, perhaps read twice."""
    return one.source.path == other.source.path and one.node.span == other.node.span


def stands_alone(file: ManifestFile) -> bool:
    """Return whether a file's jobs are the same whatever other files hold.

    Each ConfigMap that a Workspace names is beside it, which no other file can outdo, and each ConfigMap has a user.
    """
    config_maps = [(manifest.ref.namespace, manifest.ref.name) for manifest in file.manifests if manifest.is_config_map]
    users = [
        (manifest.ref.namespace, name)
        for manifest in file.manifests
        if manifest.is_tuning_workspace and (name := manifest.text("tuning", "config"))
    ]
    return set(config_maps) == set(users)


def _workspace_job(workspace: Manifest, library: Library, assumptions: Assumptions) -> Job:
    name = workspace.text("tuning", "config")
    config_map = library.config_map(name, workspace) if name else None
    template = "" if name else f"{workspace.text('tuning', 'method').lower()}-params-template"
    config: TrainingConfig | None = None
    if config_map is not None:
        config = read_training_config(config_map)
    elif template:
        config = _template_config(template, assumptions)
    gpu, num_gpus = _gpu(workspace, assumptions)
    return Job(
        workspace=workspace,
        config_map=config_map,
        config=config,
        template=template,
        preset=_text(workspace, "tuning", "preset", "name"),
        model=_model(workspace, assumptions),
        instance_type=_text(workspace, "resource", "instanceType"),
        gpu=gpu,
        num_gpus=num_gpus,
        method=_text(workspace, "tuning", "method"),
        assumptions=assumptions,
    )


def _config_map_job(config_map: Manifest, assumptions: Assumptions) -> Job:
    return Job(
        workspace=None,
        config_map=config_map,
        config=read_training_config(config_map),
        template="",
        preset=None,
        model=_assumed_model(assumptions),
        instance_type=None,
        gpu=_assumed_gpu(assumptions),
        num_gpus=1,
        method=None,
        assumptions=assumptions,
    )


def _template_config(template: str, assumptions: Assumptions) -> TrainingConfig | None:
    method = template.removesuffix("-params-template")
    if method not in METHODS:
        return None
    text = default_template(method)
    return read_template(f"{template} of Kaito {assumptions.release.name}", text)


def _text(workspace: Manifest, *path: str) -> Setting[str] | None:
    found = workspace.field(*path)
    return Setting(found.text, found.value, "file") if found is not None and found.text else None


def _assumed_model(assumptions: Assumptions) -> Setting[Architecture] | None:
    return Setting(assumptions.model, None, "--model") if assumptions.model is not None else None


def _assumed_gpu(assumptions: Assumptions) -> Setting[Gpu] | None:
    return Setting(assumptions.gpu, None, "--gpu") if assumptions.gpu is not None else None


def _model(workspace: Manifest, assumptions: Assumptions) -> Setting[Architecture] | None:
    assumed = _assumed_model(assumptions)
    preset = _text(workspace, "tuning", "preset", "name")
    if assumed is not None or preset is None:
        return assumed
    model = find_model(preset.value)
    return Setting(model, preset.place, "file") if model is not None else None


def _gpu(workspace: Manifest, assumptions: Assumptions) -> tuple[Setting[Gpu] | None, int]:
    """Return the GPU of the instance type and how many it has; Kaito starts one process on each."""
    stated = _text(workspace, "resource", "instanceType")
    instance = find_instance_type(stated.value) if stated is not None else None
    assumed = _assumed_gpu(assumptions)
    num_gpus = instance.num_gpus if instance is not None else 1
    if assumed is not None:
        return assumed, num_gpus
    if instance is None or instance.gpu is None or stated is None:
        return None, 1
    return Setting(instance.gpu, stated.place, "file"), num_gpus
