"""Reads the Kubernetes objects of a source, those in lists too, and a config that is a file of its own."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import ObjectRef
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile, is_null
from kaitoc.compiler.manifest.recognition import DATA_KEY, SERVING_DATA_KEY, has_sections, has_serving_keys
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.tree import Entry, Mapping, Node, Scalar, Sequence


def read_manifests(source: Source) -> ManifestFile:
    """Read the objects of a source; documents with syntax errors stay among `documents`."""
    documents = parse_documents(source)
    manifests = [
        manifest
        for document in documents
        if isinstance(document.root, Mapping)
        for manifest in _objects(source, document.root, "")
    ]
    file = ManifestFile(source, tuple(documents), tuple(manifests))
    root = documents[0].root if documents else None
    if isinstance(root, Mapping) and root.get("kind") is None:
        if has_sections(root):
            return as_plain_config(file, DATA_KEY)
        if has_serving_keys(root, source.path):
            return as_plain_config(file, SERVING_DATA_KEY)
    return file


def as_plain_config(file: ManifestFile, data_key: str) -> ManifestFile:
    """Return a file without objects as the config that a ConfigMap is made of; others as they are."""
    if any(manifest.ref.kind or manifest.plain is not None for manifest in file.manifests):
        return file
    source = file.source
    whole = Span(0, len(source.text))
    root = file.documents[0].root if file.documents else None
    first = root.entries[0].key.span if isinstance(root, Mapping) and root.entries else Span(0, 0)
    text = Scalar(whole, source.text, "|", None)
    data = Mapping(whole, [Entry(Scalar(first, data_key, None, None), text, whole)], False, None, is_plain=True)
    node = Mapping(whole, [Entry(Scalar(first, "data", None, None), data, whole)], False, None, is_plain=True)
    manifest = Manifest(source, node, "v1", ObjectRef("ConfigMap", "", ""), plain=file.documents)
    return ManifestFile(source, file.documents, (manifest,))


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
        """Read the text as written, also of a placeholder, since objects are told apart by it; null is empty."""
        entry = node.get(name) if isinstance(node, Mapping) else None
        value = entry.value if entry is not None else None
        return value.value if isinstance(value, Scalar) and not is_null(value) else ""

    metadata = root.get("metadata")
    inner: Node = metadata.value if metadata is not None else root
    is_named = metadata is not None
    api_version, kind = text(root, "apiVersion").removeprefix("/"), text(root, "kind")  # "/v1" has the empty group
    if not api_version and not kind:
        api_version, kind = inherited
    ref = ObjectRef(kind, text(inner, "namespace") if is_named else "", text(inner, "name") if is_named else "")
    return Manifest(source, root, api_version, ref, pointer)
