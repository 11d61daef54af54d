"""Faults of a Jinja template that its compiler refuses, or that stop any rendering, found without Jinja.

Chat templates are rendered by transformers (`utils/chat_template_utils.py`), whose environment has loop controls, the
tag `generation`, and no loader.
"""

from __future__ import annotations

import re

from kaitoc.compiler.core.patterns import pattern
from kaitoc.compiler.core.records import dataclass

_TAG = pattern(
    r"\{%[-+]?\s*(?P<word>\w*)(?P<rest>.*?)[-+]?%\}|\{\{[-+]?(?P<expression>.*?)[-+]?\}\}|\{#.*?#\}", re.DOTALL
)
_BLOCKS = ("if", "for", "macro", "block", "filter", "call", "generation", "with", "autoescape")
_RAW = pattern(r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)
_STATEMENTS = {"elif", "else", "set", "print", "break", "continue", "import", "from", "include", "extends"}
_LOADS = {"import", "from", "include", "extends"}
_SILENT = pattern(r"\{#.*?#\}|\{%[-+]?\s*set\s[^%]*=.*?%\}|\{\{[-+]?\s*(''|\"\")\s*[-+]?\}\}", re.DOTALL)
_PRINTED_NAME = pattern(r"\{\{[-+]?\s*([A-Za-z_]\w*)\s*[-+]?\}\}")
_LOOP = pattern(
    r"\{%[-+]?\s*for\s+[^%]*?\bin\s+([A-Za-z_]\w*)\s*[-+]?%\}((?:(?!\{%[-+]?\s*(?:for|else)\b).)*?)\{%[-+]?\s*endfor\s*[-+]?%\}",
    re.DOTALL,
)
_CALL = pattern(r"(?<![.\w])([A-Za-z_]\w*)\s*\(")
_OPERATORS = frozenset(("and", "or", "not", "in", "is", "if", "else"))
_ASSIGNED = pattern(r"\bmacro\s+(\w+\s*\([^)]*\))|\bfor\s+([\w\s,]+?)\s+in\b|\b(?:set|with|import|as)\s+([\w\s,.]+)")
_KNOWN = frozenset(
    (
        "messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "raise_exception",
        "strftime_now", "chat_template", "loop", "range", "dict", "lipsum", "cycler", "joiner", "namespace", "caller",
        "true", "false", "none", "True", "False", "None", "self", "varargs", "kwargs", "super",
    )
)  # fmt: skip
"""The names that a chat template has; tokens of the model (`bos_token`) end alike."""
_STRING = pattern(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_FILTER = pattern(r"(?<!\|)\|\s*(\w+)")
_TEST = pattern(r"\bis\s+(?:not\s+)?(\w+)")


@dataclass(frozen=True, slots=True)
class TemplateLanguage:
    """The filters and tests of the environment that a release renders chat templates in."""

    filters: frozenset[str]
    tests: frozenset[str]


def decoded_template(value: str) -> str | None:
    """Return the template that Kaito makes of `ModelConfig.chat_template`, None for a path or where it raises."""
    import codecs

    if not any(character in value for character in "{}\n"):
        return None
    try:
        return codecs.decode(value, "unicode_escape")
    except ValueError:
        return None


def template_problem(template: str, language: TemplateLanguage) -> str:
    """Return why a template cannot be compiled or rendered, empty where nothing is found."""
    template = _RAW.sub("raw", template)
    plain = _TAG.sub("", template)
    for opening in ("{{", "{%", "{#"):
        if opening in plain:
            return f"a `{opening}` is never closed"
    open_blocks: list[str] = []
    assigned = _assigned_in(template)
    for tag in _TAG.finditer(template):
        problem = _problem_of(tag, language, open_blocks) or _call_problem(tag, assigned, open_blocks)
        if problem:
            return problem
    if open_blocks:
        return f"`{{% {open_blocks[-1]} %}}` has no end"
    return ""


def renders_to_nothing(template: str) -> bool:
    """Return whether a template that can be rendered leaves no text of any conversation."""
    return not _without_what_is_silent(_RAW.sub("raw", template)).strip()


def _without_what_is_silent(template: str) -> str:
    """Return a template without comments, assignments, names that nothing has, and loops over those or over nothing."""
    assigned = _assigned_in(template)

    def is_undefined(name: str) -> bool:
        return name not in _KNOWN and name not in assigned and "token" not in name

    def shown(found: re.Match[str]) -> str:
        return "" if is_undefined(found[1]) else found[0]

    def repeated(found: re.Match[str]) -> str:
        return "" if is_undefined(found[1]) or not _without_what_is_silent(found[2]) else found[0]

    return _LOOP.sub(repeated, _PRINTED_NAME.sub(shown, _SILENT.sub("", template)))


def has_generation_marks(template: str) -> bool:
    """Return whether a template marks what the assistant says, as TRL's `has_generation_markers` decides it."""
    return bool(re.search(r"\{%-?\s*generation\s*-?%\}", template))


def _assigned_in(template: str) -> frozenset[str]:
    """Return the names that a template gives values to."""
    names = (name for groups in _ASSIGNED.findall(template) for name in re.findall(r"\w+", " ".join(groups)))
    return frozenset(names)


def _call_problem(tag: re.Match[str], assigned: frozenset[str], open_blocks: list[str]) -> str:
    """Describe a printed call of an undefined name, outside blocks that may be skipped."""
    if open_blocks or not tag["expression"]:
        return ""
    bare = _TEST.sub("", _FILTER.sub("", _STRING.sub("0", tag["expression"])))
    known = _KNOWN | _OPERATORS | assigned
    unknown = next((name for name in _CALL.findall(bare) if name not in known), None)
    return f"there is no function `{unknown}`" if unknown else ""


def _problem_of(tag: re.Match[str], language: TemplateLanguage, open_blocks: list[str]) -> str:
    """Return the fault in an expression, a statement or a comment, empty for none."""
    expression = tag["expression"]
    if expression is not None:
        return _expression_problem(expression, language) if expression.strip() else "`{{ }}` is empty"
    if tag["word"] is None:
        return ""
    return _tag_problem(tag["word"], tag["rest"].strip(), open_blocks) or _expression_problem(tag["rest"], language)


def _tag_problem(word: str, rest: str, open_blocks: list[str]) -> str:
    """Return the fault in one tag, and enter or leave its block."""
    if not word:
        return "`{% %}` is empty"
    if word in ("if", "elif", "for") and not rest:
        return f"`{{% {word} %}}` has no expression"
    if word in ("break", "continue") and "for" not in open_blocks:
        return f"`{{% {word} %}}` is outside of a loop"
    if word in _LOADS:
        return f"`{{% {word} %}}` loads another template, and there is none to load"
    if word == "set" and "=" not in rest:
        open_blocks.append("set")
    elif word in _BLOCKS:
        open_blocks.append(word)
    elif word not in _STATEMENTS:
        return _end_problem(word, open_blocks)
    return ""


def _end_problem(word: str, open_blocks: list[str]) -> str:
    """Return the fault in a tag that ends a block or that Jinja does not know."""
    ended = word.removeprefix("end")
    if ended == word or ended not in (*_BLOCKS, "set"):
        return f"`{{% {word} %}}` is not a tag"
    if not open_blocks or open_blocks.pop() != ended:
        return f"`{{% {word} %}}` ends no block"
    return ""


def _expression_problem(text: str, language: TemplateLanguage) -> str:
    """Return the fault in an expression: unbalanced brackets or quotes, an unknown filter or test."""
    bare = _STRING.sub("0", text)
    if "'" in bare or '"' in bare:
        return "a quote is never closed"
    if any(bare.count(opening) != bare.count(closing) for opening, closing in ("()", "[]", "{}")):
        return f"brackets do not match in `{text.strip()[:40]}`"
    unknown_filter = next((name for name in _FILTER.findall(bare) if name not in language.filters), None)
    if unknown_filter:
        return f"there is no filter `{unknown_filter}`"
    unknown_test = next((name for name in _TEST.findall(bare) if name not in language.tests), None)
    return f"there is no test `{unknown_test}`" if unknown_test else ""
