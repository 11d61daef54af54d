"""The forms of names, keys and values that the API server asks for, as predicates by name.

Sources: k8s.io/apimachinery 1.36 `pkg/util/validation/validation.go`, `pkg/api/validation/objectmeta.go` and
`pkg/apis/meta/v1/time.go`. An empty name counts as none, so that it has any form; an empty key has not.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kaitoc.compiler.yaml.kubernetes import decoded_base64

_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_KEY_CHARACTERS = _LABEL_CHARACTERS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ._")
# Compiled where they are used: together they take as long as a file to check, which needs none of them.
_NAME = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_GROUP_VERSION = r"[^/]+|[^/]*/[^/]+"
_DATE_TIME = (
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})T(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):"
    r"(?P<second>[0-9]{2})(?:[.,][0-9]+)?(?:Z|[+-](?P<zone_hour>[0-9]{2}):(?P<zone_minute>[0-9]{2}))"
)
MAX_LABEL, _MAX_SUBDOMAIN = 63, 253


def is_dns_label(text: str) -> bool:
    """Return whether a text can be the name of what becomes a host's, such as a Workspace, or is empty."""
    return not text or (len(text) <= MAX_LABEL and _is_label_of_any_length(text))


def is_dns_subdomain(text: str) -> bool:
    """Return whether a text can be an object's name, or is empty."""
    return not text or (len(text) <= _MAX_SUBDOMAIN and all(map(_is_label_of_any_length, text.split("."))))


def _is_label_of_any_length(text: str) -> bool:
    return _LABEL_CHARACTERS.issuperset(text) and not text.startswith("-") and text[-1:] not in ("", "-")


def _is_generate_name(text: str) -> bool:
    """Return whether a text can begin a name; a hyphen at its end is followed by more."""
    return is_dns_subdomain(text[:-2] + "a" if len(text) > 1 and text.endswith("-") else text)


def is_qualified_name(text: str) -> bool:
    """Return whether a text is a name with or without a DNS subdomain before it."""
    prefix, slash, name = text.rpartition("/")
    if slash and (not prefix or not is_dns_subdomain(prefix)):
        return False
    return len(name) <= MAX_LABEL and bool(re.fullmatch(_NAME, name))


def _is_label_value(text: str) -> bool:
    return not text or (len(text) <= MAX_LABEL and bool(re.fullmatch(_NAME, text)))


def _is_config_map_key(text: str) -> bool:
    if not text or len(text) > _MAX_SUBDOMAIN or not _KEY_CHARACTERS.issuperset(text):
        return False
    return text != "." and not text.startswith("..")


def _is_group_version(text: str) -> bool:
    return not text or bool(re.fullmatch(_GROUP_VERSION, text))


def _is_base64(text: str) -> bool:
    return decoded_base64(text) is not None


def _is_date_time(text: str) -> bool:
    found = re.fullmatch(_DATE_TIME, text)
    if found is None:
        return False
    import calendar

    year, month, day = int(found["year"]), int(found["month"]), int(found["day"])
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year or 4, month)[1]:
        return False
    if int(found["hour"]) > 23 or int(found["minute"]) > 59 or int(found["second"]) > 59:
        return False
    return int(found["zone_hour"] or 0) <= 24 and int(found["zone_minute"] or 0) <= 60


FORMATS: dict[str, Callable[[str], bool]] = {
    "annotation-key": lambda text: is_qualified_name(text.lower()),
    "base64": _is_base64,
    "config-map-key": _is_config_map_key,
    "date-time": _is_date_time,
    "dns-label": is_dns_label,
    "dns-subdomain": is_dns_subdomain,
    "generate-name": _is_generate_name,
    "group-version": _is_group_version,
    "label-value": _is_label_value,
    "qualified-name": is_qualified_name,
}
"""Each form and whether a text has it."""


def has_form(text: str, form: str) -> bool:
    """Return whether a text has a form; nothing has one that is not known."""
    check = FORMATS.get(form)
    return check is not None and check(text)


_NAME_CHARACTERS = "letters, digits, `-`, `_` and `.`"
_HOST_CHARACTERS = "lower-case letters, digits, hyphens and dots"
_QUALIFIED = f"use at most 63 {_NAME_CHARACTERS}, optionally after `DOMAIN/`"
DESCRIPTIONS = {
    "annotation-key": ("an annotation key", _QUALIFIED),
    "base64": ("base64", "put text under `data` instead"),
    "config-map-key": ("a ConfigMap key", f"use at most 253 {_NAME_CHARACTERS}, not starting with `..`"),
    "date-time": ("a time such as 2026-01-31T12:00:00Z", "leave it out: the API server sets it"),
    "dns-label": ("a DNS label", "use at most 63 lower-case letters, digits and hyphens"),
    "dns-subdomain": ("a DNS subdomain", f"use at most 253 {_HOST_CHARACTERS}"),
    "generate-name": ("the beginning of a DNS subdomain", f"use {_HOST_CHARACTERS}"),
    "group-version": ("a group and a version", "write it as in the owner's own `apiVersion`"),
    "label-value": ("a label value", f"use at most 63 {_NAME_CHARACTERS}, starting and ending with a letter or digit"),
    "qualified-name": ("a qualified name", _QUALIFIED),
}
"""What a text of each form is called, and how to write one."""
