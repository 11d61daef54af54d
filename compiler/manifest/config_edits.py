"""Edits to the YAML inside a ConfigMap: replace a value, set, rename or remove an option, add a section.

Inner text is written as the outer scalar needs it (indented, quoted, escaped), and only whole keys and values are
touched, so comments and layout stay.
"""

from __future__ import annotations

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.manifest.inner_config import InnerConfig, Option, Section
from kaitoc.compiler.yaml.tree import Item, Mapping, Scalar, Sequence

_STEP = "  "
_PLAIN_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./")
_NOT_STRINGS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "none", "y", "n", "~", ""))


def yaml_text(value: object) -> str:
    """Return a scalar or list of scalars as YAML on one line; strings are quoted where they need to be."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(yaml_text(item) for item in value)}]"
    return _string_text(str(value))


def _float_text(value: float) -> str:
    """Return a float that YAML 1.1 reads as one: `1e-4` would be a string, `1.0e-4` is not."""
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    if exponent and "." not in mantissa:
        return f"{mantissa}.0e{power}"
    return text


def _string_text(value: str) -> str:
    """Return a string plain where that is safe, else in the quotes that need no escapes, else double-quoted."""
    if value and set(value) <= _PLAIN_SAFE and value[0].isalpha() and value.lower() not in _NOT_STRINGS:
        return value
    if not value.isprintable():
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if '"' in value or "\\" in value:
        return "'" + value.replace("'", "''") + "'"
    return f'"{value}"'


def _escaped(character: str) -> str:
    if character in ('"', "\\"):
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def replace_value(config: InnerConfig, option: Option, value: object) -> Edit:
    """Return the edit that gives an option another value, quoted as the old one was."""
    if isinstance(option.node, Sequence) and isinstance(value, (list, tuple)) and option.node.items:
        return _replace_items(config, option.node, list(value))
    text = yaml_text(value)
    if isinstance(option.node, Scalar) and isinstance(value, str) and option.node.style in ("'", '"'):
        text = _quoted_as(option.node.style, value)
    span = option.value.span
    if span.start == span.end:
        text = f" {text}"
    return _edit(config, span, text)


def _replace_items(config: InnerConfig, sequence: Sequence, values: list[object]) -> Edit:
    """Return the edit that gives a list other elements; those that stay keep their notation and comments."""
    source = config.host.source
    written = {_item_value(item): item.span for item in sequence.items}
    first = sequence.items[0].span
    quote = source.slice(first)[:1]
    if sequence.is_flow:
        texts = [_inner(config, written[v]) if v in written else _quoted_as(quote, v) for v in values]
        return _edit(config, sequence.span, f"[{', '.join(texts)}]")
    line_end = config.scalar_map.line_end if config.scalar_map is not None else (lambda offset: offset)
    whole = {value: Span(span.start, line_end(span.end)) for value, span in written.items()}
    texts = [_inner(config, whole[v]) if v in whole else _quoted_as(quote, v) for v in values]
    column = _inner_column(config, Span(sequence.span.start, sequence.span.start))
    span = Span(first.start, line_end(sequence.items[-1].span.end))
    return _edit(config, span, f"\n{' ' * column}- ".join(texts))


def _item_value(item: Item) -> object:
    return item.value.value if isinstance(item.value, Scalar) else None


def _inner(config: InnerConfig, span: Span) -> str:
    return config.scalar_map.inner_text(span) if config.scalar_map is not None else config.host.source.slice(span)


def _quoted_as(quote: str, value: object) -> str:
    """Return a new element in the quotes that its neighbours have."""
    if isinstance(value, str) and quote in ("'", '"') and value.isprintable() and not set(value) & set("'\"\\"):
        return f"{quote}{value}{quote}"
    return yaml_text(value)


def rename_option(config: InnerConfig, option: Option, name: str) -> Edit:
    """Return the edit that renames an option's key."""
    return _edit(config, option.key.span, name)


def set_option(config: InnerConfig, section_name: str, name: str, value: object) -> Edit:
    """Return the edit that sets an option: its value when it is written, else a new line at the section's end."""
    entry = config.option(section_name, name)
    if entry is not None:
        return replace_value(config, entry, value)
    section = config.section(section_name)
    if section is None:
        return _add_section(config, section_name, [f"{name}: {yaml_text(value)}"])
    return _add_option(config, section, f"{name}: {yaml_text(value)}")


