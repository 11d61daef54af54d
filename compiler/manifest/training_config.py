"""The YAML inside a ConfigMap's `training_config.yaml`: sections and options with places in the outer file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.manifest.objects import Manifest, Place, escape_pointer
from kaitoc.compiler.yaml.inner import InnerYaml, read_inner_yaml
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.scalar_map import ScalarMap
from kaitoc.compiler.yaml.tree import Entry, Mapping, Node, ProblemKind, Scalar, YamlProblem
from kaitoc.compiler.yaml.values import plain_value

DATA_KEY = "training_config.yaml"
ROOT_KEY = "training_config"
SECTIONS = (
    "ModelConfig",
    "QuantizationConfig",
    "LoraConfig",
    "TrainingArguments",
    "DatasetConfig",
    "DataCollator",
)


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
        """Return where the key stands."""
        return self._place(self.entry.key.span)

    @property
    def value(self) -> Place:
        """Return where the value stands."""
        return self._place(self.entry.value_span)

    def _place(self, span: Span) -> Place:
        home = self.home
        return Place(home.source, span, f"{home.pointer}/{escape_pointer(self.name)}", home.object)

    @property
    def plain(self) -> object:
        """Return the value as PyYAML's `safe_load` reads it."""
        return plain_value(self.node)


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
        """Return whether the section's value is a mapping, as Kaito's runtime requires."""
        return isinstance(self.node, Mapping)

    def option(self, name: str) -> Option | None:
        """Return the option of an exact name."""
        return self._by_name.get(name)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingConfig:
    """One inner document. `problems` are its YAML faults; `document_root` is None when they leave nothing to read.
    `memo` is for what follows from the text alone: configs of equal texts share it.

    `host` is the place of the scalar in the outer file and `scalar_map` leads from inner to outer text; it is None
    for a template that no file of the user holds.
    """

    host: Place
    document_root: Node | None
    problems: tuple[YamlProblem, ...]
    sections: tuple[Section, ...]
    scalar_map: ScalarMap | None
    memo: Memo
    _by_name: dict[str, Section]

    @property
    def root(self) -> Mapping | None:
        """Return the mapping under `training_config`, None when there is none."""
        return _below_root_key(self.document_root)

    @property
    def is_readable(self) -> bool:
        """Return whether PyYAML would read the document, so that rules may look at its values."""
        return self.root is not None and not any(
            problem.kind is not ProblemKind.DUPLICATE_KEY for problem in self.problems
        )

    @property
    def is_editable(self) -> bool:
        """Return whether edits can be placed exactly in the user's file."""
        return self.scalar_map is not None and self.scalar_map.exact

    def section(self, name: str) -> Section | None:
        """Return the section of a name."""
        return self._by_name.get(name)

    def option(self, section: str, name: str) -> Option | None:
        """Return an option of a section by its exact name."""
        found = self.section(section)
        return found.option(name) if found is not None else None


def read_training_config(config_map: Manifest) -> TrainingConfig | None:
    """Read the training config of a ConfigMap, None when it has no `training_config.yaml` text."""
    return config_map.memo.get(DATA_KEY, lambda: _read(config_map))


def _read(config_map: Manifest) -> TrainingConfig | None:
    found = config_map.field("data", DATA_KEY)
    if found is None or not isinstance(found.node, Scalar):
        return None
    inner = read_inner_yaml(config_map.source, found.node)
    problems = (*inner.problems, *_second_document(found.value, inner))
    return _training_config(found.value, inner.root, problems, inner.scalar_map, inner.memo)


@lru_cache(maxsize=16)
def read_template(name: str, text: str) -> TrainingConfig:
    """Read a default template, which no file of the user holds; its places are in a source named `<name>`."""
    source = Source(f"<{name}>", text)
    host = Place(source, Span(0, len(text)))
    (document,) = parse_documents(source)
    return _training_config(host, document.root, tuple(document.problems), None, Memo())


def _training_config(
    host: Place, root: Node | None, problems: tuple[YamlProblem, ...], scalar_map: ScalarMap | None, memo: Memo
) -> TrainingConfig:
    sections = _sections(host, root)
    by_name = {section.name: section for section in sections}
    return TrainingConfig(host, root, problems, sections, scalar_map, memo, by_name)


def _second_document(host: Place, inner: InnerYaml) -> Iterator[YamlProblem]:
    if inner.second_document is not None:
        end = host.span.end
        start = min(inner.second_document.start, end)
        message = "a second YAML document begins here; Kaito's runtime refuses more than one"
        yield YamlProblem(ProblemKind.SECOND_DOCUMENT, message, Span(start, min(start + 3, end)))


def _sections(host: Place, root: Node | None) -> tuple[Section, ...]:
    config = _below_root_key(root)
    if config is None:
        return ()
    base = Place(host.source, host.span, f"{host.pointer}/{ROOT_KEY}", host.object)
    return tuple([_section(base, section) for section in config.effective_entries()])


def _below_root_key(root: Node | None) -> Mapping | None:
    entry = root.get(ROOT_KEY) if isinstance(root, Mapping) else None
    return entry.value if entry is not None and isinstance(entry.value, Mapping) else None


def _section(base: Place, entry: Entry) -> Section:
    name, value = entry.name, entry.value
    pointer = f"{base.pointer}/{escape_pointer(name)}"
    home = Place(base.source, entry.value_span, pointer, base.object)
    options = tuple([Option(name, option.name, home, option) for option in _options(value)])
    key = Place(base.source, entry.key.span, pointer, base.object)
    return Section(name, key, home, value, options, {option.name: option for option in options})


def _options(value: Node) -> list[Entry]:
    return value.effective_entries() if isinstance(value, Mapping) else []
