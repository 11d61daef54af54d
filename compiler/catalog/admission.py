"""What a release's webhook takes of objects beside what their schemas say (`schemas/catalog/releases.json`)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.releases import admission_traits
from kaitoc.compiler.core.records import dataclass


@dataclass(frozen=True, slots=True)
class CheckedAnnotation:
    """An annotation of a Workspace of some API versions, and the values that the webhook takes."""

    name: str
    values: tuple[str, ...]
    ignores_case: bool
    versions: tuple[str, ...]

    def takes(self, value: str) -> bool:
        """Return whether the webhook takes a value; one that ignores case trims white space too."""
        return (value.strip().lower() if self.ignores_case else value) in self.values


@dataclass(frozen=True, slots=True)
class Admission:
    """What one release's webhook knows. `presets` are the names that `inference` takes beside ids of the hub."""

    annotations: tuple[CheckedAnnotation, ...]
    reserved_labels: frozenset[str]
    mig_profiles: tuple[str, ...]
    presets: tuple[str, ...]
    takes_hub_ids: bool
    takes_presets_in_any_case: bool
    min_replicas: int

    def takes_preset(self, name: str) -> bool:
        """Return whether a name is one that `inference.preset` may have; an id of the hub is not looked up."""
        owner, slash, model = name.partition("/")
        if slash and owner and model and self.takes_hub_ids:
            return True
        return (name.lower() if self.takes_presets_in_any_case else name) in self.presets


@lru_cache(maxsize=8)
def admission_of(release: str) -> Admission:
    """Look up what the webhook of a release takes, by the exact name of the release."""
    traits = admission_traits(release)
    return Admission(
        annotations=tuple(
            CheckedAnnotation(one["name"], tuple(one["values"]), one["ignores_case"], tuple(one["versions"]))
            for one in traits["annotations"]
        ),
        reserved_labels=frozenset(traits["reserved_selector_labels"]),
        mig_profiles=tuple(traits["mig_profiles"]),
        presets=tuple(traits["served_presets"]),
        takes_hub_ids=traits["takes_hub_ids"],
        takes_presets_in_any_case=traits["takes_presets_in_any_case"],
        min_replicas=traits["min_replicas"],
    )
