"""From manifests to servers: what serves to its ConfigMap, preset to model, instance type to GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kaitoc.compiler.catalog.gpus import find_instance_type
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.job.job import Assumptions, Setting
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.object_schemas import default_instance_type
from kaitoc.compiler.manifest.objects import Field, Manifest, ManifestFile
from kaitoc.compiler.manifest.serving_config import is_serving_config, read_serving_config
from kaitoc.compiler.manifest.serving_objects import ServingView, serving_views
from kaitoc.compiler.yaml.placeholders import UnknownValueError


def link_serving_jobs(file: ManifestFile, library: Library, assumptions: Assumptions) -> Iterator[ServingJob]:
    """Yield the servers that a file brings in.

    A ConfigMap that nothing at hand names is one by itself where it is Kaito's by what it says.
    """
    if library.is_patch(file.source.path):
        return
    for manifest in file.manifests:
        if manifest.is_config_map:
            yield from _of_config_map(manifest, library, assumptions)
            continue
        for view in serving_views(manifest):
            yield _job(view, library, assumptions)


def serving_jobs_from_elsewhere(
    file: ManifestFile, library: Library, assumptions_for: Callable[[str], Assumptions]
) -> Iterator[ServingJob]:
    """Yield the servers of given objects in other files that use a ConfigMap of this one."""
    for manifest in file.manifests:
        for user in library.given_users_elsewhere(manifest) if manifest.is_config_map else ():
            for view in serving_views(user):
                job = _job(view, library, assumptions_for(user.source.path))
                if job.config_map is not None and _is_same(job.config_map, manifest):
                    yield job


def _of_config_map(config_map: Manifest, library: Library, assumptions: Assumptions) -> Iterator[ServingJob]:
    if library.has_given_user(config_map):
        return
    users = library.workspaces_using(config_map)
    if not users and is_serving_config(config_map):
        yield _alone(config_map, assumptions)
    for user in users:
        for view in serving_views(user):
            job = _job(view, library, assumptions)
            if job.config_map is not None and _is_same(job.config_map, config_map):
                yield job


def _is_same(manifest: Manifest, other: Manifest) -> bool:
    return manifest.source.path == other.source.path and manifest.node.span == other.node.span


def _alone(config_map: Manifest, assumptions: Assumptions) -> ServingJob:
    model = Setting(assumptions.model, None, "--model") if assumptions.model is not None else None
    return ServingJob(None, config_map, read_serving_config(config_map), None, model, None, None, assumptions)


def _job(view: ServingView, library: Library, assumptions: Assumptions) -> ServingJob:
    name = view.config_name
    config_map = library.config_map(name, view.owner) if name else None
    preset = _text(lambda: view.preset)
    stated = _instance_type(view)
    instance = find_instance_type(stated.value) if stated is not None else None
    model = assumptions.model if assumptions.model is not None else find_model(preset.value) if preset else None
    return ServingJob(
        view=view,
        config_map=config_map,
        config=read_serving_config(config_map) if config_map is not None else None,
        preset=preset,
        model=Setting(model, preset.place if preset else None, "file") if model is not None else None,
        instance=Setting(instance, stated.place, stated.origin) if instance is not None and stated else None,
        instance_type=stated,
        assumptions=assumptions,
        may_name_unknown=config_map is None and bool(name) and library.has_unnamed(view.owner),
    )


def _text(read: Callable[[], Field | None]) -> Setting[str] | None:
    try:
        field = read()
        text = field.text if field is not None else None
    except UnknownValueError:
        return None
    return Setting(text, field.value, "file") if field is not None and text else None


def _instance_type(view: ServingView) -> Setting[str] | None:
    resource = view.resource
    if resource is None:
        return None
    stated = _text(lambda: resource.given("instanceType"))
    if stated is not None or resource.node.get("instanceType") is not None:
        return stated
    default = default_instance_type(view.owner.api_version) if view.owner.is_workspace else ""
    return Setting(default, None, f"default of {view.owner.api_version}") if default else None
