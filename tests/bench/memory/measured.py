"""Read measured fine-tunes from csv files (format: see `data/README.md`)."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu, find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.estimate import NO_AUTOCAST, FineTune, workload_from
from kaitoc.compiler.memory.sharing import SharingRequest
from kaitoc.compiler.memory.workload import Workload

DEFAULT_RANK = 8
LEAVES_OTHERS_EMPTY = "2024-10-18"
"""Until then fms-acceleration kept transformers 4.45 from reading quantized weights on one process alone (its commit
fc78b55, `patched_is_local_dist_rank_0`), and earlier ones did not."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured run; byte counts are None where they were not measured."""

    source: str
    workload: Workload
    gpu: Gpu
    allocated_bytes: int | None
    reserved_bytes: int | None
    device_bytes: int | None
    out_of_memory: bool
    note: str
    kernels: str = "plain"
    end_bytes: int | None = None


def read_measured(folder: Path) -> list[Measured]:
    """Read every csv file of a folder; raises `ValueError` naming file and line of a row that is not understood."""
    rows = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            lines = [line for line in file if not line.startswith("#")]
        for number, row in enumerate(csv.DictReader(lines), start=2):
            try:
                rows.append(_measured(row))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}: data line {number}: {error}") from error
    return rows


def _measured(row: dict[str, str]) -> Measured:
    architecture, gpu = find_model(row["model"]), find_gpu(row["gpu"])
    if architecture is None or gpu is None:
        raise ValueError(f"unknown model {row['model']!r} or GPU {row['gpu']!r}")
    workload = workload_from(_options(row, architecture))
    if workload.sharding.is_sharded:
        # fms-acceleration has the defaults of `accelerate launch` but for `fsdp_backward_prefetch_policy`
        changes = {"prefetches_backward": True}
        changes["others_hold_nothing"] = row["note"].split()[1] >= LEAVES_OTHERS_EMPTY
        workload = replace(workload, sharding=replace(workload.sharding, **changes))
    return Measured(
        row["source"],
        workload,
        gpu,
        _bytes(row["allocated_bytes"]),
        _bytes(row["reserved_bytes"]),
        _bytes(row["device_bytes"]),
        row["out_of_memory"] == "1",
        row["note"],
        row.get("kernels") or "plain",
        _bytes(row.get("end_bytes") or ""),
    )


def _options(row: dict[str, str], architecture: Architecture) -> FineTune:
    """Return a row as the options of `kaitoc estimate`, which is what is scored."""
    num_gpus = int(row.get("num_gpus") or 1)
    is_quantized = row["quantization"] != "none"
    method = "qlora" if is_quantized else "full" if row["method"] == "full" else "lora"
    return FineTune(
        architecture=architecture,
        stack=row["stack"],
        method=method,
        batch_size=int(row["batch_size"]),
        seq_len_tokens=int(row["seq_len_tokens"]),
        rank=int(row["rank"] or DEFAULT_RANK),
        targets=tuple(row["targets"].split()),
        dropout=float(row["dropout"] or 0.0),
        dora=row["method"] == "dora",
        dtype=row["dtype"],
        autocast=row["autocast"] or NO_AUTOCAST,
        gradient_checkpointing=row["checkpointing"] == "1",
        attention=row["attention"],
        loss=row.get("loss") or "full",
        optimizer=row["optimizer"],
        quantization=row["quantization"],
        double_quant=row["double_quant"] == "1",
        group_size=int(row.get("group_size") or 0) or None,
        kbit_prep=row["kbit_prep"] == "1",
        num_gpus=num_gpus,
        sharing=SharingRequest("fsdp1" if num_gpus > 1 else "ddp"),
    )


def _bytes(text: str) -> int | None:
    return int(float(text)) if text else None
