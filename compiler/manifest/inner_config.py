"""The YAML inside a ConfigMap's key: sections and options with places in the outer file."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.manifest.objects import Field, Manifest, Place, escape_pointer
from kaitoc.compiler.yaml.inner import InnerYaml, read_inner_yaml
from kaitoc.compiler.yaml.placeholders import UnknownValueError, template_action
from kaitoc.compiler.yaml.scalar_map import ScalarMap, map_text
from kaitoc.compiler.yaml.tree import Document, Entry, Mapping, Node, ProblemKind, Scalar, YamlProblem, placeholder_of
from kaitoc.compiler.yaml.values import plain_value, value_problems

_SET_TAG = "tag:yaml.org,2002:set"
_RARE_BREAKS = "\x85\u2028\u2029"


def is_mapping(node: Node | None) -> bool:
    """Return whether Python reads a node as a mapping: YAML writes a set like one."""
    return isinstance(node, Mapping) and node.tag != _SET_TAG


@dataclass(frozen=True, slots=True)
class Option:
    """A key of a section and its value, as written; `home` is the place of the section.

    Most options are never named in a finding, so their own places are made when asked for.
    """

    section: str
    name: str
    home: Place
    entry: Entry

    @property
    def node(self) -> Node:
        """Return the value."""
        return self.entry.value

    @property
    def key(self) -> Place:
        """Span of the key in the outer file."""
        return self._place(self.entry.key.span)

    @property
    def value(self) -> Place:
        """Span of the value in the outer file."""
        return self._place(self.entry.value_span)

    def _place(self, span: Span) -> Place:
        home = self.home
        return Place(home.source, span, f"{home.pointer}/{escape_pointer(self.name)}", home.object)

    @property
    def plain(self) -> object:
        """Return the value as PyYAML's `safe_load` reads it; raises `UnknownValueError`."""
        placeholder = self.placeholder
        if placeholder:
            raise UnknownValueError(placeholder)
        return plain_value(self.node)

    @property
    def placeholder(self) -> str:
        """Return the placeholder that keeps the value from being known, empty where there is none."""
        return placeholder_of(self.node)


@dataclass(frozen=True, slots=True)
class Section:
    """A section such as `LoraConfig`; `options` is empty when its value is not a mapping."""

    name: str
    key: Place
    value: Place
    node: Node
    options: tuple[Option, ...]
    _by_name: dict[str, Option]

    @property
    def is_mapping(self) -> bool:
        """Return whether the section's value is a mapping, as Kaito's runtime requires, or may become one."""
        return is_mapping(self.node) or bool(self.placeholder)

    @property
    def placeholder(self) -> str:
        """Return the placeholder that keeps the section's keys from being known, empty where there is none."""
        if isinstance(self.node, Scalar):
            return self.node.placeholder
        keys = self.node.entries if isinstance(self.node, Mapping) else ()
        return next((found for entry in keys if (found := _unknown_keys_of(entry))), "")

    def option(self, name: str) -> Option | None:
        """Return the option of an exact name."""
        return self._by_name.get(name)


@dataclass(frozen=True, slots=True, eq=False)
class InnerConfig:
    """One inner document: a training or a serving config.

    `problems` are its YAML faults; `document_root` is None when they leave nothing to read.
    `memo` is for what follows from the text alone: configs of equal texts share it. Sections have places, and are made
    when asked for: in most of many like files few are.

    `host` is the place of the scalar in the outer file and `scalar_map` leads from inner to outer text; it is None
    for a template that no file of the user holds. `data_key` is the ConfigMap's key; `root_key` the one that the
    sections stand under, empty where the document itself has them.
    """

    host: Place
    document_root: Node | None
    problems: tuple[YamlProblem, ...]
    scalar_map: ScalarMap | None
    memo: Memo
    data_key: str
    root_key: str
    _by_name: dict[str, Section | None] = field(default_factory=dict, init=False)

    @property
    def root(self) -> Mapping | None:
        """Return the mapping that has the sections, None when there is none."""
        return _below(self.document_root, self.root_key)

    @property
    def sections(self) -> tuple[Section, ...]:
        """Return the sections in order, each once."""
        root = self.root
        return tuple([self._section(root, entry) for entry in root.effective_entries()]) if root is not None else ()

    def _section(self, root: Mapping, entry: Entry) -> Section:
        named = self.section(entry.name) if root.get(entry.name) is entry else None
        return named or _section(self._base, entry)  # keys that are no scalars share the empty name

    @property
    def _base(self) -> Place:
        host = self.host
        pointer = f"{host.pointer}/{self.root_key}" if self.root_key else host.pointer
        return Place(host.source, host.span, pointer, host.object)

    @property
    def placeholder(self) -> str:
        """Return the placeholder that stands for the whole configuration, empty where there is none."""
        node = self.document_root
        entry = node.get(self.root_key) if self.root_key and isinstance(node, Mapping) else None
        whole = entry.value if entry is not None else node
        return whole.placeholder if isinstance(whole, Scalar) else ""

    @property
    def is_template(self) -> bool:
        """Return whether a template engine's actions keep the text from being YAML."""
        if self.document_root is not None or not self.problems or self.scalar_map is None:
            return False
        return template_action(self.scalar_map.value) is not None

    @property
    def is_readable(self) -> bool:
        """Return whether PyYAML would read the document, so that rules may look at its values."""
        return self.root is not None and not any(
            problem.kind is not ProblemKind.DUPLICATE_KEY for problem in self.problems
        )

    @property
    def is_editable(self) -> bool:
        """Return whether edits can be placed exactly in the user's file.

        Lines that end in one of Unicode's own breaks are lines for YAML and for no editor: nothing is written there.
        """
        return (
            self.scalar_map is not None
            and self.scalar_map.exact
            and not any(character in self.scalar_map.value for character in _RARE_BREAKS)
        )

    def section(self, name: str) -> Section | None:
        """Return the section of a name."""
        made = self._by_name
        if name not in made:
            root = self.root
            entry = root.get(name) if root is not None else None
            made[name] = _section(self._base, entry) if entry is not None else None
        return made[name]

    def option(self, section: str, name: str) -> Option | None:
        """Return an option of a section by its exact name."""
        written = self.section(section)
        return written.option(name) if written is not None else None


