"""Render the JSON Schema of a training config from a release's argument table.

The schema says of exact key names what Kaito's webhook and parser say of them: every value becomes a command-line
string (`str(value)`), which argparse reads again. So "8" is a whole number and 8.0 is not, null is the text "None", a
list gives several arguments, and a string that begins with a dash is taken for an option.
"""

from __future__ import annotations

from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"
URL_BASE = "https://kaitoc.readthedocs.io/schemas/"
JSON_FORMAT = "kaitoc-json-mapping"
FLAG_WORDS = ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0")
_Json = dict[str, Any]

# What argparse (CPython 3.11, `_parse_optional`) takes for a value: no leading dash, a lone dash, a negative number in
# plain digits, or dash and space together unless that spells `-h` or `--option=`.
_NOT_AN_OPTION = r"^(?:(?!-)|-(?![\s\S])|-(?:\d+|\d*\.\d+)$|-(?=[^-h])(?=[\s\S]* )|--(?=[^=]* )[^=]*$)"
_DIGITS = r"\d+(?:_\d+)*"
_WHOLE = rf"{_DIGITS}\s*$"
_REAL = (
    rf"(?:(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?"
    r"|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN])\s*$"
)
_SMALLEST_PLAIN = 1e-4
_LARGEST_PLAIN = 1e16

DESCRIPTIONS = {
    "whole": 'a whole number, such as 8 or "8" (8.0 is refused)',
    "real": 'a number, such as 0.05 or "5e-5" (a negative one without exponent)',
    "flag": "true or false (yes, y, t, 1, no, n, f and 0 are read too, in quotes)",
    "dtype": "the name of a torch dtype, such as bfloat16",
    "text": "a string (one that begins with a dash would be taken for an option)",
    "json_text": "a string that holds a JSON mapping, such as '{\"key\": 1}'",
    "empty_text": "readable: the parser makes no mapping of text, so leave the key out",
    "nothing": "readable: the parser takes no value for this key, so leave it out",
}


_KINDS = {"int": "whole", "float": "real", "bool": "flag", "str": "text", "mapping": "empty_text", "tuple": "text"}
_FORMS = {None: "_option", "?": "_flag", "+": "_list"}
# A list or mapping inside a list becomes its text in Python; only an empty mapping's text is JSON.
_ITEMS_IN_LISTS: dict[str, list[_Json]] = {
    "text": [{"type": "array"}, {"type": "object"}],
    "json_text": [{"type": "array"}, {"const": {}}],
}


def render_schema(table: _Json, descriptions: _Json) -> _Json:
    """Return the schema of one release: the whole inner document of `training_config.yaml`."""
    release = table["release"]
    who = "kaitoc's bundled runtime" if release == "bundled" else f"Kaito {release}"
    sections = {name: _section(name, rows, descriptions[name]) for name, rows in table["sections"].items()}
    return {
        "$schema": DIALECT,
        "$id": f"{URL_BASE}training_config/{release}.json",
        "title": f"Training config of {who}",
        "description": f"What {who} reads from `training_config.yaml`. Keys beside `training_config` are ignored.",
        "type": "object",
        "required": ["training_config"],
        "properties": {
            "training_config": {
                "description": "The sections, each read by one argument parser.",
                "type": "object",
                "additionalProperties": False,
                "properties": {name: _reference(name) for name in sections},
            }
        },
        "$defs": {**sections, **_value_definitions(table["dtypes"])},
    }


def _section(name: str, rows: _Json, descriptions: _Json) -> _Json:
    section: _Json = {
        "title": name,
        "description": descriptions[""],
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _property(name, key, rows, descriptions[key]) for key in rows},
    }
    if name == "QuantizationConfig":
        # Kaito's webhook (tuning_config_validation.go) refuses both at once.
        both = {key: {"const": True} for key in ("load_in_4bit", "load_in_8bit")}
        section["not"] = {"required": list(both), "properties": both}
    return section


def _property(section: str, key: str, rows: _Json, description: str) -> _Json:
    row = rows[key]
    default = row.get("settled", row["default"])
    schema: _Json = {"title": key, "description": description}
    if default is not None:
        schema["default"] = default
    if row.get("deprecated"):
        schema["deprecated"] = True
    return {**schema, **_values(section, key, rows)}


