"""Read measured fine-tunes from csv files (format: see `data/README.md`)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from kaitoc.compiler.catalog.gpus import Gpu, find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.workload import (
    Attention,
    Dtype,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Workload,
)


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
    workload = Workload(
        architecture=architecture,
        lora=_lora(row),
        batch_size=int(row["batch_size"]),
        seq_len_tokens=int(row["seq_len_tokens"]),
        stack=row["stack"],
        quantization=Quantization(row["quantization"]),
        double_quant=row["double_quant"] == "1",
        kbit_prep=row["kbit_prep"] == "1",
        dtype=Dtype(row["dtype"]),
        autocast=Dtype(row["autocast"]) if row["autocast"] else None,
        gradient_checkpointing=row["checkpointing"] == "1",
        attention=Attention(row["attention"]),
        loss=Loss(row.get("loss") or "full"),
        optimizer=Optimizer(row["optimizer"]),
    )
    return Measured(
        row["source"],
        workload,
        gpu,
        _bytes(row["allocated_bytes"]),
        _bytes(row["reserved_bytes"]),
        _bytes(row["device_bytes"]),
        row["out_of_memory"] == "1",
        row["note"],
    )


def _lora(row: dict[str, str]) -> Lora | None:
    if row["method"] == "full":
        return None
    rank = int(row["rank"])
    return Lora(rank, float(rank), float(row["dropout"]), tuple(row["targets"].split()), dora=row["method"] == "dora")


def _bytes(text: str) -> int | None:
    return int(float(text)) if text else None
