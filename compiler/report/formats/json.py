"""The JSON report, version 1, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from kaitoc.compiler.check.rule_info import rule_url
from kaitoc.compiler.core.findings import Finding, Fix
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.job.summary import JobSummary, ServingNeed, Swept
from kaitoc.compiler.memory.result import Footprint, Phase, Verdict, parts_of
from kaitoc.compiler.report.json_model import (
    JsonAlternative,
    JsonEdit,
    JsonEpoch,
    JsonFinding,
    JsonFix,
    JsonFootprint,
    JsonInterval,
    JsonJob,
    JsonLengths,
    JsonObject,
    JsonPeakBytes,
    JsonPhaseBytes,
    JsonPosition,
    JsonRates,
    JsonRelated,
    JsonReport,
    JsonServing,
    JsonSharding,
    JsonSolved,
    JsonSpan,
    JsonSummary,
    JsonSweepPoint,
    JsonSwept,
)
from kaitoc.compiler.report.json_pieces import filled, item, joined
from kaitoc.compiler.report.model import FormatOptions, Frame, Totals

if TYPE_CHECKING:
    from kaitoc.compiler.memory.throughput.epoch import Epoch
    from kaitoc.compiler.memory.variation import Variation


def of_file(_path: str, findings: Sequence[Finding], _options: FormatOptions) -> str:
    """Return a file's findings as items of the list of findings."""
    return joined(item(asdict(to_json_finding(finding)), 2) for finding in findings)


def of_job(job: JobSummary, _options: FormatOptions) -> str:
    """Return a job as an item of the list of jobs."""
    return item(asdict(to_json_job(job)), 2)


def whole(frame: Frame, files: Iterable[str], jobs: Iterable[str]) -> Iterator[str]:
    """Yield the report as indented ASCII JSON."""
    skeleton = json.dumps(asdict(JsonReport(1, [], [], _summary(frame.totals))), indent=2)
    return filled(skeleton, [('"findings": ', 2, files), ('"jobs": ', 2, jobs)])


def _summary(totals: Totals) -> JsonSummary:
    return JsonSummary(
        files=totals.files,
        errors=totals.errors,
        warnings=totals.warnings,
        infos=totals.infos,
        fixable=totals.fixable,
        unsafe_fixable=totals.unsafe_fixable,
        suppressed=totals.suppressed,
        baselined=totals.baselined,
        gone=totals.gone,
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
        task=job.task,
        seq_len=job.seq_len,
        batch=job.batch,
        footprint=JsonFootprint(**parts_of(footprint)) if footprint else None,
        peak_bytes=_peak_bytes(footprint) if footprint else None,
        phase_bytes=_phase_bytes(footprint) if footprint else None,
        sharding=_sharding(footprint) if footprint and footprint.num_gpus > 1 else None,
        instance_type=job.instance_type or None,
        epoch=_epoch(job.epoch) if job.epoch is not None else None,
        swept=_swept(job.swept) if job.swept is not None else None,
        solved=JsonSolved(job.solved.size.value, job.solved.value) if job.solved is not None else None,
        host_bytes=footprint.host_bytes if footprint else None,
        capacity_bytes=job.capacity_bytes,
        interval_bytes=_interval(footprint) if footprint else None,
        lengths=_lengths(job.variation) if job.variation is not None else None,
        margin=job.margin,
        verdict=_verdict(job.verdict) if job.verdict is not None else None,
        fits=job.fits,
        serving=_serving(job.serving) if job.serving is not None else None,
    )


def _epoch(epoch: Epoch) -> JsonEpoch:
    interval = JsonRates(epoch.low_tokens_per_second, epoch.high_tokens_per_second)
    return JsonEpoch(
        epoch.num_samples, epoch.tokens_per_second, interval, list(epoch.assumptions), epoch.hours, epoch.usd
    )


def _swept(swept: Swept) -> JsonSwept:
    points = [
        JsonSweepPoint(
            point.value,
            _peak_bytes(point.footprint),
            _interval(point.footprint),
            _verdict(point.verdict) if point.verdict is not None else None,
        )
        for point in swept.points
    ]
    return JsonSwept(swept.size.value, points)


def _serving(need: ServingNeed) -> JsonServing:
    from kaitoc.compiler.report.json_serving import to_json_serving  # a report of fine-tunes does without

    return to_json_serving(need)


def _verdict(verdict: Verdict) -> Literal["fits", "tight", "does-not-fit"]:
    return "does-not-fit" if verdict is Verdict.DOES_NOT_FIT else "tight" if verdict is Verdict.TIGHT else "fits"


def _phase_bytes(footprint: Footprint) -> JsonPhaseBytes:
    peaks = {peak.phase: peak.allocated_bytes for peak in footprint.phases}
    return JsonPhaseBytes(**{phase.value: peaks.get(phase) for phase in Phase})


def _sharding(footprint: Footprint) -> JsonSharding:
    sharding = footprint.sharding
    return JsonSharding(
        kind=sharding.kind.value,  # type: ignore[arg-type]  # a footprint has decided what `auto` is
        num_gpus=footprint.num_gpus,
        num_nodes=sharding.num_nodes,
        shard_group=sharding.group_of(footprint.num_gpus),
        reshard_after_forward=sharding.reshard_after_forward,
        offload=sharding.offload.value,
    )


def _lengths(variation: Variation) -> JsonLengths:
    drawing = variation.drawing
    return JsonLengths(
        p50=drawing.lengths.percentile(0.5),
        p90=drawing.lengths.percentile(0.9),
        max=drawing.lengths.longest,
        batching=drawing.loading.batching.value,
        batches=drawing.num_batches,
        allocated=JsonInterval(variation.allocated_low_bytes, variation.allocated_high_bytes),
        reserved=JsonInterval(variation.reserved_low_bytes, variation.reserved_high_bytes),
        fits=variation.fits,
        retries=variation.num_retries,
        alternatives=[JsonAlternative(other.words, other.reserved_bytes) for other in variation.alternatives],
    )


def _interval(footprint: Footprint) -> JsonInterval:
    return JsonInterval(footprint.low_bytes, footprint.high_bytes)


def _peak_bytes(footprint: Footprint) -> JsonPeakBytes:
    return JsonPeakBytes(footprint.allocated_bytes, footprint.reserved_bytes, footprint.device_bytes)
