"""The error of a catalog whose data is incomplete."""

from __future__ import annotations

from kaitoc.compiler.core.source import UserError


class CatalogError(UserError):
    """An entry of a catalog that lacks something; `str(error)` names the file, the entry and what is missing."""
