"""One module per rule; `RULES` is the whole rule set, ordered by code.

A rule is a module named after the fault it finds. Beside it lies a page of the same name, which is its documentation
and its test.
"""

from __future__ import annotations

from kaitoc.compiler.faults import FileRule, JobRule, Rule
from kaitoc.rules import (
    conflicting_quantization,
    does_not_fit,
    duplicate_key,
    invalid_yaml,
    method_quantization_mismatch,
    missing_config_map,
    missing_training_config,
    unknown_key,
    unknown_section,
    unmatched_target_modules,
    wrong_type,
)

FILE_RULES: tuple[FileRule, ...] = (
    invalid_yaml,
    duplicate_key,
)

JOB_RULES: tuple[JobRule, ...] = (
    missing_training_config,
    unknown_section,
    unknown_key,
    wrong_type,
    missing_config_map,
    method_quantization_mismatch,
    conflicting_quantization,
    unmatched_target_modules,
    does_not_fit,
)

RULES: tuple[Rule, ...] = (*FILE_RULES, *JOB_RULES)
