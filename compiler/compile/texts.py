"""The texts that a change makes, and whether their YAML is as whole as before."""

from __future__ import annotations

from kaitoc.compiler.core.edits import OverlapError, apply_edits
from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.inner_configs import inner_configs
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.passes.model import Change


def changed_texts(change: Change) -> dict[Source, str] | None:
    """Return the texts after a change, None when its edits get in each other's way."""
    by_source: dict[Source, list[Edit]] = {}
    for edit in change.edits:
        by_source.setdefault(edit.source, []).append(edit)
    try:
        return {source: apply_edits(source, edits) for source, edits in by_source.items()}
    except OverlapError:
        return None


def breaks_yaml(before: Source, text: str) -> bool:
    """Return whether a text has more faults in its YAML than the one it was made from."""
    after = Source(before.path, text, before.has_bom)
    return _num_problems(after) > _num_problems(before)


def _num_problems(source: Source) -> int:
    """Count the faults of a file's YAML, including the YAML inside ConfigMaps."""
    file = read_manifests(source)
    inner = [config for manifest in file.manifests if manifest.is_config_map for config in inner_configs(manifest)]
    outer = sum(len(document.problems) for document in file.documents)
    return outer + sum(len(config.problems) for config in inner)
