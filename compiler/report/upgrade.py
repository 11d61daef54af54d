"""What `kaitoc upgrade` says: how releases differ, and what an upgrade does to the user's runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.check.release_difference import ReleaseDifference
from kaitoc.compiler.check.upgrade import Upgrade, UpgradedJob, UpgradedServer
from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.default_drift import ChangedDefault
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.manifest.config_edits import yaml_text
from kaitoc.compiler.report.formats import text as text_format
from kaitoc.compiler.report.formats.json import to_json_finding
from kaitoc.compiler.report.model import FormatOptions
from kaitoc.compiler.report.wording import plural


def difference_text(found: ReleaseDifference, before: Release, after: Release) -> str:
    """Format the difference of two releases, one paragraph per kind of difference."""
    lines = [f"{before.name} to {after.name}"]
    lines += _paragraph("libraries", (f"{name} {old} -> {new}" for name, old, new in found.libraries))
    lines += _paragraph("options removed", found.options_gone)
    lines += _paragraph("new options", found.options_new)
    lines += _paragraph(
        "defaults changed",
        (
            f"{default.section}.{default.option} {yaml_text(default.before)} -> {yaml_text(default.after)} "
            f"({', '.join(default.effects)})"
            for default in found.defaults
        ),
    )
    lines += _paragraph("serving options removed", found.serving_options_gone)
    lines += _paragraph("new serving options", found.serving_options_new)
    lines += _paragraph(
        "serving defaults changed",
        (
            f"{default.section}.{default.option} {_value_text(default.before)} -> {_value_text(default.after)}"
            for default in found.serving_defaults
        ),
    )
    lines += _paragraph("presets no longer tunable", found.presets_gone)
    lines += _paragraph("presets newly tunable", found.presets_new)
    lines += _paragraph("instance types no longer listed", found.instance_types_gone)
    return "\n".join(lines if len(lines) > 1 else [*lines, "  no known differences"])


def difference_json(found: ReleaseDifference, before: Release, after: Release) -> str:
    """Format the difference of two releases as `kaitoc upgrade --format json` prints it."""
    return json.dumps({"from": before.name, "to": after.name, **asdict(found)}, indent=2)


def _paragraph(title: str, items: Iterable[str]) -> Iterator[str]:
    listed = list(items)
    if listed:
        yield f"  {title}:"
        yield from (f"    {item}" for item in listed)


def upgrade_text(found: Upgrade, before: Release, after: Release, *, color: bool) -> str:
    """Format what breaks, then each run with its changes, then a summary."""
    blocks = ["\n".join(_job_lines(job, before)) for job in found.jobs]
    blocks += ["\n".join(_server_lines(server, before)) for server in found.servers]
    return findings_text((*found.breaks, *found.warnings), color=color) + "\n\n".join(
        [*blocks, _summary(found, before, after)]
    )


def findings_text(findings: Sequence[Finding], *, color: bool) -> str:
    """Return findings as `kaitoc check` shows them."""
    options = FormatOptions(color)
    return "".join(text_format.of_file(path, listed, options) for path, listed in _by_path(findings))


def _by_path(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    ordered = sorted(findings, key=lambda finding: finding.sort_key)
    return ((path, list(listed)) for path, listed in groupby(ordered, key=lambda finding: finding.path))


def _job_lines(job: UpgradedJob, before: Release) -> Iterator[str]:
    place = f"{printable(job.after.path)}: " if job.after.path else ""
    yield f"{place}{printable(job.after.shown_title)}"
    if not job.ran_before:
        yield f"  {before.name} refuses its training config, so there is no run to preserve"
        return
    yield from (f"  {_change_text(change)}" for change in job.changes)
    memory = _memory_text(job.before, job.after)
    if memory:
        yield f"  memory: {memory}"
    speed = _speed_text(job.tokens_per_second_before, job.tokens_per_second_after)
    if speed:
        yield f"  speed: {speed}"
    if not job.changes and not memory and not speed:
        yield "  runs as before"


def _server_lines(server: UpgradedServer, before: Release) -> Iterator[str]:
    yield f"{printable(server.path)}: {printable(server.title)}"
    if not server.ran_before:
        yield f"  {before.name}'s vLLM does not start with its config, so there is no server to preserve"
        return
    yield from (f"  {_change_text(change)}" for change in server.changes)
    if not server.changes:
        yield "  starts as before"


def _change_text(change: ChangedDefault) -> str:
    keep = f"; `{change.line}` keeps it" if change.can_be_kept else ""
    values = f"{_value_text(change.before)} -> {_value_text(change.after)}"
    effects = f" ({', '.join(change.effects)})" if change.effects else ""
    return f"{change.section}.{change.option}, which is not set: {values}{effects}{keep}"


def _value_text(value: object) -> str:
    """Return a value as YAML; what only a server's command line holds, such as a mapping, as JSON."""
    return json.dumps(value, default=str) if isinstance(value, dict) else yaml_text(value)


