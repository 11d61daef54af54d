"""Carries out what a finding's help says, as a reader would who follows it word for word.

A help may offer several ways (`...; ...`, `..., or ...`); the first is followed. Helps that leave the reader a choice
("rename the column in the data") name no edit; `followed` returns None for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml
from page_examples import Example, engine_for

from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.findings import Edit, Finding
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.compiler.manifest.config_edits import remove_option, rename_option, set_option
from kaitoc.compiler.manifest.inner_config import InnerConfig, Option

_WAY_ENDS = r"(?=; |, or |, as `|: Kaito|: the same| or leave| or `| or write| or use|$)"
_FIRST_WAY = re.compile(r"(?:`[^`]*`|'[^']*'|[^`;])*?" + _WAY_ENDS)
_PAIR = re.compile(r"`([\w-]+): ([^`]+)`")
_REMOVAL = re.compile(r"(?:leave|remove) (?:`([\w-]+)`|it|the key)(?: out)?\b")
_MEANT = re.compile(r"(?:did you mean|write|it is one of) `([^`:]+)`(?! itself)")
_PART = re.compile(r"write `([^`]+)` in place of `([^`]+)`")
_NAMES = re.compile(r"`([^`]+)`")
_NO_VALUE = r"(?!a\b|an\b|the\b|it\b|them\b|one\b|what\b|whole\b)"
_PLAIN = re.compile(r"^(?:write|set|use) " + _NO_VALUE + r"(\"[^\"]+\"|[\w.+-]+)(?:$|,| to | for )")


def followed(example: Example, source: Source, finding: Finding) -> str | None:
    """Return the text after the help was followed, None where it names no edit of this file."""
    way = _first_way(finding.help)
    edits = list(_edits(example, source, finding, way))
    return apply_edits(source, edits) if edits else None


def _first_way(words: str) -> str:
    match = _FIRST_WAY.match(words)
    return match.group() if match else words


def _edits(example: Example, source: Source, finding: Finding, way: str) -> Iterator[Edit]:
    job = _job(example, source)
    config = job.config if job is not None and job.config is not None and job.config.host.source == source else None
    option = _option_at(config, finding.span) if config is not None else None
    pairs = _PAIR.findall(way)
    part = _PART.search(way)
    removed, meant, plain = _REMOVAL.search(way), _MEANT.search(way), _PLAIN.match(way)
    if part is not None:
        start = source.text.index(part.group(2), finding.span.start)
        yield Edit(source, Span(start, start + len(part.group(2))), part.group(1))
    elif pairs:
        for name, value in pairs:
            yield from _setting(job, config, source, finding, name, value)
        if "instead" in way and config is not None and option is not None:
            yield remove_option(config, option)
    elif removed is not None and config is not None and (removed.group(1) or option is not None):
        named = removed.group(1)
        target = _option_named(config, named) if named else option
        if target is not None:
            yield remove_option(config, target)
    elif meant is not None and meant.group(1) == "{}":
        end = source.text.index(":", finding.span.end) + 1
        yield Edit(source, Span(end, end), " {}")
    elif meant is not None:
        yield from _replacement(config, option, source, finding, _listed(way, option))
    elif plain is not None:
        yield from _replacement(config, option, source, finding, yaml.safe_load(plain.group(1)))


def _listed(way: str, option: Option | None) -> object:
    """Return the name to write, or all of them where the option is a list."""
    names = _NAMES.findall(way)
    takes_list = option is not None and (option.name == "target_modules" or isinstance(option.plain, list))
    parsed = yaml.safe_load(names[0]) if names[0].startswith("[") else names[0]
    return names if takes_list and not isinstance(parsed, list) else parsed


def _setting(
    job: Job | None, config: InnerConfig | None, source: Source, finding: Finding, name: str, value: str
) -> Iterator[Edit]:
    section = _section_of(job, name)
    if section is not None and config is not None:
        yield set_option(config, section, name, yaml.safe_load(value))
        return
    here = source.line_span(source.position(finding.span.start).line).start
    written = [
        match
        for start in (here, 0)
        if (match := re.compile(rf"(?m)^[ -]*{re.escape(name)}: *(.*?)( #.*)?$").search(source.text, start))
    ]
    if written:
        yield Edit(source, Span(written[0].start(1), written[0].end(1)), value)


def _replacement(
    config: InnerConfig | None, option: Option | None, source: Source, finding: Finding, value: object
) -> Iterator[Edit]:
    if config is None or option is None:
        yield Edit(source, finding.span, str(value))
    elif _starts_at(option.key.span, finding.span) and option.name != "target_modules":
        yield rename_option(config, option, str(value))
    else:
        yield set_option(config, option.section, option.name, value)


def _starts_at(span: Span, other: Span) -> bool:
    return span.start <= other.start < max(span.end, span.start + 1)


def _job(example: Example, source: Source) -> Job | None:
    engine = engine_for(example)
    engine.library.add_source(source)
    return next(iter(engine.jobs_of(engine.library.add_given(source.path))), None)


def _option_at(config: InnerConfig, span: Span) -> Option | None:
    options = [option for section in config.sections for option in section.options]
    return next((one for one in options if _starts_at(one.key.span, span) or _starts_at(one.value.span, span)), None)


def _option_named(config: InnerConfig, name: str) -> Option | None:
    return next((one for section in config.sections for one in section.options if one.name == name), None)


def _section_of(job: Job | None, name: str) -> str | None:
    if job is None:
        return None
    written = _option_named(job.config, name) if job.config is not None else None
    if written is not None:
        return written.section
    sections = release_arguments(job.release.name).sections
    return next((section for section, table in sections.items() if name in table.arguments), None)
