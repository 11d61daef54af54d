"""The rules that judge runs of a plan on a cluster, listed apart: they are loaded when there is one."""

from __future__ import annotations

from kaitoc.compiler.job.faults import ClusterRule
from kaitoc.rules import (
    hidden_exit_code,
    invalid_failure_rule_name,
    invalid_run_name,
    mismatched_runtime,
    mismatched_world,
    misnamed_container,
    missing_plan,
    missing_trainer,
    node_local_results,
    outgrown_gpu,
    refused_restart_policy,
    replaced_node,
    reserved_variable,
    uncounted_processes,
    uninjected_environment,
    unreachable_main_process,
    unreadable_plan,
    version_bound_field,
)

CLUSTER_RULES: tuple[ClusterRule, ...] = (
    mismatched_world,
    unreadable_plan,
    missing_plan,
    invalid_run_name,
    missing_trainer,
    uncounted_processes,
    uninjected_environment,
    unreachable_main_process,
    misnamed_container,
    reserved_variable,
    refused_restart_policy,
    invalid_failure_rule_name,
    version_bound_field,
    node_local_results,
    replaced_node,
    outgrown_gpu,
    mismatched_runtime,
    hidden_exit_code,
)
