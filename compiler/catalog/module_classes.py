"""The modules of a model type by what an adapter can do with them (`schemas/catalog/module_classes.json`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json


@dataclass(frozen=True, slots=True)
class ModuleClasses:
    """The last parts of module names: linear layers and embeddings take an adapter, others stop the job."""

    linear: tuple[str, ...]
    embedding: tuple[str, ...]
    other: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Return whether a name, or the end of a path, is that of a module that is no linear layer but exists."""
        return name.rpartition(".")[2] in self.embedding or self.takes_no_adapter(name)

    def takes_no_adapter(self, name: str) -> bool:
        """Return whether a name, or the end of a path, is that of a module that PEFT refuses to adapt."""
        last = name.rpartition(".")[2]
        return last in self.other or last.isdigit()

    def holds_weights(self, name: str) -> bool:
        """Return whether a name is that of a linear layer, or of a module with some inside."""
        last = name.rpartition(".")[2]
        containers = ("model", "transformer", "layers", "h", "self_attn", "attention", "self_attention", "attn", "mlp")
        return last in self.linear or last.isdigit() or (last in self.other and last in containers)


@lru_cache(maxsize=16)
def module_classes(model_type: str) -> ModuleClasses | None:
    """Return the modules of a model type, None for one that is not recorded."""
    row = _data()["modules"].get(model_type)
    if row is None:
        return None
    return ModuleClasses(tuple(row["linear"]), tuple(row["embedding"]), tuple(row["other"]))


@lru_cache(maxsize=1)
def _data() -> Any:
    return read_json("catalog/module_classes")
