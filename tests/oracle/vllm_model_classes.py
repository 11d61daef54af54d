"""Reads from a vLLM wheel which model classes take LoRA adapters, and on which embeddings: of the source, not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

_PACKAGE = "vllm.model_executor.models"
_PROTOCOL = "SupportsLoRA"
_EMBEDDINGS = "embedding_modules"


class ModelClasses:
    """The model classes of one wheel."""

    def __init__(self, wheel: Path) -> None:
        self._wheel = ZipFile(wheel)
        self._tree = cache(self._parse)
        self._known = dict(self._registered())

    def record(self, architecture: str) -> dict[str, Any] | None:
        """Return whether a class takes adapters, and the embeddings among what it takes.

        None for a model without a class of its own, such as one that runs by its code in transformers.
        """
        where = self._known.get(architecture)
        if where is None or self._file(where[0]) not in self._wheel.namelist():
            return None
        supports, embeddings = self._inherited(*where)
        return {"supports_lora": supports, "embeddings": embeddings or []}

    def _parse(self, module: str) -> ast.Module:
        return ast.parse(self._wheel.read(self._file(module)))

    def _file(self, module: str) -> str:
        return f"{_PACKAGE.replace('.', '/')}/{module}.py"

    def _registered(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield the module and the class of every architecture."""
        for node in ast.walk(self._tree("registry")):
            for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                    yield str(key.value), ast.literal_eval(value)

    def _inherited(self, module: str, name: str) -> tuple[bool, list[str] | None]:
        """Return what a class states or inherits, None for embeddings that no base names."""
        if name == _PROTOCOL:
            return True, None
        for node in ast.walk(self._tree(module)):
            if isinstance(node, ast.ClassDef) and node.name == name:
                bases = [self._inherited(module, ast.unparse(base).partition("[")[0]) for base in node.bases]
                stated = next(_embeddings(node), None)
                inherited = (embeddings for _, embeddings in bases if embeddings is not None)
                return any(supports for supports, _ in bases), next(inherited, None) if stated is None else stated
            if isinstance(node, ast.ImportFrom) and (node.level == 1 or (node.module or "").startswith(f"{_PACKAGE}.")):
                for imported in node.names:
                    if (imported.asname or imported.name) == name and imported.name != _PROTOCOL:
                        return self._inherited((node.module or "").rpartition(".")[2], imported.name)
        return False, None


def _embeddings(node: ast.ClassDef) -> Iterator[list[str]]:
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        value = getattr(line, "value", None)
        if target is not None and value is not None and ast.unparse(target) == _EMBEDDINGS:
            yield sorted(ast.literal_eval(value))
