"""Ask a class of vLLM's configuration what it accepts, value by value.

Like `introspect_vllm`, which uses it, it runs beside a wheel's files and imports nothing of kaitoc.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

_Json = dict[str, Any]
_BOUNDS = {"minimum": "min", "exclusiveMinimum": "above", "maximum": "max", "exclusiveMaximum": "below"}
_SAMPLES = {"null": None, "true": True, "whole": 1, "zero": 0, "negative": -1, "fraction": 0.5, "text": "text",
            "digits": "1", "empty list": [], "list of numbers": [1], "list of fractions": [0.5],
            "list of texts": ["text"], "list of nulls": [None], "list of mappings": [{}], "mapping": {}}  # fmt: skip


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
        properties = schema.get("properties", {})
        fields = {name: self._field(inner, (*path, name)) for name, inner in properties.items()}
        for name, field in fields.items():
            beside = self._with_company(properties, (*path, name), fields) if "fields" not in field else []
            if beside:
                field["beside"] = beside
        shape = {"is_open": self.fits((*path, "not_a_key"), 1), "fields": fields}
        conflicts = self._conflicts(path, fields)
        return {**shape, "conflicts": conflicts} if conflicts else shape

    def _conflicts(self, path: tuple[str, ...], fields: _Json) -> list[list[str]]:
        """Return the pairs of keys that are each accepted alone and not together."""
        samples = {name: sample for name, field in fields.items() for sample in _given_samples(field)[:1]}
        pairs = itertools.combinations(sorted(name for name in samples if self.fits((*path, name), samples[name])), 2)
        return [
            [first, second]
            for first, second in pairs
            if not self.fits((*path, first), samples[first], (second, samples[second]))
        ]

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
            if found["words"] and all(self.fits(path, word.title()) for word in found["words"]):
                found["any_case"] = True
        bounds = bounds_of(schema)
        least = bounds.get("min", bounds.get("above", 0) + 1)
        if "whole" not in found["accepts"] and bounds and self.fits(path, least):
            found["accepts"].append("whole")
        if "whole" in found["accepts"] and "max" not in bounds and not self.fits(path, 2) and not found.get("words"):
            bounds = {**bounds, "max": 1}  # a boolean, for which 1 stands
        below = self._resolved(schema)
        if below.get("properties") and len(path) < 3:
            found.update(self.shape(below, path))
        return {**found, **bounds} if bounds else found

    def _with_company(self, properties: _Json, path: tuple[str, ...], fields: _Json) -> list[_Json]:
        """Return what a field accepts beside a value of another one and not alone, values with the same gain as one."""
        name, gains = path[-1], dict[str, _Json]()
        alone = {*fields[name]["accepts"], *fields[name].get("words", ())}
        words = [word for word in self._words(properties[name]) if word not in alone] if "text" not in alone else []
        kinds = [kind for kind in _SAMPLES if kind not in alone]
        is_partly_refused = bool({*own_words(properties[name])} & {*words})
        for other, kind, value in self._companies(properties, fields, of_all=is_partly_refused):
            company = (other, value)
            accepts = [one for one in kinds if other != name and self.fits(path, _SAMPLES[one], company)]
            more = [one for one in words if other != name and self.fits(path, one, company)]
            if accepts or more:
                gain = {"key": other, "accepts": accepts, "words": [] if "text" in accepts else more}
                values = gains.setdefault(json.dumps(gain), {**gain, "kinds": [], "values": []})
                values["kinds" if kind else "values"].append(kind or value)
        return list(gains.values())

    def _companies(self, properties: _Json, fields: _Json, *, of_all: bool) -> list[tuple[str, str, object]]:
        """Return values that may decide what other keys accept, with their kind where they are samples: the words of
        enumerations, and samples for a key that accepts none alone, or for all.
        """
        found: list[tuple[str, str, object]] = []
        for other, schema in properties.items():
            words = own_words(schema)
            found += [(other, "", word) for word in words]
            is_refused = not set(fields[other]["accepts"]) - {"null"} and not fields[other].get("words")
            if not words and (is_refused or of_all):
                found += [(other, kind, _SAMPLES[kind]) for kind in ("text", "whole", "true")]
        return found

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


def _given_samples(field: _Json) -> list[Any]:
    """Return values that a field accepts and that say something: no null, no zero."""
    kinds = ("whole", "true", "fraction", "text", "digits", "list of numbers", "list of texts", "mapping")
    return [*field.get("words", ()), *(_SAMPLES[kind] for kind in kinds if kind in field.get("accepts", ()))]


def bounds_of(schema: _Json) -> _Json:
    """Return the bounds that a schema states of a number."""
    for one in schema.get("anyOf", [schema]):
        told = {ours: one[theirs] for theirs, ours in _BOUNDS.items() if theirs in one}
        if told and one.get("type") in ("integer", "number"):
            return told
    return {}


def own_words(schema: _Json) -> list[str]:
    """Return the words that a field's schema lists itself, where it takes no other text."""
    kinds = schema.get("anyOf", [schema])
    if any(kind.get("type") == "string" and "enum" not in kind and "const" not in kind for kind in kinds):
        return []
    listed = [word for kind in kinds for word in [*kind.get("enum", ()), *([kind["const"]] if "const" in kind else [])]]
    return sorted(word for word in listed if isinstance(word, str))
