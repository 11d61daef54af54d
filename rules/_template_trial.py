"""What becomes of a chat template: Jinja compiles it and renders it over conversations, as transformers does.

The environment is that of transformers' `utils/chat_template_utils.py`. Since anybody may write a template, and the
webhook tries it too, what it computes is bounded: a template that goes beyond is not judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from kaitoc.compiler.core.records import dataclass
from kaitoc.rules._templates import TemplateLanguage

_MAX_LENGTH = 4_000
_MAX_INTEGER = 10_000
_MAX_OPERATIONS = 20_000
_MAX_TEMPLATE = 50_000
_MAX_SHOWN = 100
_LONG_NUMBER = re.compile(r"\d{5,}")


@dataclass(frozen=True, slots=True)
class Trial:
    """Why a template cannot be compiled or rendered, empty where it can, and whether it leaves no text."""

    syntax: str = ""
    failure: str = ""
    is_blank: bool = False


class _UnboundedError(Exception):
    """A template computes more than it is given here, so that nothing is known of it."""


class _RaisedError(TemplateError):
    """A template calls `raise_exception`: it may do so for other rows only."""


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


_UNJUDGED = (_UnboundedError, _RaisedError, RecursionError, MemoryError)


def _outcomes(template: str, language: TemplateLanguage) -> Iterator[str | Exception]:
    """Render a template over one conversation after the other: yield a text, or what stops it."""
    environment = _Environment(language)
    tree = environment.parse(template)
    code = environment.compile(_Bounds().visit(tree))
    tokens = _tokens(meta.find_undeclared_variables(tree))
    compiled = environment.template_class.from_code(environment, code, environment.globals)
    for conversation in _conversations():
        environment.num_operations = 0
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


class _Generation(Extension):
    """The tag `generation`, which marks what the assistant says."""

    tags = {"generation"}  # noqa: RUF012  as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the tag as a call of its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Environment(ImmutableSandboxedEnvironment):
    """The environment of chat templates, which counts what it computes and refuses what grows large."""

    intercepted_binops = frozenset(("*", "**", "+", "-", "%"))

    def __init__(self, language: TemplateLanguage) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], optimized=False, cache_size=0
        )
        self.num_operations = 0
        self.filters = {name: self._bounded(one) for name, one in self.filters.items() if name in language.filters}
        self.tests = {name: one for name, one in self.tests.items() if name in language.tests}
        self.filters["tojson"] = self._bounded(_to_json)
        self.filters[_CHECKED] = self.check
        self.filters[_COUNTED] = self._counted
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda pattern: pattern
        self.globals["lipsum"] = lambda *_, **__: "text"

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` where neither is large."""
        if operator == "**" and isinstance(right, int) and abs(right) > _MAX_EXPONENT:
            raise _UnboundedError
        self._check_format(left)
        return self.check(super().call_binop(context, operator, self.check(left), self.check(right)))

    def call(self, context: Any, function: Any, *args: Any, **options: Any) -> Any:
        """Call what a template calls, with arguments and a result that are not large."""
        self._check_format(getattr(function, "__self__", None))
        for value in (*args, *options.values()):
            self._check_format(value)
            self.check(value)
        return self.check(super().call(context, function, *args, **options))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return the sandbox's `str.format`, for a text without large widths."""
        self._check_format(getattr(value, "__self__", None))
        return super().wrap_str_format(value)

    def check(self, value: Any) -> Any:
        """Return a value that is not large; raises `_UnboundedError`."""
        self.num_operations += 1
        is_large = isinstance(value, int) and abs(value) > _MAX_INTEGER
        is_long = isinstance(value, (str, list, tuple, dict)) and len(value) > _MAX_LENGTH
        if is_large or is_long or self.num_operations > _MAX_OPERATIONS:
            raise _UnboundedError
        return value

    def _check_format(self, value: Any) -> None:
        """Refuse a format with a width of thousands."""
        if isinstance(value, str) and _LONG_NUMBER.search(value):
            raise _UnboundedError

    def _bounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def bounded(*args: Any, **options: Any) -> Any:
            for value in (*args, *options.values()):
                self._check_format(value)
                self.check(value)
            result = function(*args, **options)
            return self._counted(result) if isinstance(result, Iterator) else self.check(result)

        return bounded

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            yield self.check(value)


_MAX_EXPONENT = 4
_CHECKED, _COUNTED = "kaitoc checked", "kaitoc counted"
"""Filters that no template can name."""


def _to_json(
    value: object, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Write JSON as transformers has chat templates do."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> None:
    raise _RaisedError(str(message))


class _Bounds(NodeTransformer):
    """Has the loops of a template counted, and the texts that it joins measured; refuses large numbers."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  Jinja's own name
        """Count the turns of a loop."""
        self.generic_visit(node)
        node.iter = _filter(node.iter, _COUNTED, node.lineno)
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:  # noqa: N802
        """Leave a template with a large number alone."""
        if isinstance(node.value, int) and node.value > _MAX_INTEGER:
            raise _UnboundedError
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Measure joined texts."""
        self.generic_visit(node)
        return _filter(node, _CHECKED, node.lineno)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        """Measure a text that is written to a name."""
        self.generic_visit(node)
        node.filter = _filter(node.filter, _CHECKED, node.lineno)
        return node


def _filter(node: nodes.Node | None, name: str, line: int) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None)
    made.set_lineno(line)
    return made