def _memory_text(before: JobSummary, after: JobSummary) -> str:
    if before.footprint is None or after.footprint is None:
        return ""
    old, new = before.footprint.device_bytes, after.footprint.device_bytes
    if old == new:
        return ""
    of_gpu = f" of {format_gib(after.capacity_bytes)}" if after.capacity_bytes is not None else ""
    verdict = f", {after.verdict.value}" if after.verdict is not None else ""
    return f"{format_gib(old)} -> {format_gib(new)}{of_gpu}{verdict}"


def _speed_text(before: float | None, after: float | None) -> str:
    if before is None or after is None or f"{before:,.0f}" == f"{after:,.0f}":
        return ""
    return f"{before:,.0f} -> {after:,.0f} tokens/s"


def _summary(found: Upgrade, before: Release, after: Release) -> str:
    parts = [plural(len(found.breaks), "new error")]
    if found.warnings:
        parts.append(plural(len(found.warnings), "new warning"))
    if found.mended:
        parts.append(f"{plural(len(found.mended), 'error')} gone")
    changes = {(change.place.source.path, change.place.pointer, change.option) for change in found.changes}
    parts.append(f"{plural(len(changes), 'default')} changed")
    kept = sum(change.can_be_kept for change in found.changes)
    hint = " (`--fix` writes the old values)" if kept else ""
    return f"{before.name} to {after.name}: {', '.join(parts)}{hint}"


def upgrade_json(found: Upgrade, before: Release, after: Release) -> str:
    """Return an upgrade as JSON; findings are as in `kaitoc check --format json`."""
    document = {
        "from": before.name,
        "to": after.name,
        "breaks": [asdict(to_json_finding(finding)) for finding in found.breaks],
        "warnings": [asdict(to_json_finding(finding)) for finding in found.warnings],
        "mended": [asdict(to_json_finding(finding)) for finding in found.mended],
        "jobs": [_json_job(job) for job in found.jobs],
        "servers": [_json_server(server) for server in found.servers],
    }
    return json.dumps(document, indent=2)


def _json_job(job: UpgradedJob) -> dict[str, object]:
    needs = [summary.footprint.device_bytes if summary.footprint else None for summary in (job.before, job.after)]
    return {
        "path": job.after.path,
        "workspace": job.after.workspace or None,
        "configmap": job.after.configmap or None,
        "device_bytes": {"before": needs[0], "after": needs[1]},
        "tokens_per_second": {"before": job.tokens_per_second_before, "after": job.tokens_per_second_after},
        "ran_before": job.ran_before,
        "verdict": job.after.verdict.value if job.after.verdict is not None else None,
        "changes": [_json_change(change) for change in job.changes],
    }


def _json_server(server: UpgradedServer) -> dict[str, object]:
    return {
        "path": server.path,
        "server": server.title,
        "ran_before": server.ran_before,
        "changes": [_json_change(change) for change in server.changes],
    }


def _json_change(change: ChangedDefault) -> dict[str, object]:
    return {
        "section": change.section,
        "option": change.option,
        "before": change.before,
        "after": change.after,
        "effects": list(change.effects),
        "keep": change.line if change.can_be_kept else None,
    }
