"""Says why nothing can be found in files whose YAML cannot be read, in the words of `kaitoc check`."""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.notes import note_of_unjudged
from kaitoc.compiler.core.source import SourceError
from kaitoc.compiler.manifest.inner_configs import inner_configs
from kaitoc.compiler.manifest.objects import ManifestFile


def require_readable(engine: Engine, file: ManifestFile) -> None:
    """Raise `SourceError` where a document of Kaito's, or a config in one, is not YAML."""
    file = engine.with_config_maps(file)
    if not _is_unreadable(file):
        return
    from kaitoc.rules.invalid_yaml import CODE, check  # all rules come with it, which no readable file needs

    fault = next(check(file), None)
    if fault is not None:
        path, start = file.source.path, file.source.position(fault.place.span.start)
        what = f"{path}:{start.line}:{start.column}: {CODE} {fault.message}"
        raise SourceError(what, path=path, line=start.line, column=start.column)


def _is_unreadable(file: ManifestFile) -> bool:
    if any(file.unreadable_documents()):
        return True
    configs = (config for config_map in file.config_maps for config in inner_configs(config_map))
    return any(config.document_root is None and config.problems for config in configs)


def nothing_found(what: str, files: Iterable[ManifestFile]) -> str:
    """Word that files hold nothing of a kind, and which of them were skipped."""
    return "\n".join([*filter(None, map(note_of_unjudged, files)), f"no {what} found in the given paths"])
