"""The texts of manifests, read when they are needed and held while there is room."""

from __future__ import annotations

from kaitoc.compiler.core.memo import SizedCache
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.manifest.reading import as_plain_config, read_manifests

_CACHED_CHARACTERS = 2_000_000
_LEAST_CHARACTERS = 8_000
"""What a file counts for at least, so that of small ones 250 are held."""


@dataclass(slots=True)
class FileStore:
    """Reads the objects of files, and of texts that replace, or are not, files on disk."""

    texts: dict[str, Source] = field(default_factory=dict)
    _held: SizedCache[str, ManifestFile] = field(default_factory=lambda: SizedCache(_CACHED_CHARACTERS))

    def held(self, path: str) -> ManifestFile | None:
        """Look up a file's objects without reading it, None where they are not held."""
        return self._held.get(path)

    def load(self, path: str, config_key: str | None = None) -> ManifestFile:
        """Read a file's objects unless they are held; raises `SourceError`.

        `config_key` is given for a file that kustomize makes a ConfigMap's entry of that name.
        """
        held = self._held.get(path)
        if held is not None:
            return held
        loaded = read_manifests(self.texts.get(path) or Source.read(path))
        if config_key is not None:
            loaded = as_plain_config(loaded, config_key)
        self.hold(path, loaded)
        return loaded

    def hold(self, path: str, file: ManifestFile) -> None:
        """Keep a file's objects for later questions."""
        self._held.put(path, file, max(_LEAST_CHARACTERS, len(file.source.text)))

    def text_of(self, path: str) -> Source | None:
        """Read a file's text, None where it cannot be read."""
        try:
            return self.texts.get(path) or Source.read(path)
        except SourceError:
            return None
