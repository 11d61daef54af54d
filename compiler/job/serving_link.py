"""From what serves to a server that can be judged: preset to model, instance type to GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kaitoc.compiler.catalog.gpus import find_instance_type
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.job.job import Assumptions, Setting
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.link import workspace_job
from kaitoc.compiler.job.servers import Server, servers_in
from kaitoc.compiler.job.serving_job import ServingJob, TrainedAdapter
from kaitoc.compiler.manifest.adapter_places import read_from
from kaitoc.compiler.manifest.object_schemas import default_instance_type
from kaitoc.compiler.manifest.objects import Field, ManifestFile
from kaitoc.compiler.manifest.serving_config import read_serving_config
from kaitoc.compiler.manifest.serving_objects import ServingView
from kaitoc.compiler.yaml.placeholders import UnknownValueError


def link_serving_jobs(file: ManifestFile, library: Library, assumptions: Assumptions) -> Iterator[ServingJob]:
    """Yield the servers that a file brings in."""
    for server in servers_in(file, library):
        yield serving_job(server, library, assumptions)


def serving_job(server: Server, library: Library, assumptions: Assumptions) -> ServingJob:
    """Return a server with all that is known of it."""
    view, config_map = server.view, server.config_map
    config = read_serving_config(config_map) if config_map is not None else None
    if view is None:
        model = Setting(assumptions.model, None, "--model") if assumptions.model is not None else None
        return ServingJob(None, config_map, config, None, model, None, None, assumptions)
    preset = _text(lambda: view.preset)
    stated = _instance_type(view)
    instance = find_instance_type(stated.value) if stated is not None else None
    known = assumptions.model if assumptions.model is not None else find_model(preset.value) if preset else None
    return ServingJob(
        view=view,
        config_map=config_map,
        config=config,
        preset=preset,
        model=Setting(known, preset.place if preset else None, "file") if known is not None else None,
        instance=Setting(instance, stated.place, stated.origin) if instance is not None and stated else None,
        instance_type=stated,
        assumptions=assumptions,
        may_name_unknown=config_map is None and bool(view.config_name) and library.has_unnamed(view.owner),
        find_trainers=lambda: tuple(_trainers(view, library, assumptions)),
    )


def _trainers(view: ServingView, library: Library, assumptions: Assumptions) -> Iterator[TrainedAdapter]:
    """Yield the adapters that a tuning Workspace at hand writes where the server reads them, with its run."""
    for adapter in view.adapters:
        place, stated = read_from(adapter), adapter.field("source", "image") or adapter.field("source")
        if not place or stated is None:
            continue
        for manifest in library.given_trainers(place):
            yield TrainedAdapter(stated.value, workspace_job(manifest, library, assumptions))


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
