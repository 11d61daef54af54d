"""Read-only views of the Kubernetes objects in a file: Workspace and ConfigMap, and what else there is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.core.findings import ObjectRef
from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.tree import Document, Entry, Mapping, Node, Scalar, Sequence

KAITO_API_GROUP = "kaito.sh"
WORKSPACE_VERSIONS = ("v1alpha1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a file that a finding can name; `pointer` is an RFC 6901 pointer into the object."""

    source: Source
    span: Span
    pointer: str = ""
    object: ObjectRef | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object: where its key and its value stand and what the value is.

    An element of a sequence has no key; its `key` is where its value stands. Most fields are never named in a
    finding, so places are made when asked for.
    """

    source: Source
    key_span: Span
    value_span: Span
    node: Node
    pointer: str
    object: ObjectRef

    @property
    def key(self) -> Place:
        """Return where the key stands."""
        return Place(self.source, self.key_span, self.pointer, self.object)

    @property
    def value(self) -> Place:
        """Return where the value stands."""
        return Place(self.source, self.value_span, self.pointer, self.object)

    @property
    def text(self) -> str | None:
        """Return the value's text, None when it is not a scalar or null."""
        return scalar_text(self.node)


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """One Kubernetes object; `pointer` is not empty for an item of a `List`, `memo` is for what is read from it."""

    source: Source
    node: Mapping
    api_version: str
    ref: ObjectRef
    pointer: str = ""
    memo: Memo = field(default_factory=Memo, init=False)

    def field(self, *path: str) -> Field | None:
        """Return the field at a path of keys, None when a part of it is missing."""
        entry = self.entry(*path)
        if entry is None:
            return None
        return self._field(entry, self.pointer + _pointer(path))

    def given(self, *path: str) -> Field | None:
        """Return the field at a path, None when it is missing or null, which to Kubernetes is the same."""
        found = self.field(*path)
        return None if found is None or (isinstance(found.node, Scalar) and found.text is None) else found

    def entry(self, *path: str) -> Entry | None:
        """Return the entry at a path of keys, None when a part of it is missing."""
        node: Node = self.node
        entry: Entry | None = None
        for name in path:
            entry = node.get(name) if isinstance(node, Mapping) else None
            if entry is None:
                return None
            node = entry.value
        return entry

    def fields(self, *path: str) -> list[Field]:
        """Return the fields of the mapping at a path, or the elements of the sequence there."""
        parent = self.field(*path) if path else None
        node = parent.node if parent is not None else (None if path else self.node)
        pointer = parent.pointer if parent is not None else self.pointer
        if isinstance(node, Mapping):
            return [self._field(e, f"{pointer}/{escape_pointer(e.name)}") for e in node.effective_entries()]
        if isinstance(node, Sequence):
            return [
                Field(self.source, item.span, item.span, item.value, f"{pointer}/{index}", self.ref)
                for index, item in enumerate(node.items)
            ]
        return []

    def _field(self, entry: Entry, pointer: str) -> Field:
        return Field(self.source, entry.key.span, entry.value_span, entry.value, pointer, self.ref)

    def text(self, *path: str) -> str:
        """Return the text at a path, empty when it is missing or null."""
        entry = self.entry(*path)
        return (scalar_text(entry.value) or "") if entry is not None else ""

    @property
    def place(self) -> Place:
        """Return a spot that stands for the whole object: its name, else its kind."""
        named = self.field("metadata", "name") or self.field("kind")
        if named is not None:
            return named.value
        return Place(self.source, Span(self.node.span.start, self.node.span.start), self.pointer, self.ref)

    @property
    def is_workspace(self) -> bool:
        """Return whether this is a Kaito Workspace of any version."""
        return self.ref.kind == "Workspace" and self.api_version.partition("/")[0] == KAITO_API_GROUP

    @property
    def is_served(self) -> bool:
        """Return whether a release of Kaito that is known serves Workspaces of this object's version."""
        return self.api_version.partition("/")[2] in WORKSPACE_VERSIONS

    @property
    def is_tuning_workspace(self) -> bool:
        """Return whether this Workspace asks for a fine-tune, in a version that Kaito serves."""
        if not self.is_workspace or not self.is_served:
            return False
        tuning = self.node.get("tuning")
        return tuning is not None and isinstance(tuning.value, Mapping)

    @property
    def is_config_map(self) -> bool:
        """Return whether this is a core ConfigMap."""
        return self.ref.kind == "ConfigMap" and self.api_version == "v1"


def scalar_text(node: Node) -> str | None:
    """Return a scalar's text, None when the node is no scalar or null."""
    if not isinstance(node, Scalar):
        return None
    is_null = node.style is None and node.value in ("", "~", "null", "Null", "NULL")
    return None if is_null else node.value


@lru_cache(maxsize=1024)
def _pointer(path: tuple[str, ...]) -> str:
    """Return a path of keys as an RFC 6901 pointer; rules ask for the same few in every manifest."""
    return "".join([f"/{escape_pointer(name)}" for name in path])


def escape_pointer(name: str) -> str:
    """Return a key as a token of an RFC 6901 pointer."""
    return name.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True, eq=False)
class ManifestFile:
    """A file's YAML documents and the objects in them, in order."""

    source: Source
    documents: tuple[Document, ...]
    manifests: tuple[Manifest, ...] = field(default=())

    @property
    def concerns_kaito(self) -> bool:
        """Return whether the file holds, or by its text seems to hold, something of Kaito's."""
        if any(manifest.is_workspace for manifest in self.manifests):
            return True
        return "training_config" in self.source.text or "kaito.sh/" in self.source.text


def read_manifests(source: Source) -> ManifestFile:
    """Read the objects of a source; documents with syntax errors stay among `documents`."""
    documents = parse_documents(source)
    manifests = [
        manifest
        for document in documents
        if isinstance(document.root, Mapping)
        for manifest in _objects(source, document.root, "")
    ]
    return ManifestFile(source, tuple(documents), tuple(manifests))


def _objects(source: Source, root: Mapping, pointer: str, inherited: tuple[str, str] = ("", "")) -> Iterator[Manifest]:
    """Yield the object of a document, or the objects of a `List`.

    In a list of one kind, such as a WorkspaceList, objects that state neither version nor kind have the list's.
    """
    manifest = _manifest(source, root, pointer, inherited)
    items = root.get("items")
    if manifest.ref.kind.endswith("List") and items is not None and isinstance(items.value, Sequence):
        for index, item in enumerate(items.value.items):
            if isinstance(item.value, Mapping):
                below = (manifest.api_version, manifest.ref.kind.removesuffix("List"))
                yield from _objects(source, item.value, f"{pointer}/items/{index}", below if below[1] else ("", ""))
        return
    yield manifest


def _manifest(source: Source, root: Mapping, pointer: str, inherited: tuple[str, str]) -> Manifest:
    def text(node: Node, name: str) -> str:
        entry = node.get(name) if isinstance(node, Mapping) else None
        return (scalar_text(entry.value) or "") if entry is not None else ""

    metadata = root.get("metadata")
    inner: Node = metadata.value if metadata is not None else root
    is_named = metadata is not None
    api_version, kind = text(root, "apiVersion"), text(root, "kind")
    if not api_version and not kind:
        api_version, kind = inherited
    ref = ObjectRef(kind, text(inner, "namespace") if is_named else "", text(inner, "name") if is_named else "")
    return Manifest(source, root, api_version, ref, pointer)
