"""What becomes of a chat template: Jinja compiles it and renders it over conversations, as transformers does.

A template that computes more than `_template_environment` grants is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import TemplateSyntaxError, meta

from kaitoc.compiler.core.records import dataclass
from kaitoc.rules._template_environment import BoundedEnvironment, RaisedError, UnboundedError, bounded
from kaitoc.rules._templates import TemplateLanguage

_MAX_TEMPLATE = 50_000
_MAX_SHOWN = 100
_UNJUDGED = (UnboundedError, RaisedError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Trial:
    """Why a template cannot be compiled or rendered, empty where it can, and whether it leaves no text."""

    syntax: str = ""
    failure: str = ""
    is_blank: bool = False


@lru_cache(maxsize=64)
def try_template(template: str, language: TemplateLanguage) -> Trial:
    """Compile a template, and render it over conversations of several shapes, of which it may take any."""
    if len(template) > _MAX_TEMPLATE:
        return Trial()
    failures: list[Exception] = []
    try:
        for outcome in _outcomes(template, language):
            if isinstance(outcome, Exception):
                failures.append(outcome)
            elif outcome.strip():
                return Trial()
    except TemplateSyntaxError as error:
        return Trial(syntax=_shown(error.message))
    except SyntaxError as error:  # of the Python that Jinja makes of it: a `break` outside of a loop
        return Trial(syntax=_shown(error.msg))
    except _UNJUDGED:
        return Trial()
    return Trial(failure=_shown(failures[0])) if failures else Trial(is_blank=True)


def _outcomes(template: str, language: TemplateLanguage) -> Iterator[str | Exception]:
    """Render a template over one conversation after the other: yield a text, or what stops it."""
    environment = BoundedEnvironment(language)
    tree = environment.parse(template)
    code = environment.compile(bounded(tree))
    tokens = _tokens(meta.find_undeclared_variables(tree))
    compiled = environment.template_class.from_code(environment, code, environment.globals)
    for conversation in _conversations():
        try:
            yield compiled.render({**tokens, **conversation})
        except _UNJUDGED:
            raise
        except Exception as error:  # whatever a template makes of its values stops the job
            yield error


def _shown(error: object) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{text[: _MAX_SHOWN - 3]}..." if len(text) > _MAX_SHOWN else text


class _Message(dict[str, object]):
    """A message with any key: a row may have more than a role and a content."""

    def __missing__(self, key: str) -> str:
        return "text"


def _conversations() -> Iterator[Mapping[str, object]]:
    """Yield what transformers renders: short and long conversations, parts, tools, and messages with any key."""
    turns = [{"role": "user", "content": "what is 1"}, {"role": "assistant", "content": "it is 1"}]
    system = {"role": "system", "content": "be brief"}
    parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    tool = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {}}}
    for messages in (turns, [system, *turns], turns * 32, parts, [_Message(turn) for turn in turns * 32]):
        yield _context(messages, None)
    yield _context([_Message(turn) for turn in turns], [tool])


def _context(messages: list[Any], tools: list[Any] | None) -> Mapping[str, object]:
    return {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": False}


def _tokens(names: Iterable[str]) -> dict[str, str]:
    """Return a text for every token that a template names; a tokenizer may have more than the usual ones."""
    return {name: f"<{name}>" for name in names if name.endswith("_token")}
