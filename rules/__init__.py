"""One module per rule; `RULES` is the whole rule set, ordered by code.

A rule is a module named after the fault it finds. Beside it lies a page of the same name, which is its documentation
and its test.
"""

from __future__ import annotations

from kaitoc.compiler.faults import FileRule, JobRule, Rule
from kaitoc.rules import (
    abbreviated_key,
    conflicting_quantization,
    dash_leading_value,
    does_not_fit,
    duplicate_key,
    empty_list,
    hyphenated_key,
    ignored_empty_mapping,
    invalid_choice,
    invalid_json,
    invalid_yaml,
    list_for_scalar,
    method_quantization_mismatch,
    missing_config_map,
    missing_training_config,
    negated_flag,
    nested_mapping,
    null_value,
    overridden_key,
    unknown_key,
    unknown_section,
    unmatched_target_modules,
    unsettable_key,
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
    invalid_choice,
    null_value,
    empty_list,
    nested_mapping,
    list_for_scalar,
    dash_leading_value,
    abbreviated_key,
    hyphenated_key,
    negated_flag,
    invalid_json,
    unsettable_key,
    overridden_key,
    ignored_empty_mapping,
    missing_config_map,
    method_quantization_mismatch,
    conflicting_quantization,
    unmatched_target_modules,
    does_not_fit,
)

RULES: tuple[Rule, ...] = (*FILE_RULES, *JOB_RULES)
