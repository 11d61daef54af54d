"""The error of a catalog whose data is incomplete."""

from __future__ import annotations

from kaitoc.compiler.core.errors import KaitocError


class CatalogError(KaitocError):
    """An entry of a catalog that lacks something; `str(error)` names the file, the entry and what is missing."""
