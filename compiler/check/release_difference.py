"""How two Kaito releases differ, whatever manifest is run on them."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import all_instance_types
from kaitoc.compiler.catalog.releases import Release, all_releases
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.default_drift import drifting_defaults, library_defaults
from kaitoc.compiler.kaito.argument_table import SectionArguments, release_arguments
from kaitoc.compiler.kaito.vllm_options import ServingTable, serving_table
from kaitoc.compiler.manifest.recognition import SERVING_SECTION

_LIBRARIES = ("transformers", "peft", "trl", "bitsandbytes", "accelerate", "torch", "datasets", "vllm")
_OF_LENGTH = ("memory", "result")
"""What another cap changes: where a tokenizer takes fewer than 1,024 tokens, or an upgrade sets `max_length`."""


@dataclass(frozen=True, slots=True)
class TableDefault:
    """An option whose default differs, by the argument tables or the libraries, with what that may change."""

    section: str
    option: str
    before: object
    after: object
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleaseDifference:
    """What the newer of two releases lacks, has in addition, and does otherwise; options are `section.name`."""

    libraries: tuple[tuple[str, str, str], ...]
    options_gone: tuple[str, ...]
    options_new: tuple[str, ...]
    defaults: tuple[TableDefault, ...]
    serving_options_gone: tuple[str, ...]
    serving_options_new: tuple[str, ...]
    serving_defaults: tuple[TableDefault, ...]
    presets_gone: tuple[str, ...]
    presets_new: tuple[str, ...]
    instance_types_gone: tuple[str, ...]


def difference(before: Release, after: Release) -> ReleaseDifference:
    """Compare two releases by their recorded facts: libraries, options, defaults and models."""
    sections = [
        (name, section, release_arguments(after.name).sections[name])
        for name, section in release_arguments(before.name).sections.items()
    ]
    old_server, new_server = serving_table(before.name), serving_table(after.name)
    return ReleaseDifference(
        libraries=tuple(
            (name, old, new)
            for name in _LIBRARIES
            if (old := str(getattr(before, name))) != (new := str(getattr(after, name)))
        ),
        options_gone=tuple(f"{name}.{option}" for name, old, new in sections for option in _missing(old, new)),
        options_new=tuple(f"{name}.{option}" for name, old, new in sections for option in _missing(new, old)),
        defaults=(
            *(found for name, old, new in sections for found in _defaults(name, old, new)),
            *_library_defaults(before, after),
        ),
        serving_options_gone=tuple(
            f"{SERVING_SECTION}.{name}" for name in old_server.names if name not in new_server.names
        ),
        serving_options_new=tuple(
            f"{SERVING_SECTION}.{name}" for name in new_server.names if name not in old_server.names
        ),
        serving_defaults=tuple(_serving_defaults(old_server, new_server)),
        presets_gone=tuple(name for name in before.tunable_presets if name not in after.tunable_presets),
        presets_new=tuple(name for name in after.tunable_presets if name not in before.tunable_presets),
        instance_types_gone=_instance_types_gone(before, after),
    )


def _missing(section: SectionArguments, other: SectionArguments) -> list[str]:
    return [option for option in section.arguments if option not in other.arguments]


def _defaults(name: str, before: SectionArguments, after: SectionArguments) -> list[TableDefault]:
    """Return the defaults that differ and do something."""
    drifting = drifting_defaults()
    found = []
    for option in before.arguments:
        known = drifting.get((name, option))
        if known is None or option not in after.arguments:
            continue
        old, new = before.defaults[option].value, after.defaults[option].value
        if old != new:
            found.append(TableDefault(name, option, known.spelled(old), known.spelled(new), known.effects))
    return found


def _library_defaults(before: Release, after: Release) -> Iterator[TableDefault]:
    """Yield the defaults that differ because a library does: weight type, loss, and the length that text is cut to."""
    drifting, newer = drifting_defaults(), library_defaults(after)
    for (section, option), old in library_defaults(before).items():
        known = drifting.get((section, option))
        if old != newer[section, option]:
            effects = known.effects if known is not None else _OF_LENGTH
            yield TableDefault(section, option, old, newer[section, option], effects)


def _serving_defaults(before: ServingTable, after: ServingTable) -> Iterator[TableDefault]:
    """Yield the defaults of vLLM's parser that differ; Kaito's controller sets some of these options itself."""
    for name in before.names:
        old, new = before.option(name), after.option(name)
        if old is not None and new is not None and old.default != new.default:
            yield TableDefault(SERVING_SECTION, name, old.default, new.default, ())


def _instance_types_gone(before: Release, after: Release) -> tuple[str, ...]:
    """Return the instance types that the older release lists last, or one between the two."""
    between = {release.name for release in all_releases() if before.number <= release.number < after.number}
    return tuple(instance.name for instance in all_instance_types() if instance.last_release in between)
