"""Completion: names of sections and keys, and values, in the configs and in Workspaces."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from lsprotocol import types

from kaitoc.compiler.catalog.gpus import all_instance_types
from kaitoc.compiler.catalog.linear_modules import linear_modules
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.job.link import METHODS
from kaitoc.compiler.job.memory import stack_of
from kaitoc.compiler.language_server.config_jobs import jobs_with
from kaitoc.compiler.language_server.cursor import Cursor, cursor_at, document_lines
from kaitoc.compiler.language_server.documents import OpenDocument
from kaitoc.compiler.language_server.keys import KeyInfo, config_key, config_names, section_key, workspace_keys
from kaitoc.compiler.language_server.serving_keys import serving_key, serving_keys
from kaitoc.compiler.manifest.recognition import SERVING_DATA_KEY
from kaitoc.compiler.manifest.training_config import DATA_KEY, ROOT_KEY, SECTIONS
from kaitoc.compiler.memory.workload import WorkloadError

TRIGGERS = (" ", "[", ",")
_STEP = 2
_ADAPTED = ("target_modules", "exclude_modules")
_KEPT_WHOLE = ("modules_to_save", "llm_int8_skip_modules")
_WORKSPACE_LINE = re.compile(r"kind:\s*[\"']?Workspace[\"']?\s*(#.*)?$")


def completions_at(
    engine: Engine, document: OpenDocument, beside: tuple[OpenDocument, ...], offset: int
) -> list[types.CompletionItem]:
    """Return the completions at an offset of a document, an empty list where nothing is known."""
    cursor = cursor_at(document.source, offset)
    if cursor is None:
        return []
    if DATA_KEY in cursor.path:
        inner = cursor.path[cursor.path.index(DATA_KEY) + 1 :]
        keys = _config_keys(engine, document, beside, offset, cursor, inner)
    elif (inner_path := _serving_path(document, cursor)) is not None:
        keys = _serving_keys(engine, document, cursor, inner_path)
    elif any(map(_WORKSPACE_LINE.match, document_lines(document.source, offset))):
        keys = _workspace_keys(engine, document, cursor)
    else:
        return []
    written = _written_elements(cursor)
    return [_item(key, cursor, document) for key in keys if key.name not in written]


def _config_keys(
    engine: Engine,
    document: OpenDocument,
    beside: tuple[OpenDocument, ...],
    offset: int,
    cursor: Cursor,
    inner: tuple[str, ...],
) -> Iterable[KeyInfo]:
    assumptions = engine.assumptions_for(document.path)
    release = "bundled" if assumptions.target is Target.BUNDLED else assumptions.release.name
    if not cursor.in_value:
        return _config_names(release, inner)
    if len(inner) != 3 or inner[0] != ROOT_KEY:
        return ()
    if inner[2] in (*_ADAPTED, *_KEPT_WHOLE):
        return _module_names(_jobs_at(engine, document, beside, offset), with_head=inner[2] in _KEPT_WHOLE)
    key = config_key(release, inner[1], inner[2])
    return [KeyInfo(value, "") for value in key.values] if key is not None else ()


def _config_names(release: str, inner: tuple[str, ...]) -> Iterator[KeyInfo]:
    """Yield the names that can stand under a path of inner keys."""
    if not inner:
        yield KeyInfo(ROOT_KEY, "The sections, each read by one argument parser.", holds_keys=True)
    elif inner == (ROOT_KEY,):
        yield from (key for name in SECTIONS if (key := section_key(release, name)) is not None)
    elif len(inner) == 2:
        names = config_names(release, inner[1])
        yield from (key for name in names if (key := config_key(release, inner[1], name)) is not None)


def _serving_path(document: OpenDocument, cursor: Cursor) -> tuple[str, ...] | None:
    """Return the keys around the cursor within an inference config, None outside of one."""
    if SERVING_DATA_KEY in cursor.path:
        return cursor.path[cursor.path.index(SERVING_DATA_KEY) + 1 :]
    return cursor.path if os.path.basename(document.path) == SERVING_DATA_KEY else None


def _serving_keys(engine: Engine, document: OpenDocument, cursor: Cursor, inner: tuple[str, ...]) -> Iterable[KeyInfo]:
    release = engine.assumptions_for(document.path).release.name
    if not cursor.in_value:
        return serving_keys(release, inner)
    key = serving_key(release, inner) if inner else None
    return [KeyInfo(value, "") for value in key.values] if key is not None else ()


def _jobs_at(engine: Engine, document: OpenDocument, beside: tuple[OpenDocument, ...], offset: int) -> list[Job]:
    """Return the jobs of the ConfigMap at an offset."""
    return [
        job
        for manifest in engine.library.load(document.path).manifests
        if manifest.is_config_map and manifest.node.span.start <= offset <= manifest.node.span.end
        for job in jobs_with(engine, beside, manifest)
    ]


def _module_names(jobs: Iterable[Job], *, with_head: bool) -> list[KeyInfo]:
    """Return the linear layers that adapters can be put on, of the first job whose model is known."""
    for job in jobs:
        if job.model is None:
            continue
        model = job.model.value
        try:
            modules = linear_modules(model, fused_experts=stack_of(job).fused_experts)
        except WorkloadError:
            continue
        known: dict[str, KeyInfo] = {}
        for module in modules:
            if module.reachable and (with_head or not module.is_head):
                shape = f"{module.count} of {module.in_features} x {module.out_features} in {model.name}"
                known.setdefault(module.name, KeyInfo(module.name, shape))
        return list(known.values())
    return []


def _workspace_keys(engine: Engine, document: OpenDocument, cursor: Cursor) -> Iterable[KeyInfo]:
    if not cursor.in_value:
        return workspace_keys(cursor.path)
    if cursor.path == ("resource", "instanceType"):
        return [
            KeyInfo(instance_type.name, f"{instance_type.num_gpus} x {instance_type.gpu.name} ({instance_type.cloud})")
            for instance_type in all_instance_types()
            if instance_type.gpu is not None
        ]
    if cursor.path == ("tuning", "preset", "name"):
        return [KeyInfo(name, "") for name in engine.assumptions_for(document.path).release.tunable_presets]
    if cursor.path == ("tuning", "method"):
        return [KeyInfo(name, "") for name in METHODS]
    # The path is empty at a list item to which no key belongs.
    values = [key.values for key in workspace_keys(cursor.path[:-1]) if (key.name,) == cursor.path[-1:]]
    return [KeyInfo(value, "") for value in values[0]] if values else ()


def _written_elements(cursor: Cursor) -> set[str]:
    """Return the names that are written already: other keys, or other elements of a list on the line."""
    if not cursor.in_value:
        return {*cursor.siblings, *(name.replace("_", "-") for name in cursor.siblings)}  # vLLM reads both alike
    return set(re.findall(r"[\w.-]+", cursor.before.partition("[")[2] + cursor.after)) if cursor.in_list else set()


def _item(key: KeyInfo, cursor: Cursor, document: OpenDocument) -> types.CompletionItem:
    text = "\n\n".join(key.facts)
    return types.CompletionItem(
        label=key.name,
        kind=_kind(key, cursor),
        tags=[types.CompletionItemTag.Deprecated] if key.is_deprecated else None,
        documentation=types.MarkupContent(types.MarkupKind.Markdown, text) if text else None,
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(document.positions.range(cursor.span), _written(key, cursor)),
        additional_text_edits=_indentation(cursor, document),
    )


def _kind(key: KeyInfo, cursor: Cursor) -> types.CompletionItemKind:
    if cursor.in_value:
        return types.CompletionItemKind.Value
    return types.CompletionItemKind.Module if key.holds_keys else types.CompletionItemKind.Property


def _written(key: KeyInfo, cursor: Cursor) -> str:
    text = _text(key, cursor)
    return cursor.quoted.written(text) if cursor.quoted is not None else text


def _text(key: KeyInfo, cursor: Cursor) -> str:
    """Return the text to insert: a value after its space, or a key with what follows it."""
    if cursor.in_value:
        return f" {key.name}" if cursor.before.endswith(":") else key.name
    if cursor.after.lstrip().startswith(":"):
        return key.name
    if cursor.in_flow:
        return f"{key.name}: "
    return f"{key.name}:\n{' ' * (cursor.wanted_indent + _STEP)}" if key.holds_keys else f"{key.name}: "


def _indentation(cursor: Cursor, document: OpenDocument) -> list[types.TextEdit] | None:
    """Return the edit that puts a key in line with its siblings."""
    if cursor.in_value or cursor.in_flow or cursor.indent == cursor.wanted_indent:
        return None
    span = Span(cursor.span.start - cursor.indent, cursor.span.start)
    return [types.TextEdit(document.positions.range(span), " " * cursor.wanted_indent)]
