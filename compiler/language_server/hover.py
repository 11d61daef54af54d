"""What the editor shows for the key under the cursor: its documentation, and what it does to memory."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.language_server.config_jobs import (
    ConfigPlace,
    Prospect,
    config_place,
    jobs_with,
    prospects,
    serving_path,
)
from kaitoc.compiler.language_server.documents import OpenDocument
from kaitoc.compiler.language_server.keys import KeyInfo, config_key, section_key, workspace_keys
from kaitoc.compiler.language_server.serving_keys import serving_key
from kaitoc.compiler.manifest.config_edits import yaml_text
from kaitoc.compiler.report.wording import job_facts, job_need
from kaitoc.compiler.yaml.tree import Entry, Mapping, Node
from kaitoc.compiler.yaml.tree import Sequence as YamlSequence

MAX_JOBS = 3
"""A ConfigMap that more jobs use is shown for the first of them."""


def hover_at(
    engine: Engine, document: OpenDocument, beside: tuple[OpenDocument, ...], offset: int, kind: types.MarkupKind
) -> types.Hover | None:
    """Return the hover at an offset of a document, None where nothing is known."""
    place = config_place(engine, document, offset)
    if place is not None:
        text, span = _config_text(engine, place, jobs_with(engine, beside, place.config_map)[:MAX_JOBS]), place.span
    else:
        hover_text = _serving_key(engine, document, offset) or _workspace_key(engine, document, offset)
        if hover_text is None:
            return None
        text, span = hover_text
    if not text:
        return None
    return types.Hover(types.MarkupContent(kind, text), document.positions.range(span))


def _config_text(engine: Engine, place: ConfigPlace, jobs: Sequence[Job]) -> str:
    release = jobs[0].args_release if jobs else engine.assumptions_for(place.config_map.source.path).release.name
    owner = jobs[0].args_owner if jobs else release
    if place.option is None:
        key = section_key(release, place.section.name)
        whose = f"Kaito {release}" if owner == release else owner
        return "\n\n".join([_documentation(key, whose), *map(_need, jobs)]) if key is not None else ""
    key = config_key(release, place.section.name, place.option.name)
    if key is None:
        return ""
    blocks = [_documentation(key, f"{place.section.name}, {owner}")]
    blocks += [_prospect_table(job, rows) for job in jobs if (rows := prospects(job, place))]
    return "\n\n".join(blocks)


def _documentation(key: KeyInfo, owner: str) -> str:
    return "\n\n".join([f"**{key.name}** ({owner})", *key.facts])


def _need(job: Job) -> str:
    summary = summarize(job)
    return f"{_name(job)} ({', '.join(job_facts(summary))}) {job_need(summary)}"


def _prospect_table(job: Job, rows: Sequence[Prospect]) -> str:
    gpu = f" of {format_gib(job.gpu.value.memory_bytes)} ({job.gpu.value.name})" if job.gpu is not None else ""
    lines = [f"Predicted peak of {_name(job)}{gpu}:", ""]
    lines += [f"| value | GPU memory |{' |' if job.gpu else ''}", f"|---|---:|{'---|' if job.gpu else ''}"]
    for prospect in rows:
        value = yaml_text(prospect.value)
        shown = f"**{value}** (now)" if prospect.is_current else value
        judged = f" {prospect.verdict.value} |" if prospect.verdict is not None else ""
        lines.append(f"| {shown} | {format_gib(prospect.device_bytes)} |{judged}")
    return "\n".join(lines)


def _name(job: Job) -> str:
    return f"`{job.manifest.ref.name}`"


def _serving_key(engine: Engine, document: OpenDocument, offset: int) -> tuple[str, Span] | None:
    """Return the text and the span of the key of an inference config at an offset."""
    place = serving_path(engine, document, offset)
    if place is None:
        return None
    path, span = place
    release = engine.assumptions_for(document.path).release
    key = serving_key(release.name, path)
    owner = f"vLLM {release.vllm}, Kaito {release.name}" if len(path) > 1 else f"Kaito {release.name}"
    return (_documentation(key, owner), span) if key is not None else None


def _workspace_key(engine: Engine, document: OpenDocument, offset: int) -> tuple[str, Span] | None:
    """Return the text and the span of the Workspace key at an offset."""
    for manifest in engine.library.load(document.path).manifests:
        if not manifest.is_workspace or not manifest.node.span.start <= offset <= manifest.node.span.end:
            continue
        path = _path_to(manifest.node, offset)
        if path:
            names = [entry.name for entry in path]
            known = {key.name: key for key in workspace_keys(names[:-1])}
            key = known.get(names[-1])
            return (_documentation(key, "Workspace"), path[-1].key.span) if key is not None else None
    return None


def _path_to(root: Mapping, offset: int) -> list[Entry]:
    """Return the entries that lead to the one whose key, or scalar value, an offset is on."""
    path: list[Entry] = []
    node: Node = root
    while True:
        mapping = _mapping_at(node, offset)
        entry = next((e for e in mapping.entries if _touches(e, offset)), None) if mapping is not None else None
        if entry is None or entry.is_alias:
            return path
        path.append(entry)
        if entry.key.span.start <= offset <= entry.key.span.end:
            return path
        node = entry.value


def _mapping_at(node: Node, offset: int) -> Mapping | None:
    if isinstance(node, YamlSequence):
        item = next((i.value for i in node.items if i.span.start <= offset <= i.span.end), None)
        return item if isinstance(item, Mapping) else None
    return node if isinstance(node, Mapping) else None


def _touches(entry: Entry, offset: int) -> bool:
    return entry.key.span.start <= offset <= entry.value_span.end
