"""The JSON report, version 1, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from kaitoc.compiler.findings import Finding, Fix
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.report.json_model import (
    JsonEdit,
    JsonFinding,
    JsonFix,
    JsonFootprint,
    JsonJob,
    JsonObject,
    JsonPeakBytes,
    JsonPosition,
    JsonRelated,
    JsonReport,
    JsonSpan,
    JsonSummary,
)
from kaitoc.compiler.report.model import JobSummary, Report, rule_url
from kaitoc.compiler.source import Source, Span


def render(report: Report, color: bool = False) -> str:
    """Return the report as indented ASCII JSON."""
    return json.dumps(asdict(to_json_report(report)), indent=2) + "\n"


def to_json_report(report: Report) -> JsonReport:
    """Return the report in the shape of version 1."""
    counts = report.counts
    return JsonReport(
        version=1,
        findings=[to_json_finding(finding) for finding in report.sorted_findings],
        jobs=[to_json_job(job) for job in report.jobs],
        summary=JsonSummary(
            files=len(report.files),
            errors=counts.errors,
            warnings=counts.warnings,
            infos=counts.infos,
            fixable=counts.fixable,
            unsafe_fixable=counts.unsafe_fixable,
            suppressed=report.num_suppressed,
            baselined=report.num_baselined,
        ),
    )


def to_json_finding(finding: Finding) -> JsonFinding:
    """Return one finding in the shape of version 1."""
    owner = finding.object
    return JsonFinding(
        code=finding.code,
        name=finding.name,
        severity=finding.severity.value,
        message=finding.message,
        file=finding.source.path,
        span=_span(finding.source, finding.span),
        pointer=finding.pointer,
        object=JsonObject(owner.kind, owner.namespace, owner.name) if owner else None,
        help=finding.help,
        url=rule_url(finding.code),
        related=[
            JsonRelated(place.message, place.source.path, _span(place.source, place.span)) for place in finding.related
        ],
        fix=_fix(finding.fix) if finding.fix else None,
    )


def _span(source: Source, span: Span) -> JsonSpan:
    return JsonSpan(JsonPosition(*source.position(span.start)), JsonPosition(*source.position(span.end)))


def _fix(fix: Fix) -> JsonFix:
    edits = [JsonEdit(edit.source.path, _span(edit.source, edit.span), edit.replacement) for edit in fix.edits]
    return JsonFix(fix.title, fix.applicability.value, edits)


def to_json_job(job: JobSummary) -> JsonJob:
    """Return one tuning run in the shape of version 1."""
    footprint = job.footprint
    return JsonJob(
        workspace=job.workspace or None,
        configmap=job.configmap or None,
        model=job.model or None,
        gpu=job.gpu or None,
        method=job.method or None,
        seq_len=job.seq_len,
        batch=job.batch,
        footprint=_footprint(footprint) if footprint else None,
        peak_bytes=_peak_bytes(footprint) if footprint else None,
        capacity_bytes=job.capacity_bytes,
        fits=job.fits,
    )


def _footprint(footprint: Footprint) -> JsonFootprint:
    peak = footprint.peak.categories
    return JsonFootprint(
        weights=peak.weights,
        adapters=peak.adapters,
        gradients=peak.gradients,
        optimizer=peak.optimizer,
        activations=peak.activations,
        logits=peak.logits,
        workspace=peak.workspace,
        fragmentation=footprint.fragmentation_bytes,
        context=footprint.context_bytes,
    )


def _peak_bytes(footprint: Footprint) -> JsonPeakBytes:
    return JsonPeakBytes(footprint.allocated_bytes, footprint.reserved_bytes, footprint.device_bytes)
