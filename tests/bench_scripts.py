"""Loads a script of tests/bench as a module: several of them are called alike."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).parent / "bench"


def load_bench(script: str) -> ModuleType:
    """Return the module of a script, named by its path below tests/bench."""
    spec = importlib.util.spec_from_file_location(script.removesuffix(".py").replace("/", "_"), BENCH / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
