"""Ask a class of vLLM's configuration what it accepts, value by value.

Like `introspect_vllm`, which uses it, it runs beside a wheel's files and imports nothing of kaitoc.
"""

from __future__ import annotations

import json
from typing import Any

_Json = dict[str, Any]
_BOUNDS = {"minimum": "min", "exclusiveMinimum": "above", "maximum": "max", "exclusiveMaximum": "below"}
_SAMPLES = {"null": None, "true": True, "whole": 1, "zero": 0, "negative": -1, "fraction": 0.5, "text": "text",
            "digits": "1", "empty list": [], "list of numbers": [1], "list of texts": ["text"],
            "mapping": {}}  # fmt: skip


class Prober:
    """Asks a class what it accepts, value by value: validators and init hooks say nothing of that in a schema."""

    def __init__(self, adapter: Any, schema: _Json, enumerated: set[str], always: _Json | None = None) -> None:
        """Take the class and its JSON Schema, which names its fields, and words that any field may take.

        `always` is beside every value.
        """
        self.adapter, self.definitions, self.always = adapter, schema.get("$defs", {}), always or {}
        self.enumerated = enumerated

    def shape(self, schema: _Json, path: tuple[str, ...]) -> _Json:
        """Return the keys below a path and what each accepts, and whether others are let pass."""
        fields = {name: self._field(inner, (*path, name)) for name, inner in schema.get("properties", {}).items()}
        for name, field in fields.items():
            if set(field["accepts"]) <= {"null"} and not field.get("words") and "fields" not in field:
                field.update(self._with_company(schema["properties"][name], (*path, name), fields))
        return {"is_open": self.fits((*path, "not_a_key"), 1), "fields": fields}

    def fits(self, path: tuple[str, ...], value: object, besides: tuple[str, object] | None = None) -> bool:
        """Return whether the class accepts a value at a path, with one more beside it."""
        content: Any = value
        for depth, name in enumerate(reversed(path)):
            content = {name: content}
            if besides is not None and depth == 0:
                content[besides[0]] = besides[1]
        try:
            self.adapter.validate_json(json.dumps({**self.always, **content}))
        except Exception:
            return False
        return True

    def _field(self, schema: _Json, path: tuple[str, ...]) -> _Json:
        found: _Json = {"accepts": [kind for kind, sample in _SAMPLES.items() if self.fits(path, sample)]}
        if "empty list" in found["accepts"] and not any(kind.startswith("list") for kind in found["accepts"]):
            found["accepts"] += ["list of numbers", "list of texts"]  # elements of a vocabulary that no sample is of
        numbers = [number for number in self._numbers(schema) if self.fits(path, number)]
        if numbers and "whole" not in found["accepts"]:
            found["numbers"] = numbers
        words = self._words(schema)
        if "text" not in found["accepts"] and words:
            found["words"] = [word for word in words if self.fits(path, word)]
        bounds = bounds_of(schema)
        least = bounds.get("min", bounds.get("above", 0) + 1)
        if "whole" not in found["accepts"] and bounds and self.fits(path, least):
            found["accepts"].append("whole")
        below = self._resolved(schema)
        if below.get("properties") and len(path) < 3:
            found.update(self.shape(below, path))
        return {**found, **bounds} if bounds else found

    def _with_company(self, schema: _Json, path: tuple[str, ...], fields: _Json) -> _Json:
        """Return what a field accepts beside another one, where alone it accepts nothing."""
        for other, field in fields.items():
            samples = [*field.get("words", ()), *(_SAMPLES[kind] for kind in field.get("accepts", ()))]
            for value in samples:
                company = (other, value)
                kinds = [kind for kind, sample in _SAMPLES.items() if self.fits(path, sample, company)]
                words = [word for word in self._words(schema) if self.fits(path, word, company)]
                if other != path[-1] and (set(kinds) - {"null"} or words):
                    return {"accepts": kinds, "needs": other, **({"words": words} if "text" not in kinds else {})}
        return {}

    def _resolved(self, schema: _Json) -> _Json:
        for one in schema.get("anyOf", schema.get("allOf", [schema])):
            reference = one.get("$ref")
            if reference is not None:
                found: _Json = self.definitions[reference.rpartition("/")[2]]
                return found
        return schema

    def _numbers(self, schema: _Json) -> list[int]:
        """Return the numbers of a field's enumeration."""
        listed = [number for one in (schema, *schema.get("anyOf", ())) for number in one.get("enum", ())]
        return [number for number in listed if isinstance(number, int) and not isinstance(number, bool)]

    def _words(self, schema: _Json) -> list[str]:
        """Return the words of a field's enumerations, also by the names of their members, in both cases."""
        words: set[str] = set()
        for one in (schema, *schema.get("anyOf", ()), *schema.get("allOf", ()), self._resolved(schema)):
            words.update(str(word) for word in [*one.get("enum", ()), *([one["const"]] if "const" in one else [])])
        return sorted(words | self.enumerated)


def bounds_of(schema: _Json) -> _Json:
    """Return the bounds that a schema states of a number."""
    for one in schema.get("anyOf", [schema]):
        told = {ours: one[theirs] for theirs, ours in _BOUNDS.items() if theirs in one}
        if told and one.get("type") in ("integer", "number"):
            return told
    return {}
