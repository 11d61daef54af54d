"""Modules that are no linear layers, by the names that reach them: PEFT adapts some and stops on the others."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.sites import is_target
from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json

_EMBEDDING = "Embedding"


@dataclass(frozen=True, slots=True)
class OtherModules:
    """The modules of a model type: paths of embeddings, which PEFT adapts, and of those on which it stops.

    Layer 0 stands for all layers (`schemas/catalog/module_names.json`).
    """

    embeddings: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """Return the last parts of the embeddings' paths."""
        return _last_parts(self.embeddings)

    @property
    def refused_names(self) -> tuple[str, ...]:
        """Return the last parts of the other paths; the numbers of layers are no names."""
        return tuple(name for name in _last_parts(self.refused) if not name.isdecimal())

    def is_embedding(self, name: str) -> bool:
        """Return whether a target name reaches an embedding."""
        return any(is_target(path, name) for path in self.embeddings)

    def is_refused(self, name: str) -> bool:
        """Return whether a target name reaches a module that PEFT cannot adapt, such as a norm or a whole block."""
        parts = ("0" if part.isdecimal() else part for part in name.split("."))
        wanted = ".".join(parts)
        return any(is_target(path, wanted) for path in self.refused)


def _last_parts(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path.rpartition(".")[2] for path in paths))


@lru_cache(maxsize=32)
def _of_type(model_type: str) -> OtherModules:
    row = read_json("catalog/module_names")["model_types"].get(model_type, {"adapted": {}, "refused": []})
    embeddings = tuple(path for path, kind in row["adapted"].items() if kind.endswith(_EMBEDDING))
    return OtherModules(embeddings, tuple(row["refused"]))


def other_modules(architecture: Architecture) -> OtherModules:
    """Return the modules of a model that are no linear layers; none are known of a type without a table."""
    return _of_type(architecture.model_type)