def set_options(config: InnerConfig, section_name: str, values: dict[str, object]) -> tuple[Edit, ...]:
    """Return the edits that set several options of one section, which may be missing."""
    if config.section(section_name) is not None:
        return tuple(set_option(config, section_name, name, value) for name, value in values.items())
    lines = [f"{name}: {yaml_text(value)}" for name, value in values.items()]
    return (_add_section(config, section_name, lines),)


def set_key(config: InnerConfig, name: str, value: object) -> Edit:
    """Return the edit that sets a key beside the sections, which holds one value: where it is, else behind them all."""
    section, text = config.section(name), yaml_text(value)
    if section is not None:
        span = section.value.span
        return _edit(config, span, text if span.end > span.start else f" {text}")
    root = config.root
    if root is None:
        raise ValueError("a config that is not a mapping cannot be extended")
    if root.is_flow:
        return _edit(
            config, Span(root.span.end - 1, root.span.end - 1), f"{', ' if root.entries else ''}{name}: {text}"
        )
    return _insert_line_after(config, root.entries[-1].value_span, root.entries[0].key.span, f"{name}: {text}")


def remove_option(config: InnerConfig, option: Option) -> Edit:
    """Return the edit that removes an option: its whole lines, or its part of a `{...}`."""
    section = config.section(option.section)
    if section is not None and isinstance(section.node, Mapping) and section.node.is_flow:
        return _edit(config, _flow_entry_span(section.node, option), "")
    return _edit(config, _whole_lines(config, Span(option.key.span.start, option.value.span.end)), "")


def _whole_lines(config: InnerConfig, span: Span) -> Span:
    """Return the lines of a span with the break before them."""
    scalar_map = config.scalar_map
    if scalar_map is None:
        return span
    return Span(scalar_map.previous_line_end(span.start), scalar_map.line_end(span.end))


def _flow_entry_span(mapping: Mapping, option: Option) -> Span:
    """Return an entry of a `{...}` with the comma that goes with it."""
    entries = [entry for entry in mapping.entries if not entry.is_merge]
    index = next(i for i, entry in enumerate(entries) if entry.key.span == option.key.span)
    if index + 1 < len(entries):
        return Span(option.key.span.start, entries[index + 1].key.span.start)
    start = entries[index - 1].value_span.end if index else option.key.span.start
    return Span(start, max(option.value.span.end, option.key.span.end))


def _add_option(config: InnerConfig, section: Section, line: str) -> Edit:
    node = section.node
    if isinstance(node, Mapping) and node.is_flow:
        end = node.span.end - 1
        text = f", {line}" if node.entries else line
        return _edit(config, Span(end, end), text)
    if isinstance(node, Mapping) and node.entries:
        return _insert_line_after(config, node.entries[-1].value_span, node.entries[0].key.span, line)
    end = max(section.key.span.end + 1, section.value.span.end)
    indent = _inner_column(config, section.key.span) + len(_STEP)
    span = Span(section.key.span.end + 1, end)
    return _edit(config, span, "\n" + " " * indent + line)


def _add_section(config: InnerConfig, name: str, lines: list[str]) -> Edit:
    root = config.root
    if root is None:
        raise ValueError("a training config that is not a mapping cannot be extended")
    if root.is_flow:
        end = root.span.end - 1
        separator = ", " if root.entries else ""
        return _edit(config, Span(end, end), f"{separator}{name}: {{{', '.join(lines)}}}")
    indent = _inner_column(config, root.entries[0].key.span)
    text = "".join(f"\n{' ' * (indent + len(_STEP))}{line}" for line in lines)
    return _insert_line_after(config, root.entries[-1].value_span, root.entries[0].key.span, f"{name}:{text}")


def _insert_line_after(config: InnerConfig, last: Span, model: Span, line: str) -> Edit:
    """Insert a line behind the line on which `last` ends, indented as `model` is."""
    at = config.scalar_map.line_end(last.end) if config.scalar_map is not None else last.end
    return _edit(config, Span(at, at), "\n" + " " * _inner_column(config, model) + line)


def _inner_column(config: InnerConfig, span: Span) -> int:
    return config.scalar_map.column(span.start) if config.scalar_map is not None else 0


def _edit(config: InnerConfig, span: Span, inner_text: str) -> Edit:
    encoded = config.scalar_map.encode(inner_text) if config.scalar_map is not None else inner_text
    return Edit(config.host.source, span, encoded)
