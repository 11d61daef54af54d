"""Where a Kaito object holds values that are not known yet."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import ObjectRef
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.inner_configs import inner_configs
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile, Place, escape_pointer
from kaitoc.compiler.yaml.placeholders import mask
from kaitoc.compiler.yaml.tree import Mapping, Node, Scalar, Sequence, walk

_FREE_TEXTS = ("annotations", "labels", "managedFields")
"""Metadata that nothing of Kaito's reads."""


def unknown_places(manifest: Manifest) -> Iterator[tuple[Place, str]]:
    """Yield the places of an object's placeholders, those in its training config too, with what stands there."""
    if manifest.plain is None:
        yield from _below(manifest.source, manifest.ref, manifest.node, manifest.pointer)
    for config in inner_configs(manifest) if manifest.is_config_map else ():
        if config.document_root is not None:
            yield from _below(manifest.source, manifest.ref, config.document_root, config.host.pointer)


def may_hold_unknown(file: ManifestFile) -> bool:
    """Return whether a look at a file's text leaves open that it has a value that is not known; of most it does not."""
    return mask(file.source.text) is not None or any(is_encrypted(manifest) for manifest in file.manifests)


def unknown_nodes(file: ManifestFile) -> Iterator[Scalar]:
    """Yield the scalars of a file whose value is not known; of most files a look at the text tells that none is."""
    if mask(file.source.text) is None:
        return
    roots = [document.root for document in file.documents if document.root is not None]
    for manifest in file.manifests:
        configs = inner_configs(manifest) if manifest.is_config_map and manifest.plain is None else ()
        roots += [config.document_root for config in configs if config.document_root is not None]
    for root in roots:
        yield from (node for node in walk(root) if isinstance(node, Scalar) and node.placeholder)


def is_encrypted(manifest: Manifest) -> bool:
    """Return whether sops wrote an object: its checksum holds for every byte, so nothing in it can be edited."""
    entry = manifest.node.get("sops")
    return entry is not None and isinstance(entry.value, Mapping) and entry.value.get("mac") is not None


def _below(source: Source, ref: ObjectRef, node: Node, pointer: str) -> Iterator[tuple[Place, str]]:
    if isinstance(node, Scalar):
        if node.placeholder:
            yield Place(source, node.span, pointer, ref), node.placeholder
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _below(source, ref, item.value, f"{pointer}/{index}")
    else:
        for entry in node.effective_entries():
            here = f"{pointer}/{escape_pointer(entry.name)}"
            if (pointer.endswith("/metadata") and entry.name in _FREE_TEXTS) or here in ("/sops", "/status"):
                continue
            if isinstance(entry.key, Scalar) and entry.key.placeholder:
                yield Place(source, entry.key.span, here, ref), entry.key.placeholder
            yield from _below(source, ref, entry.value, here)
