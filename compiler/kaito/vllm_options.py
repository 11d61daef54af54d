"""What vLLM's server takes on its command line in a Kaito release: `schemas/inference_config/options/`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.releases import find_release
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.schemas import read_json

SWITCH, FLAG = "switch", "flag"
"""Options without a value: with a `--no-` form, and without one."""


@dataclass(frozen=True, slots=True)
class ServingOption:
    """One option of vLLM's server, by its name without dashes.

    `kind` is what its value is read as; `above`, `least`, `most` and `below` bound numbers. `destination` is the
    attribute that it sets.
    """

    name: str
    kind: str
    destination: str
    aliases: tuple[str, ...]
    choices: tuple[str, ...]
    nargs: str
    is_optional: bool
    appends: bool
    default: object
    least: float | None
    above: float | None
    most: float | None
    below: float | None

    @property
    def takes_value(self) -> bool:
        """Return whether a word follows the option."""
        return self.kind not in (SWITCH, FLAG)


@dataclass(frozen=True, slots=True, eq=False)
class ServingTable:
    """All options of a release, and the option strings (with dashes) that name them.

    `shapes` are the JSON Schemas of options that fill a class, `vocabularies` the names that the server looks up.
    """

    release: str
    vllm: str
    content: Mapping[str, Any]
    strings: Mapping[str, str]
    _options: dict[str, ServingOption] = field(default_factory=dict)

    @property
    def names(self) -> Mapping[str, Any]:
        """Map option names, without dashes, to their facts."""
        names: Mapping[str, Any] = self.content["options"]
        return names

    @property
    def vocabularies(self) -> Mapping[str, list[str]]:
        """Return the names that vLLM looks up at the start, by option."""
        found: Mapping[str, list[str]] = self.content["vocabularies"]
        return found

    def option(self, name: str) -> ServingOption | None:
        """Return the option of a name without dashes."""
        known = self._options.get(name)
        entry = self.names.get(name) if known is None else None
        if entry is not None:
            known = self._options[name] = _option(name, entry)
        return known

    def named_by(self, string: str) -> ServingOption | None:
        """Return the option that an option string names."""
        name = self.strings.get(string)
        return self.option(name) if name is not None else None

    def shape(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON Schema of the class that an option fills."""
        return self.content["shapes"].get(name)  # type: ignore[no-any-return]


def _option(name: str, entry: Mapping[str, Any]) -> ServingOption:
    return ServingOption(
        name=name,
        kind=entry["kind"],
        destination=entry.get("dest", name.replace("-", "_")),
        aliases=tuple(entry.get("aliases", ())),
        choices=tuple(entry.get("choices", ())),
        nargs=entry.get("nargs", ""),
        is_optional=entry.get("optional", False),
        appends=entry.get("appends", False),
        default=entry.get("default"),
        least=entry.get("min"),
        above=entry.get("above"),
        most=entry.get("max"),
        below=entry.get("below"),
    )


@lru_cache(maxsize=5)
def serving_table(release: str) -> ServingTable:
    """Return the options of a Kaito release; raises `CatalogError` for a release without a table."""
    try:
        content = read_json(f"inference_config/options/{release}")
    except OSError:
        raise CatalogError(
            f"schemas/inference_config/options/{release}.json is missing: what Kaito {release} serves with is unknown; "
            "write it with `make schemas`"
        ) from None
    strings = {"-h": "help", "--help": "help"}
    for name, entry in content["options"].items():
        strings[f"--{name}"] = name
        for alias in entry.get("aliases", ()):
            strings[alias] = name
        if entry["kind"] == SWITCH:
            strings[f"--no-{name}"] = name
    return ServingTable(release, _vllm_of(release), content, strings)


def _vllm_of(release: str) -> str:
    found = find_release(release)
    return found.vllm if found is not None else ""
