"""A suppression that suppresses nothing; the engine finds it once all other rules have run."""

from __future__ import annotations

from kaitoc.compiler.core.findings import Applicability, Severity

CODE = "KT109"
NAME = "unused-suppression"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"
