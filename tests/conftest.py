"""What holds for the whole suite."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, max_examples=40)
settings.register_profile("soak", deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck))
settings.load_profile("suite")
"""No test is a measurement of time: the machine may be busy with something else."""

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Threads of tiny models wait for each other longer than they work, and without end beside other processes."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
"""The suite starts hundreds of processes, which would each compile all they import."""

_MANY_MODULES = 100
_num_frozen_modules = 0

_CACHE = TemporaryDirectory(prefix="kaitoc-tests-")
os.environ["KAITOC_CACHE_DIR"] = _CACHE.name
"""What runs of the tests cache is neither the user's nor kept."""


def pytest_configure() -> None:
    """Refuse two test files of one name, which the whole suite could not import beside each other."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    shared = [name for name, count in names.items() if count > 1]
    if shared:
        raise pytest.UsageError(f"several test files are called {', '.join(sorted(shared))}: give each its own name")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests where several processes share the suite: none then ends it alone."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    _freeze()


def pytest_runtest_teardown() -> None:
    """Freeze what a test imported where that is a library."""
    if len(sys.modules) > _num_frozen_modules + _MANY_MODULES:
        _freeze()


def _freeze() -> None:
    """Take what stays until the end out of each garbage collection, of which every run of the runtime asks for some."""
    global _num_frozen_modules
    _num_frozen_modules = len(sys.modules)
    gc.collect()
    gc.freeze()
