"""Read-only views of the Kubernetes objects in a file: Workspace and ConfigMap, and what else there is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.core.findings import ObjectRef
from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass, field, replace
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.manifest.recognition import KAITO_API_GROUP, looks_like_kaitos
from kaitoc.compiler.yaml.placeholders import UnknownValueError, template_action
from kaitoc.compiler.yaml.tree import Document, Entry, Mapping, Node, Scalar, Sequence, placeholder_of

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
        """Span of the key in the file."""
        return Place(self.source, self.key_span, self.pointer, self.object)

    @property
    def value(self) -> Place:
        """Span of the value in the file."""
        return Place(self.source, self.value_span, self.pointer, self.object)

    @property
    def text(self) -> str | None:
        """Return the value's text, None when it is not a scalar or null; raises `UnknownValueError`."""
        return scalar_text(self.node)

    @property
    def is_known(self) -> bool:
        """Return whether no placeholder stands in the value."""
        return not placeholder_of(self.node)


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """One Kubernetes object; `pointer` is not empty for an item of a `List`, `memo` is for what is read from it.

    `plain` are the documents of a file that is a training config itself: it stands for the ConfigMap that
    `kubectl create configmap --from-file` or kustomize makes of it.
    """

    source: Source
    node: Mapping
    api_version: str
    ref: ObjectRef
    pointer: str = ""
    plain: tuple[Document, ...] | None = None
    memo: Memo = field(default_factory=Memo, init=False)

    def named(self, name: str, namespace: str) -> Manifest:
        """Return the object under another name."""
        return replace(self, ref=ObjectRef(self.ref.kind, namespace, name))

    def field(self, *path: str) -> Field | None:
        """Return the field at a path of keys, None when a part of it is missing; raises `UnknownValueError`."""
        entry = self.entry(*path)
        if entry is None:
            return None
        return self._field(entry, self.pointer + _pointer(path))

    def given(self, *path: str) -> Field | None:
        """Return the field at a path, None when it is missing or null, which to Kubernetes is the same."""
        found = self.field(*path)
        return None if found is None or (isinstance(found.node, Scalar) and is_null(found.node)) else found

    def entry(self, *path: str) -> Entry | None:
        """Return the entry at a path of keys, None when a part of it is missing.

        Raises `UnknownValueError` where a placeholder stands for the part that would hold it.
        """
        node: Node = self.node
        entry: Entry | None = None
        for name in path:
            if not isinstance(node, Mapping):
                _refuse_unknown(node)
                return None
            entry = node.get(name)
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
        """Return the text at a path, empty when it is missing or null; raises `UnknownValueError`."""
        entry = self.entry(*path)
        return (scalar_text(entry.value) or "") if entry is not None else ""

    def known_text(self, *path: str) -> str | None:
        """Return the text at a path, empty when it is missing or null, None when it is not known yet."""
        try:
            return self.text(*path)
        except UnknownValueError:
            return None

    def written_text(self, *path: str) -> str:
        """Return the text at a path as it is written, placeholders too; empty when it is missing or null."""
        node: Node = self.node
        for name in path:
            entry = node.get(name) if isinstance(node, Mapping) else None
            if entry is None:
                return ""
            node = entry.value
        return node.value if isinstance(node, Scalar) and not is_null(node) else ""

    @property
    def place(self) -> Place:
        """Return a spot that stands for the whole object: its name, else its kind."""
        named = self.field("metadata", "name") or self.field("kind")
        if named is not None:
            return named.value
        return Place(self.source, Span(self.node.span.start, self.node.span.start), self.pointer, self.ref)

    @property
    def is_kaitos(self) -> bool:
        """Return whether this is an object of Kaito's API."""
        return self.api_version.partition("/")[0] == KAITO_API_GROUP

    @property
    def is_workspace(self) -> bool:
        """Return whether this is a Kaito Workspace of any version."""
        return self.ref.kind == "Workspace" and self.is_kaitos

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
    """Return a scalar's text, None when the node is no scalar or null; raises `UnknownValueError`."""
    if not isinstance(node, Scalar):
        return None
    if node.placeholder:
        raise UnknownValueError(node.placeholder)
    return None if is_null(node) else node.value


def is_null(scalar: Scalar) -> bool:
    """Return whether a scalar is null, as YAML 1.1 writes it."""
    return scalar.style is None and scalar.value in ("", "~", "null", "Null", "NULL")


def _refuse_unknown(node: Node) -> None:
    """Raise `UnknownValueError` where a placeholder stands, which may become a mapping."""
    if isinstance(node, Scalar) and node.placeholder:
        raise UnknownValueError(node.placeholder)


@lru_cache(maxsize=1024)
def _pointer(path: tuple[str, ...]) -> str:
    """Return a path of keys as an RFC 6901 pointer; rules ask for the same few in every manifest."""
    return "".join([f"/{escape_pointer(name)}" for name in path])


def escape_pointer(name: str) -> str:
    """Return a key as a token of an RFC 6901 pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def unescape_pointer(token: str) -> str:
    """Return the key that a token of an RFC 6901 pointer stands for."""
    return token.replace("~1", "/").replace("~0", "~")


@dataclass(frozen=True, slots=True, eq=False)
class ManifestFile:
    """A file's YAML documents and the objects in them, in order.

    `config_maps` are those that hold Kaito's training configs; who reads a file alone does not know of them.
    """

    source: Source
    documents: tuple[Document, ...]
    manifests: tuple[Manifest, ...] = field(default=())
    config_maps: tuple[Manifest, ...] = field(default=())

    @property
    def concerns_kaito(self) -> bool:
        """Return whether the file holds, or where it cannot be read seems to hold, something of Kaito's."""
        if self.config_maps or any(manifest.is_kaitos for manifest in self.manifests):
            return True
        text = self.source.text
        return any(looks_like_kaitos(text[span.start : span.end]) for _, span in self.unreadable_documents())

    @property
    def is_plain(self) -> bool:
        """Return whether the file is a training config itself."""
        return any(manifest.plain is not None for manifest in self.manifests)

    def unreadable_documents(self) -> Iterator[tuple[Document, Span]]:
        """Yield the documents that are not YAML, each with its extent; its own span is that of the fault."""
        for index, document in enumerate(self.documents):
            if document.root is None and document.problems:
                start = self.documents[index - 1].span.end if index else 0
                is_last = index + 1 == len(self.documents)
                end = len(self.source.text) if is_last else self.documents[index + 1].span.start
                yield document, Span(start, max(start, end))

    def templates(self) -> Iterator[tuple[Document, Span]]:
        """Yield the documents that are templates and so no YAML, each with the place of the first action."""
        for document, span in self.unreadable_documents():
            action = template_action(self.source.slice(span))
            if action is not None:
                yield document, Span(span.start + action, min(span.start + action + 2, span.end))
