"""The YAML inside a ConfigMap's `training_config.yaml`: sections and options with places in the outer file."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.manifests import Manifest, Place, escape_pointer
from kaitoc.compiler.records import dataclass
from kaitoc.compiler.scalar_map import ScalarMap, map_scalar
from kaitoc.compiler.source import Source, Span
from kaitoc.compiler.yaml_parser import parse_documents
from kaitoc.compiler.yaml_tree import Document, Entry, Mapping, Node, ProblemKind, Scalar, YamlProblem
from kaitoc.compiler.yaml_values import plain_value, value_problems

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

    @property
    def is_mapping(self) -> bool:
        """Return whether the section's value is a mapping, as Kaito's runtime requires."""
        return isinstance(self.node, Mapping)

    def option(self, name: str) -> Option | None:
        """Return the option of an exact name."""
        for option in self.options:
            if option.name == name:
                return option
        return None


@dataclass(frozen=True, slots=True, eq=False)
class TrainingConfig:
    """One inner document. `problems` are its YAML faults; `root` is None when they leave nothing to read.

    `host` is the place of the scalar in the outer file and `scalar_map` leads from inner to outer text; it is None
    for a template that no file of the user holds.
    """

    manifest: Manifest | None
    host: Place
    document: Document | None
    problems: tuple[YamlProblem, ...]
    sections: tuple[Section, ...]
    scalar_map: ScalarMap | None

    @property
    def root(self) -> Mapping | None:
        """Return the mapping under `training_config`, None when there is none."""
        document = self.document
        if document is None or not isinstance(document.root, Mapping):
            return None
        entry = document.root.get(ROOT_KEY)
        return entry.value if entry is not None and isinstance(entry.value, Mapping) else None

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
        for section in self.sections:
            if section.name == name:
                return section
        return None

    def option(self, section: str, name: str) -> Option | None:
        """Return an option of a section by its exact name."""
        found = self.section(section)
        return found.option(name) if found is not None else None


@lru_cache(maxsize=64)
def read_training_config(config_map: Manifest) -> TrainingConfig | None:
    """Read the training config of a ConfigMap, None when it has no `training_config.yaml` text."""
    found = config_map.field("data", DATA_KEY)
    if found is None or not isinstance(found.node, Scalar):
        return None
    scalar_map = map_scalar(config_map.source, found.node)
    documents = parse_documents(config_map.source, found.node.value, scalar_map.span)
    pointer = f"{found.value.pointer}"
    return _training_config(config_map, found.value, documents, pointer, scalar_map)


def read_template(name: str, text: str) -> TrainingConfig:
    """Read a default template, which no file of the user holds; its places are in a source named `<name>`."""
    source = Source(f"<{name}>", text)
    host = Place(source, Span(0, len(text)))
    return _training_config(None, host, parse_documents(source), "", None)


def _training_config(
    manifest: Manifest | None, host: Place, documents: list[Document], pointer: str, scalar_map: ScalarMap | None
) -> TrainingConfig:
    first = documents[0] if documents else None
    problems = list(first.problems) if first is not None else []
    if first is not None and first.root is not None:
        problems.extend(value_problems(first.root))
    if len(documents) > 1:
        span = documents[1].span
        start = min(span.start, host.span.end)
        message = "a second YAML document begins here; Kaito's runtime refuses more than one"
        problems.append(YamlProblem(ProblemKind.SECOND_DOCUMENT, message, Span(start, min(start + 3, host.span.end))))
    sections: list[Section] = []
    root = first.root if first is not None else None
    entry = root.get(ROOT_KEY) if isinstance(root, Mapping) else None
    if entry is not None and isinstance(entry.value, Mapping):
        base = Place(host.source, host.span, f"{pointer}/{ROOT_KEY}", host.object)
        sections = [_section(base, section) for section in entry.value.effective_entries()]
    return TrainingConfig(manifest, host, first, tuple(problems), tuple(sections), scalar_map)


def _section(base: Place, entry: Entry) -> Section:
    name, value = entry.name, entry.value
    pointer = f"{base.pointer}/{escape_pointer(name)}"
    home = Place(base.source, entry.value_span, pointer, base.object)
    inner = value.effective_entries() if isinstance(value, Mapping) else ()
    options = tuple(Option(name, option.name, home, option) for option in inner)
    return Section(name, Place(base.source, entry.key.span, pointer, base.object), home, value, options)
