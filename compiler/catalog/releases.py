"""Kaito releases: their libraries, presets, default templates and defaults (`schemas/catalog/releases.json`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json


@dataclass(frozen=True, slots=True)
class Release:
    """One Kaito release, named `v0.12`; patch releases count as their minor one.

    Versions are those of its tuning image. `arguments_class` is what TrainingArguments is parsed into.
    """

    name: str
    transformers: str
    peft: str
    trl: str
    bitsandbytes: str
    accelerate: str
    torch: str
    datasets: str
    arguments_class: str
    tunable_presets: tuple[str, ...]

    @property
    def number(self) -> tuple[int, ...]:
        """Return the release as numbers, for comparisons: `v0.12` is (0, 12)."""
        return version_number(self.name)

    def is_at_least(self, name: str) -> bool:
        """Return whether this release is `name` or later."""
        return self.number >= version_number(name)

    @property
    def trl_number(self) -> tuple[int, ...]:
        """Return TRL's version as numbers."""
        return version_number(self.trl)


@lru_cache(maxsize=128)
def version_number(text: str) -> tuple[int, ...]:
    """Return a dotted version as numbers; a leading `v` is dropped."""
    return tuple(int(part) for part in text.removeprefix("v").split(".") if part.isdigit())


@lru_cache(maxsize=1)
def _data() -> Any:
    return read_json("catalog/releases")


@lru_cache(maxsize=1)
def all_releases() -> tuple[Release, ...]:
    """Return the known releases, oldest first."""
    entries = _data()["releases"]
    return tuple(Release(**{**entry, "tunable_presets": tuple(entry["tunable_presets"])}) for entry in entries)


def newest_release() -> Release:
    """Return the newest known release, which is the default."""
    return all_releases()[-1]


def find_release(name: str) -> Release | None:
    """Return a release by name: `v0.12`, `0.12` and `v0.12.1` are one."""
    number = version_number(name.strip().lower())[:2]
    return next((release for release in all_releases() if release.number == number), None)


def default_template(release: Release, method: str) -> str:
    """Return the text of Kaito's default training config for `lora` or `qlora`; the same in every known release."""
    lines = _data()["default_templates"][method]
    return "\n".join(lines)


def default_target_modules(release: Release, preset: str, model_type: str) -> tuple[str, ...] | None:
    """Return what adapters go on when `target_modules` is omitted, None when PEFT 0.11.1 knows no default.

    Kaito sets names for presets that start with "phi-3"; else PEFT's table by model type decides.
    """
    table = _data()["default_target_modules"]
    for prefix, names in table["by_preset_prefix"].items():
        if preset.startswith(prefix):
            return tuple(names)
    found = table["by_model_type"].get(model_type)
    return tuple(found) if found is not None else None