def config_field(config_map: Manifest, data_key: str) -> Field | None:
    """Return the field that holds a ConfigMap's text under a key, None where it has none or that is not known."""
    try:
        return config_map.field("data", data_key)
    except UnknownValueError:
        return None


def read_inner_config(config_map: Manifest, data_key: str, root_key: str) -> InnerConfig | None:
    """Read the text of a ConfigMap's key, None when it has no such text."""
    field = config_field(config_map, data_key)
    if config_map.plain is not None:
        return _read_plain(config_map, config_map.plain, data_key, root_key) if field is not None else None
    if field is None or not isinstance(field.node, Scalar) or field.node.placeholder:
        return None
    inner = read_inner_yaml(config_map.source, field.node)
    problems = (*inner.problems, *_second_document(field.value, inner))
    return InnerConfig(field.value, inner.root, problems, inner.scalar_map, inner.memo, data_key, root_key)


def _read_plain(config_map: Manifest, documents: tuple[Document, ...], data_key: str, root_key: str) -> InnerConfig:
    """Read a file that is a config itself; its pointers begin at its own root."""
    source = config_map.source
    host = Place(source, config_map.node.span, "", config_map.ref)
    first = documents[0] if documents else None
    root = first.root if first is not None else None
    problems = [*(first.problems if first is not None else ()), *(value_problems(root) if root is not None else ())]
    problems += [_refused_document(document.span) for document in documents[1:2]]
    return InnerConfig(host, root, tuple(problems), map_text(source), Memo(), data_key, root_key)


def _second_document(host: Place, inner: InnerYaml) -> Iterator[YamlProblem]:
    if inner.second_document is not None:
        end = host.span.end
        start = min(inner.second_document.start, end)
        yield _refused_document(Span(start, min(start + 3, end)))


def _refused_document(span: Span) -> YamlProblem:
    message = "a second YAML document begins here; Kaito's runtime refuses more than one"
    return YamlProblem(ProblemKind.SECOND_DOCUMENT, message, Span(span.start, min(span.start + 3, span.end)))


def _below(root: Node | None, root_key: str) -> Mapping | None:
    if not root_key:
        return root if isinstance(root, Mapping) else None
    entry = root.get(root_key) if isinstance(root, Mapping) else None
    return entry.value if entry is not None and isinstance(entry.value, Mapping) else None


def _section(base: Place, entry: Entry) -> Section:
    name, value = entry.name, entry.value
    pointer = f"{base.pointer}/{escape_pointer(name)}"
    home = Place(base.source, entry.value_span, pointer, base.object)
    options = tuple([Option(name, option.name, home, option) for option in _options(value)])
    key = Place(base.source, entry.key.span, pointer, base.object)
    return Section(name, key, home, value, options, {option.name: option for option in options})


def _unknown_keys_of(entry: Entry) -> str:
    """Return the placeholder that an entry has for a key, or merges in place of a mapping."""
    if entry.is_merge and isinstance(entry.value, Scalar):
        return entry.value.placeholder
    return entry.key.placeholder if isinstance(entry.key, Scalar) else ""


def _options(value: Node) -> list[Entry]:
    return value.effective_entries() if isinstance(value, Mapping) else []
