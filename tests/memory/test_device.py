from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.gpus import all_gpus, context_reports, find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.closed_form.footprint import footprint, margin_bytes, verdict
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.workload import Allocator, Lora, Workload

MODEL = find_model("llama-3.2-1b")
A100 = find_gpu("A100-80GB")
T4 = find_gpu("T4")
assert MODEL is not None
assert A100 is not None
assert T4 is not None
WORKLOAD = Workload(MODEL, Lora(), 4, 1024, "transformers-5", gradient_checkpointing=True)


def test_a_context_grows_with_the_threads_a_gpu_holds() -> None:
    assert device.context_bytes(T4) < device.context_bytes(A100)


def test_every_reported_context_lies_within_its_predictions_interval() -> None:
    for report in context_reports():
        assert report.source.startswith("https://")
        measured = (report.in_use_gib - report.allocated_gib) * 1024 - report.unallocated_mib
        gpu = next(gpu for gpu in all_gpus() if gpu.model == report.model)
        assert 0.75 <= measured * device.MIB / device.context_bytes(gpu) <= 1.25, report


def test_a_gpu_without_a_report_takes_a_context_by_its_threads() -> None:
    v100, h200 = find_gpu("V100-16GB"), find_gpu("H200-141GB")
    assert v100 is not None
    assert h200 is not None
    share = device.context_bytes(v100) / v100.resident_threads
    assert device.context_bytes(h200) / h200.resident_threads == pytest.approx(share, rel=1e-6)
    assert 1024 < share < 4096


def test_hopper_takes_larger_cublas_workspaces() -> None:
    assert device.cublas_workspace_bytes(find_gpu("H100-80GB")) > device.cublas_workspace_bytes(A100)


def test_ddp_adds_nccl_buffers_and_a_copy_of_the_gradients() -> None:
    alone, together = footprint(WORKLOAD, A100), footprint(replace(WORKLOAD, num_gpus=2), A100)
    assert together.context_bytes > alone.context_bytes
    assert together.peak.categories.gradients > alone.peak.categories.gradients


def test_nccl_holds_twelve_mib_for_each_of_four_channels_over_pcie_and_of_24_over_nvlink() -> None:
    together = replace(WORKLOAD, num_gpus=2)
    l4 = find_gpu("L4-24GB")
    assert l4 is not None
    assert not l4.nvlink
    assert device.nccl_bytes(together, l4) == 48 * device.MIB
    assert device.nccl_bytes(together, A100) == device.nccl_bytes(together, None) == 288 * device.MIB
    assert device.nccl_bytes(WORKLOAD, l4) == 0


def test_expandable_segments_lower_reserved_memory_and_leave_allocated_memory_alone() -> None:
    default = footprint(WORKLOAD, A100)
    expandable = footprint(replace(WORKLOAD, allocator=Allocator.EXPANDABLE), A100)
    assert expandable.reserved_bytes < default.reserved_bytes
    assert expandable.allocated_bytes == default.allocated_bytes


def test_the_interval_holds_the_prediction() -> None:
    found = footprint(WORKLOAD, A100)
    assert found.allocated_bytes <= found.low_bytes <= found.device_bytes <= found.high_bytes


def test_a_verdict_needs_the_whole_interval_on_one_side() -> None:
    found = footprint(WORKLOAD, A100)
    tight = replace(A100, memory_bytes=(found.low_bytes + found.high_bytes) // 2)
    assert verdict(found, A100, 0.05) is Verdict.FITS
    assert verdict(found, tight, 0.05) is Verdict.TIGHT
    assert verdict(found, replace(A100, memory_bytes=found.low_bytes - 1), 0.05) is Verdict.DOES_NOT_FIT


def test_the_margin_is_what_the_central_prediction_leaves() -> None:
    found = footprint(WORKLOAD, A100)
    assert margin_bytes(found, A100) == A100.memory_bytes - found.device_bytes
