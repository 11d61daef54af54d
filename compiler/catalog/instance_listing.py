"""Which instance types a Kaito release lists, by the names that its controller and webhook know them by."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.annotations import Any
from kaitoc.schemas import read_json


def is_removed(instance: InstanceType, release: Release) -> bool:
    """Return whether a release no longer lists an instance type."""
    return instance.last_release is not None and release.number > version_number(instance.last_release)[:2]


def listed_instance_type(name: str, release: Release) -> InstanceType | None:
    """Look a name up as a release does, which is exact before v0.10, and then takes any case; None if not listed."""
    instance = find_instance_type(name)
    if instance is None or is_removed(instance, release):
        return None
    is_same = name == instance.name or _as_compared(name, release) == _as_compared(instance.name, release)
    return instance if is_same else None


def is_admitted_unlisted(name: str, release: Release) -> bool:
    """Return whether the webhook on Azure takes a name that no list has."""
    prefixes = tuple(_as_compared(prefix, release) for prefix in _names()["admitted_prefixes"])
    return _as_compared(name, release).startswith(prefixes)


def _as_compared(name: str, release: Release) -> str:
    return name.lower() if release.number >= version_number(_names()["any_case_since"]) else name


@lru_cache(maxsize=1)
def _names() -> Any:
    return read_json("catalog/instance_types")
