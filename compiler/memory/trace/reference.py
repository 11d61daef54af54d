"""The reference of preference optimization: the base of an adapter, or a copy of a model that is trained whole."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from kaitoc.compiler.memory.workload import Reference, Workload

ReferenceModel = Callable[[], AbstractContextManager[Any]]


def reference_of(model: Any, workload: Workload, hold: Callable[[Any], None]) -> ReferenceModel | None:
    """Build the context manager that provides the reference model of a preference loss, None without one.

    `hold` takes notice of a copy's weights.
    """
    if workload.reference is Reference.NONE:
        return None
    if workload.reference is Reference.COPY:
        frozen = copy.deepcopy(model).requires_grad_(False)
        hold(frozen)
        return lambda: nullcontext(frozen)

    @contextmanager
    def base() -> Iterator[Any]:
        with model.disable_adapter():
            yield model

    return base
