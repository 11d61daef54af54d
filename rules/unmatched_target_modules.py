"""`target_modules` that name layers the model does not have."""

from __future__ import annotations

from kaitoc.compiler.findings import Applicability, Severity

CODE = "KT401"
NAME = "unmatched-target-modules"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"
