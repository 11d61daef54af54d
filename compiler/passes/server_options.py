"""Changes to a server's options, in the config that it has or in a ConfigMap of its own."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.config_edits import replace_value, set_key, set_options, yaml_text
from kaitoc.compiler.manifest.object_schemas import MULTI_ROLE
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.manifest.render import literal, render_document
from kaitoc.compiler.manifest.serving_config import SERVING_DATA_KEY, SERVING_SECTION
from kaitoc.compiler.manifest.serving_objects import ServingView
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.new_config_map import free_name, new_document
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.yaml.tree import Mapping as MappingNode

OFFLOAD = "kv_cache_cpu_memory_utilization"
"""The share of host memory for the KV cache, which stands beside `vllm` and not under it."""


def set_values(
    job: ServingJob, context: ServingContext, values: Mapping[str, object], reason: str, preserves: Preserves
) -> Change | None:
    """Return the change that gives options their values, None where there is no place to write them.

    A server without a config gets a ConfigMap with these options alone; Kaito's own values stay in force beside them.
    """
    if job.config is not None:
        return _in_config(job, values, reason, preserves)
    view = job.view
    if view is None or view.config_name or job.config_map is not None or not view.owner.ref.name:
        return None
    name = free_name(view.owner, context.has_config_map)
    document = render_document(_config_map(view, name, values))
    edits = (new_document(view.owner, document), _reference(view, name))
    return Change("inference.config", reason, preserves, view.owner.place, edits, "", f"{name} ({_shown(values)})")


def _in_config(job: ServingJob, values: Mapping[str, object], reason: str, preserves: Preserves) -> Change | None:
    config = job.config
    if config is None or not config.is_editable or not job.is_readable:
        return None
    written = {name: job.option_of(name) for name in values if name != OFFLOAD}
    if any(option is not None and str(option.plain).startswith("--") for option in written.values()):
        return None  # one pair sets two options
    share = config.section(OFFLOAD)
    edits: list[Edit] = [
        replace_value(config, option, values[name]) for name, option in written.items() if option is not None
    ]
    new = {name: values[name] for name, option in written.items() if option is None}
    if new:
        edits.extend(set_options(config, SERVING_SECTION, new))
    if OFFLOAD in values:
        edits.append(set_key(config, OFFLOAD, values[OFFLOAD]))
    places = [option.value for option in written.values() if option is not None]
    places += [share.value] if share is not None and OFFLOAD in values else []
    before = ", ".join(_named(place, len(values)) for place in places)
    what = ", ".join(name if name == OFFLOAD else f"{SERVING_SECTION}.{name}" for name in values)
    after = yaml_text(next(iter(values.values()))) if len(values) == 1 else _shown(values)
    return Change(what, reason, preserves, places[0] if places else job.config_place, tuple(edits), before, after)


def _named(place: Place, num_values: int) -> str:
    text = place.source.slice(place.span)
    return text if num_values == 1 else f"{place.pointer.rpartition('/')[2]}: {text}"


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {yaml_text(value)}" for name, value in values.items())


def _config_map(view: ServingView, name: str, values: Mapping[str, object]) -> dict[str, object]:
    namespace = view.owner.ref.namespace
    options = {key: value for key, value in values.items() if key != OFFLOAD}
    inner: dict[str, object] = {SERVING_SECTION: options}
    if OFFLOAD in values:
        inner[OFFLOAD] = values[OFFLOAD]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace} if namespace else {"name": name},
        "data": {SERVING_DATA_KEY: literal(render_document(inner))},
    }


def _reference(view: ServingView, name: str) -> Edit:
    """Return the edit that names the ConfigMap, before the first key of what holds it."""
    key = "runtimeConfig" if view.owner.ref.kind == MULTI_ROLE else "config"
    node, source = view.inference.node, view.owner.source
    start = node.entries[0].key.span.start
    if node.is_flow:
        quote = '"' if source.text[start] == '"' else ""
        return Edit(source, Span(start, start), f"{quote}{key}{quote}: {quote}{name}{quote}, ")
    return Edit(source, Span(start, start), f"{key}: {name}{source.newline}{_indent(node, view)}")


def _indent(node: MappingNode, view: ServingView) -> str:
    return " " * (view.owner.source.position(node.entries[0].key.span.start).column - 1)
