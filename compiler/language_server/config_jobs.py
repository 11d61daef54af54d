"""Finds the option under the cursor and the jobs that run with it, and asks what other values would need."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of
from kaitoc.compiler.kaito.argument_table import ArgType, release_arguments
from kaitoc.compiler.language_server.documents import OpenDocument
from kaitoc.compiler.language_server.keys import config_key
from kaitoc.compiler.manifest.config_edits import replace_value
from kaitoc.compiler.manifest.inner_config import InnerConfig
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.manifest.serving_config import read_serving_config
from kaitoc.compiler.manifest.training_config import Option, Section, TrainingConfig, read_training_config
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.yaml.placeholders import UnknownValueError

MAX_CHOICES = 8
"""More values than this make a table that nobody reads."""


@dataclass(frozen=True, slots=True)
class ConfigPlace:
    """A spot in a ConfigMap's training config: on a section's key, or on an option's key or value."""

    config_map: Manifest
    config: TrainingConfig
    section: Section
    option: Option | None

    @property
    def span(self) -> Span:
        """Return the span of the key."""
        return self.section.key.span if self.option is None else self.option.key.span


@dataclass(frozen=True, slots=True)
class Prospect:
    """What the device must hold if an option had a value; `verdict` is None when the GPU is unknown."""

    value: object
    is_current: bool
    device_bytes: int
    verdict: Verdict | None


def config_place(engine: Engine, document: OpenDocument, offset: int) -> ConfigPlace | None:
    """Return the section or option of a training config at an offset of a document, None elsewhere."""
    for manifest in engine.library.load(document.path).manifests:
        config = read_training_config(manifest) if manifest.is_config_map else None
        found = _key_at(config, offset) if config is not None else None
        if config is not None and found is not None:
            return ConfigPlace(manifest, config, *found)
    return None


def serving_path(engine: Engine, document: OpenDocument, offset: int) -> tuple[tuple[str, ...], Span] | None:
    """Return the path to the key of an inference config at an offset and the key's span, None elsewhere."""
    for manifest in engine.library.load(document.path).manifests:
        config = read_serving_config(manifest) if manifest.is_config_map else None
        found = _key_at(config, offset) if config is not None else None
        if found is not None:
            section, option = found
            if option is None:
                return (section.name,), section.key.span
            return (section.name, option.name), option.key.span
    return None


def _key_at(config: InnerConfig, offset: int) -> tuple[Section, Option | None] | None:
    """Return the section whose key, or the option whose key or value, an offset is on."""
    for section in config.sections:
        if _covers(section.key.span, offset):
            return section, None
        for option in section.options:
            if _covers(option.key.span, offset) or _covers(option.value.span, offset):
                return section, option
    return None


def jobs_with(engine: Engine, documents: tuple[OpenDocument, ...], config_map: Manifest) -> list[Job]:
    """Return the jobs that use a ConfigMap, each once."""
    jobs = {
        job.manifest: job
        for document in documents
        if not document.is_too_large
        for job in engine.jobs_of(engine.library.load(document.path))
        if job.config_map is config_map
    }
    return list(jobs.values())


def prospects(job: Job, place: ConfigPlace) -> list[Prospect]:
    """Return the predicted need of a job for the values that an option may have, empty where it does not matter.

    Flags are tried both ways, choices one by one, whole numbers at half, twice and four times what is written.
    """
    if place.option is None or not place.config.is_editable:
        return []
    try:
        current = job.value(place.section.name, place.option.name)
    except UnknownValueError:
        return []
    rows = list(_prospects(job, place, place.option, current))
    needs = {round(prospect.device_bytes / _NOTICEABLE_BYTES) for prospect in rows}
    return rows if len(needs) > 1 else []


_NOTICEABLE_BYTES = 50 * MIB


def _prospects(job: Job, place: ConfigPlace, option: Option, current: object) -> Iterator[Prospect]:
    for value in _alternatives(job, place.section.name, option.name, current):
        other = job if value == current else _with_value(job, place, option, value)
        predicted = footprint_of(other) if other is not None else None
        if predicted is not None:
            judged = verdict(predicted, job.gpu.value, job.assumptions.margin) if job.gpu is not None else None
            yield Prospect(value, value == current, predicted.device_bytes, judged)


def _alternatives(job: Job, section: str, name: str, current: object) -> list[object]:
    argument = release_arguments(job.args_release).sections[section].arguments.get(name)
    if argument is None or current is None:
        return []
    if argument.type is ArgType.BOOL:
        return [True, False]
    key = config_key(job.args_release, section, name)
    if key is not None and key.values:
        return list(key.values) if len(key.values) <= MAX_CHOICES else []
    if argument.type is ArgType.INT and isinstance(current, int) and 0 < current < 2**24:
        return [value for value in (current // 2, current, 2 * current, 4 * current) if value]
    return []


def _with_value(job: Job, place: ConfigPlace, option: Option, value: object) -> Job | None:
    """Return a job as it would be with another value of an option, None when that cannot be read."""
    source = place.config_map.source
    text = apply_edits(source, [replace_value(place.config, option, value)])
    index = next(i for i, m in enumerate(read_manifests(source).manifests) if m.node.span == place.config_map.node.span)
    manifests = read_manifests(Source(source.path, text, source.has_bom)).manifests
    if index >= len(manifests):
        return None
    config_map = manifests[index]
    return replace(job, config_map=config_map, config=read_training_config(config_map))


def _covers(span: Span, offset: int) -> bool:
    return span.start <= offset <= span.end
