"""The environment that transformers renders chat templates in, with bounds on what a template computes.

It is that of transformers' `utils/chat_template_utils.py`. Anybody may write a template, and the webhook tries it too,
so that work, texts and numbers are limited. Every value is weighed when it comes to be, with all that it holds: a list
of twice the same list prints twice as long, however little memory it takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from string import Formatter
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from kaitoc.rules._templates import TemplateLanguage

_MAX_WORK = 1_000_000
_MAX_WEIGHT = 2_000
_MAX_LENGTH = 4_000
_MAX_INTEGER = 9_999
_MAX_EXPONENT = 4
_MAX_INDENT = 8
_CHARACTERS_OF_WORK = 64
_LONG_NUMBER = re.compile(r"\d{5,}")
_WEIGHED, _COUNTED, _WRITTEN, _SPENT = "kaitoc weighed", "kaitoc counted", "kaitoc written", "kaitoc spent"
"""Filters that no template can name; they take the context, for else Jinja would apply them when it compiles."""


class UnboundedError(Exception):
    """A template computes more than it is given here, so that nothing is known of it."""


class RaisedError(TemplateError):
    """A template calls `raise_exception`: it may do so for other rows only."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The environment of chat templates, which counts what it computes and refuses what grows large."""

    intercepted_binops = frozenset(("*", "**", "+", "-", "%"))

    def __init__(self, language: TemplateLanguage) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], optimized=False, cache_size=0
        )
        self._work = 0
        self.filters = {name: self._bounded(one) for name, one in self.filters.items() if name in language.filters}
        self.tests = {name: one for name, one in self.tests.items() if name in language.tests}
        self.filters["tojson"] = self._bounded(_to_json)
        self.filters |= {_WEIGHED: self._weighed_in, _COUNTED: self._counted_in}
        self.filters |= {_WRITTEN: self._written_in, _SPENT: self._spent_in}
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda pattern: pattern
        self.globals["lipsum"] = lambda *_, **__: "text"
        self.globals["namespace"] = _Namespace

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` where neither is large, nor what comes of it."""
        if operator == "**" and isinstance(right, int) and abs(right) > _MAX_EXPONENT:
            raise UnboundedError
        if operator == "%":
            _check_widths(left)
        weights = self._weigh(left), self._weigh(right)
        for times, weight in ((left, weights[1]), (right, weights[0])):
            if operator == "*" and isinstance(times, int) and times * weight > _MAX_WEIGHT:
                raise UnboundedError
        return self._weighed(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, *args: Any, **options: Any) -> Any:
        """Call what a template calls, with arguments and a result that are not large."""
        self._weigh(args)
        self._weigh(options)
        return self._weighed(super().call(context, function, *args, **options))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return the sandbox's `str.format`, for a text without large or computed widths."""
        function = super().wrap_str_format(value)
        if function is not None:
            for _, _, specification, _ in Formatter().parse(value.__self__):
                _check_widths(specification)
                if specification and "{" in specification:
                    raise UnboundedError
        return function

    def _weighed(self, value: Any) -> Any:
        self._weigh(value)
        return value

    def _weigh(self, value: Any) -> int:
        """Measure a value with all that it holds, as it would be written; raises `UnboundedError` for a large one."""
        weight, held = 1, [value]
        while held:
            one = held.pop()
            if isinstance(one, str):
                weight += len(one) * _MAX_WEIGHT // _MAX_LENGTH
            elif isinstance(one, int) and abs(one) > _MAX_INTEGER:
                raise UnboundedError
            elif isinstance(one, (dict, list, tuple, set, frozenset, range)):
                weight += len(one) * (2 if isinstance(one, dict) else 1)
                if weight <= _MAX_WEIGHT and not isinstance(one, range):
                    held += (*one, *one.values()) if isinstance(one, dict) else one
            if weight > _MAX_WEIGHT + 1:
                raise UnboundedError
        self._spend(weight)
        return weight

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MAX_WORK:
            raise UnboundedError

    @pass_context
    def _weighed_in(self, _: Any, value: Any) -> Any:
        return self._weighed(value)

    @pass_context
    def _counted_in(self, _: Any, values: Iterable[Any]) -> Iterator[Any]:
        return self._counted(values)

    @pass_context
    def _written_in(self, _: Any, value: Any) -> Any:
        """Count what goes into the text, which may be long."""
        text = value if isinstance(value, str) else str(self._weighed(value))
        self._spend(1 + len(text) // _CHARACTERS_OF_WORK)
        return value

    @pass_context
    def _spent_in(self, _: Any, num_nodes: int) -> None:
        """Count what a body that may run again takes by its length."""
        self._spend(num_nodes)

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            yield self._weighed(value)

    def _bounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def bounded(*args: Any, **options: Any) -> Any:
            for value in (*args, *options.values()):
                _check_widths(value)
                self._weigh(value)
            result = function(*args, **options)
            return self._counted(result) if isinstance(result, Iterator) else self._weighed(result)

        return bounded


class _Namespace(Namespace):
    """A namespace that prints no more than its name, whatever it was made to hold."""

    def __repr__(self) -> str:
        return "<Namespace>"


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


def _check_widths(value: Any) -> None:
    """Refuse a format with a width of thousands."""
    if isinstance(value, str) and _LONG_NUMBER.search(value):
        raise UnboundedError


def _to_json(
    value: object, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Write JSON as transformers has chat templates do."""
    if (len(indent) if isinstance(indent, str) else indent or 0) > _MAX_INDENT:
        raise UnboundedError  # each level of nesting is indented by one more
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> None:
    raise RaisedError(str(message))


def bounded(tree: nodes.Template) -> nodes.Template:
    """Have the loops of a template counted, what it makes weighed and what it writes counted; refuse large numbers."""
    made: nodes.Template = _Bounds().visit(tree)
    return made


class _Bounds(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  Jinja's own name
        """Count the turns of a loop, and what each takes."""
        self._repeated(node)
        node.iter = _filter(node.iter, _COUNTED, node.lineno)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        """Count the calls of a macro by its length."""
        return self._repeated(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        """Count how often a macro asks for what it is called with."""
        return self._repeated(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Node:  # noqa: N802
        """Count how often a block is asked for."""
        return self._repeated(node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        """Weigh what is compared."""
        self.generic_visit(node)
        node.expr = _filter(node.expr, _WEIGHED, node.lineno)
        for operand in node.ops:
            operand.expr = _filter(operand.expr, _WEIGHED, node.lineno)
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:  # noqa: N802
        """Leave a template with a large number alone."""
        if isinstance(node.value, int) and node.value > _MAX_INTEGER:
            raise UnboundedError
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Weigh joined texts."""
        return self._weighed(node)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        """Weigh a list that is written out."""
        return self._weighed(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """Weigh a mapping that is written out."""
        return self._weighed(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """Weigh a tuple that is written out, but not one of names to assign to."""
        return self._weighed(node) if node.ctx == "load" else self.generic_visit(node)

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        """Count what is written."""
        self.generic_visit(node)
        node.nodes = [_filter(_as_value(one), _WRITTEN, node.lineno) for one in node.nodes]
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        """Weigh a text that is written to a name."""
        self.generic_visit(node)
        node.filter = _filter(node.filter, _WEIGHED, node.lineno)
        return node

    def _repeated(self, node: nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block) -> nodes.Node:
        num_nodes = sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        spent = _filter(nodes.Const(num_nodes, lineno=node.lineno), _SPENT, node.lineno)
        node.body.insert(0, nodes.ExprStmt(spent, lineno=node.lineno))
        return node

    def _weighed(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, _WEIGHED, node.lineno)


def _as_value(node: nodes.Node) -> nodes.Node:
    return nodes.Const(node.data, lineno=node.lineno) if isinstance(node, nodes.TemplateData) else node


def _filter(node: nodes.Node | None, name: str, line: int) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None)
    made.set_lineno(line)
    return made
