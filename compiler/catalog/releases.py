"""Kaito releases: their libraries, presets, default templates and defaults (`schemas/catalog/releases.json`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.library_changes import LibraryChange, changes, version_number
from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json

BUNDLED = "bundled"
"""The name of kaitoc's own runtime where the name of a release is asked for."""

_FILE = "schemas/catalog/releases.json"
_LIBRARIES = ("transformers", "peft", "trl", "bitsandbytes", "accelerate", "torch", "datasets")
_SFT_CONFIG = "trl.SFTConfig"


@dataclass(frozen=True, slots=True)
class Release:
    """One Kaito release, named `v0.12`; patch releases count as their minor one.

    Versions are those that its images hold, for tuning and, `vllm`, for serving. `arguments_class` is what
    TrainingArguments is parsed into, with its library: `trl.SFTConfig`. `tunable_presets` are those that it tunes.
    """

    name: str
    transformers: str
    peft: str
    trl: str
    bitsandbytes: str
    accelerate: str
    torch: str
    datasets: str
    vllm: str
    arguments_class: str
    tunable_presets: tuple[str, ...]

    @property
    def number(self) -> tuple[int, ...]:
        """Return the release as numbers, for comparisons: `v0.12` is (0, 12)."""
        return version_number(self.name)

    @property
    def has_sft_config(self) -> bool:
        """Return whether TrainingArguments is parsed into trl's SFTConfig, not transformers' own class."""
        return self.arguments_class == _SFT_CONFIG

    def preset_of(self, *names: str) -> str | None:
        """Return the first of a model's names that is a preset which the release can tune, None if none is."""
        return next((name for name in names if name in self.tunable_presets), None)

    def has(self, change: LibraryChange) -> bool:
        """Return whether the image's libraries include a change."""
        versions = changes()[change]
        return versions.includes(str(getattr(self, versions.library)))


@lru_cache(maxsize=1)
def _data() -> Any:
    return read_json("catalog/releases")


@lru_cache(maxsize=1)
def all_releases() -> tuple[Release, ...]:
    """Return the known releases, oldest first; raises `CatalogError` for an entry that lacks something."""
    return tuple(_release(entry) for entry in _data()["releases"])


def _release(entry: dict[str, Any]) -> Release:
    name = str(entry.get("name", "without a name"))
    libraries = entry.get("libraries", {})
    needed = ("name", "libraries", "arguments_class", "tunable_presets", "vllm", "serving", "admission")
    missing = [key for key in needed if key not in entry]
    missing += [
        f"libraries.{library}.resolved" for library in _LIBRARIES if "resolved" not in libraries.get(library, {})
    ]
    if missing:
        raise CatalogError(f"{_FILE}: the release {name} lacks {', '.join(f'`{key}`' for key in missing)}")
    return Release(
        name=name,
        vllm=entry["vllm"],
        arguments_class=entry["arguments_class"],
        tunable_presets=tuple(preset for preset in entry["tunable_presets"] if preset not in lost_presets()),
        **{library: libraries[library]["resolved"] for library in _LIBRARIES},
    )


@lru_cache(maxsize=1)
def lost_presets() -> Mapping[str, str]:
    """Return the presets that Kaito lists as tunable and fails on, with the name that its controller looks up."""
    return {str(entry["preset"]): str(entry["looked_up_as"]) for entry in _data()["lost_presets"]}


def newest_release() -> Release:
    """Return the newest known release, which is the default."""
    return all_releases()[-1]


def find_release(name: str) -> Release | None:
    """Return a release by name: `v0.12`, `0.12` and `v0.12.1` are one."""
    number = version_number(name.strip().lower())[:2]
    return next((release for release in all_releases() if release.number == number), None)


def nearest_release(name: str) -> Release | None:
    """Find the release whose number is closest to that of an unknown one, None for a name without a number."""
    number = version_number(name.strip().lower())[:2]
    if not number:
        return None
    newer = [release for release in all_releases() if release.number > number]
    return min(newer, key=lambda release: release.number) if newer else newest_release()


def serving_traits(name: str) -> Mapping[str, Any]:
    """Look up how a release serves: its controller, webhook and vLLM version; `name` is an exact name."""
    return _traits(name, "serving")


def admission_traits(name: str) -> Mapping[str, Any]:
    """Look up what a release's webhook takes beside what the schemas say; `name` is an exact name."""
    return _traits(name, "admission")


def _traits(name: str, what: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(entry for entry in _data()["releases"] if entry["name"] == name)[what]
    return found


def default_template(method: str) -> str:
    """Return the text of Kaito's default training config for `lora` or `qlora`; the same in every known release."""
    lines = _data()["default_templates"][method]
    return "\n".join(lines)


def default_target_modules(preset: str, model_type: str) -> tuple[str, ...] | None:
    """Look up the modules adapted when `target_modules` is unset, None when PEFT 0.11.1 has no default.

    Kaito sets names for presets that start with "phi-3", in any case; else PEFT's table by model type decides.
    """
    table = _data()["default_target_modules"]
    for prefix, names in table["by_preset_prefix"].items():
        if preset.lower().startswith(prefix):
            return tuple(names)
    modules = table["by_model_type"].get(model_type)
    return tuple(modules) if modules is not None else None