def _values(section: str, key: str, rows: _Json) -> _Json:
    """Build the schema of an option's value; a mapping may spell other options, whose names it is joined to."""
    webhook = _webhook_type(section, key)
    if webhook is not None:
        return webhook
    row = rows[key]
    option = _inline_option(row) if "choices" in row else _reference(_kind(section, key, row) + _form(row))
    spelled = {
        name.removeprefix(f"{key}_"): {"$ref": f"#/$defs/{section}/properties/{name}"}
        for name in rows
        if name.startswith(f"{key}_")
    }
    if not spelled:
        return option
    mapping = {"type": "object", "additionalProperties": _reference("hollow"), "properties": spelled}
    return {"anyOf": [option, mapping]}


def _webhook_type(section: str, key: str) -> _Json | None:
    """Return the type that Kaito's webhook asks of a key by its exact name, where it looks at all."""
    if section == "QuantizationConfig" and key in ("load_in_4bit", "load_in_8bit"):
        return {"type": "boolean"}
    if (section, key) == ("TrainingArguments", "output_dir"):
        return {"type": "string", "pattern": _NOT_AN_OPTION}
    return None


def _kind(section: str, key: str, row: _Json) -> str:
    if (section, key) == ("ModelConfig", "torch_dtype"):
        return "dtype"
    if row.get("json"):
        return "json_text"
    return _KINDS.get(row["type"], "nothing")


def _form(row: _Json) -> str:
    return _FORMS[row.get("nargs")]


def _inline_option(row: _Json) -> _Json:
    choice = {"enum": row["choices"]}
    return _option(choice, choice, _form(row))


def _option(scalar: _Json, item: _Json, form: str) -> _Json:
    """Return the forms of an option: a scalar, a list of as many as argparse takes, or a hollow mapping."""
    sizes = {"_option": {"minItems": 1, "maxItems": 1}, "_flag": {"maxItems": 1}, "_list": {"minItems": 1}}
    listed = {"type": "array", **sizes[form], "items": item}
    return {"anyOf": [scalar, listed, _reference("hollow")]}


def _reference(name: str) -> _Json:
    return {"$ref": f"#/$defs/{name}"}


def _value_definitions(dtypes: list[str]) -> _Json:
    scalars = _scalars(dtypes)
    definitions = {name: {"description": DESCRIPTIONS[name], **schema} for name, schema in scalars.items()}
    # Flattening drops mappings that hold nothing, however deep.
    definitions["hollow"] = {"type": "object", "additionalProperties": _reference("hollow")}
    for name, items in _ITEMS_IN_LISTS.items():
        definitions[f"{name}_item"] = {"anyOf": [_reference(name), *items]}
    for name in scalars:
        item = _reference(f"{name}_item" if name in _ITEMS_IN_LISTS else name)
        for form in _FORMS.values():
            definitions[name + form] = _option(_reference(name), item, form)
    return definitions


def _scalars(dtypes: list[str]) -> _Json:
    string = {"type": "string", "pattern": _NOT_AN_OPTION}
    number = _plain_number()
    bit = {"type": "integer", "minimum": 0, "maximum": 1}
    other = {"type": ["boolean", "null"]}
    return {
        "whole": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": _signed(_WHOLE, r"\d+")}]},
        "real": {"anyOf": [number, {"type": "string", "pattern": _signed(_REAL, r"\d*\.?\d+")}]},
        "flag": {"anyOf": [{"type": "boolean"}, bit, {"type": "string", "pattern": _flag_pattern()}]},
        "text": {"anyOf": [string, number, other]},
        "json_text": {"anyOf": [{**string, "format": JSON_FORMAT}, number, other]},
        "dtype": {"enum": ["", *dtypes]},
        "empty_text": {"const": ""},
        "nothing": {"not": {}},
    }


def _plain_number() -> _Json:
    """Return the numbers whose text argparse takes for a value: negative ones only without an exponent."""
    return {
        "anyOf": [
            {"type": "integer"},
            {"type": "number", "minimum": 0},
            {"type": "number", "maximum": -_SMALLEST_PLAIN, "exclusiveMinimum": -_LARGEST_PLAIN},
        ]
    }


def _signed(body: str, plain: str) -> str:
    """Return the pattern of a number's text; a leading minus needs plain digits, or a space somewhere."""
    return rf"^(?:(?!-)\s*[+-]?|-(?=[\s\S]* )){body}|^-{plain}$"


def _flag_pattern() -> str:
    words = ("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word) for word in FLAG_WORDS)
    return f"^(?:{'|'.join(words)})(?![\\s\\S])"
