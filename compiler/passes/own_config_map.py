"""Give a Workspace a ConfigMap of its own where Kaito's default template is wrong or too slow for it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.releases import default_template
from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.render import render_config_map
from kaitoc.compiler.passes.model import Change, PassContext, Preserves, known_changes
from kaitoc.compiler.passes.new_config_map import SUFFIX, free_name, new_document
from kaitoc.compiler.yaml.tree import Entry, Mapping

NAME = "own-config-map"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield a ConfigMap with the template's content when any later pass would change that content."""
    if not job.uses_template or job.workspace is None or job.config is None:
        return
    wanted = _first_wanted(job, context)
    name = free_name(job.workspace, context.has_config_map)
    edits = _edits(job, job.workspace, name)
    if wanted is None or not edits:
        return
    method = job.template.removesuffix(f"{SUFFIX}-template")
    reason = f"Kaito's default template for {method} needs another `{wanted.what}` here: {wanted.reason}"
    yield Change("tuning.config", reason, Preserves.EXACT, job.config_place, edits, f"{job.template}", name)


def _first_wanted(job: Job, context: PassContext) -> Change | None:
    return next((change for step in context.later_passes for change in known_changes(step, job, context)), None)


def _edits(job: Job, workspace: Manifest, name: str) -> tuple[Edit, ...]:
    """Return the edits that name the ConfigMap in the Workspace and put it before the Workspace's document."""
    reference = _reference(workspace, name)
    if reference is None or not workspace.ref.name:
        return ()
    method = job.template.removesuffix(f"{SUFFIX}-template")
    document = render_config_map(name, workspace.ref.namespace, default_template(method))
    return (new_document(workspace, document), reference)


def _reference(workspace: Manifest, name: str) -> Edit | None:
    """Return the edit that sets `tuning.config`, behind `tuning.method`."""
    tuning = workspace.field("tuning")
    if tuning is None or not isinstance(tuning.node, Mapping):
        return None
    source = workspace.source
    written = tuning.node.get("config")
    if written is not None:
        text = name if source.slice(written.value_span) else f" {name}"
        return Edit(source, written.value_span, text)
    method = tuning.node.get("method")
    if method is None:
        return None
    if tuning.node.is_flow:
        return Edit(source, Span(method.value_span.end, method.value_span.end), f", config: {name}")
    return Edit(source, _line_end(workspace, method), _new_line(workspace, method, f"config: {name}"))


def _line_end(workspace: Manifest, entry: Entry) -> Span:
    source = workspace.source
    line = source.position(entry.value_span.end).line
    end = source.line_span(line).start + len(source.line_text(line))
    return Span(end, end)


def _new_line(workspace: Manifest, model: Entry, text: str) -> str:
    source = workspace.source
    indent = source.position(model.key.span.start).column - 1
    return f"{source.newline}{' ' * indent}{text}"
