"""Score the memory of serving against what vLLM servers logged: `python tests/bench/memory/serving.py`.

A log that does not state its vLLM is taken with `UNSTATED`; sizes of caches are compared with what that version or the
newest one would log, the nearer one, as the two count hybrid models differently.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from kaitoc.compiler.catalog.gpus import Gpu, custom_gpu, find_gpu
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.footprint import ServingFootprint, serving_footprint
from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.weights import format_of
from kaitoc.compiler.memory.serving.workload import ServingWorkload

DATA = Path(__file__).parent / "data" / "serving" / "vllm.csv"
UNSTATED, NEWEST = "0.17.1", "0.25.1"
DEFAULT_UTILIZATION = 0.9
_USABLE = 0.985
"""Of a GPU's nominal GiB, what CUDA offers, as on the GPUs of the catalog."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One server's log."""

    row: dict[str, str]

    def number(self, name: str) -> float | None:
        """Return a stated number."""
        return float(self.row[name]) if self.row[name] else None

    def whole(self, name: str) -> int | None:
        """Return a stated whole number."""
        return int(self.row[name]) if self.row[name] else None

    @property
    def gpu(self) -> Gpu | None:
        """Return the GPU, where it is stated."""
        nominal = self.number("gpu_gib")
        return find_gpu(self.row["gpu"]) if self.row["gpu"] else custom_gpu(nominal * _USABLE) if nominal else None

    @property
    def is_complete(self) -> bool:
        """Return whether model, GPU, vLLM and utilization are stated, of a GPU in the catalog."""
        return all(self.row[name] for name in ("gpu", "vllm", "utilization", "available_gib"))

    def workload(self, vllm: str = "") -> ServingWorkload:
        """Return what was served."""
        model = served_model(self.row["model"])
        assert model is not None, self.row["model"]
        return ServingWorkload(
            model,
            vllm or self.row["vllm"] or UNSTATED,
            tensor_parallel=self.whole("tensor_parallel") or 1,
            utilization=self.number("utilization") or DEFAULT_UTILIZATION,
            max_length_tokens=self.whole("max_model_len"),
            max_sequences=self.whole("max_num_seqs"),
            max_batched_tokens=self.whole("max_num_batched_tokens"),
            kv_dtype=self.row["kv_dtype"],
            weight_format=format_of(model),
            eager=self.row["eager"] == "yes",
        )


def read_logs() -> list[Logged]:
    """Return every log."""
    with DATA.open(encoding="utf-8") as file:
        return [Logged(row) for row in csv.DictReader(line for line in file if not line.startswith("#"))]


def with_stated_cache(log: Logged, vllm: str = "") -> ServingFootprint:
    """Return the server with the KV cache that its log states."""
    available = log.number("available_gib")
    assert available is not None
    return serving_footprint(replace(log.workload(vllm), kv_cache_bytes=int(available * GIB)), log.gpu)


def token_errors() -> Iterator[tuple[str, float]]:
    """Yield the relative error of the tokens of each log that states its memory."""
    for log in read_logs():
        tokens, available = log.whole("kv_tokens"), log.number("available_gib")
        if tokens is None or available is None or available <= 0:
            continue
        found = {with_stated_cache(log, vllm).logged_kv_tokens / tokens - 1 for vllm in ("", NEWEST)}
        yield f"{log.row['id']} {log.row['model']}", min(found, key=abs)


def cache_errors(*, complete: bool) -> Iterator[tuple[str, float]]:
    """Yield the relative error of the memory for the KV cache where the GPU is stated, with or without the rest."""
    for log in read_logs():
        available = log.number("available_gib")
        if log.gpu is None or available is None or available <= 0 or log.is_complete is not complete:
            continue
        if log.row["note"] in ("", "with LMCache") and not (not complete and not log.row["utilization"]):
            found = serving_footprint(log.workload(), log.gpu).tightest.available_bytes / GIB
            yield f"{log.row['id']} {log.row['model']} {log.row['gpu'] or log.row['gpu_gib']}", found / available - 1


def weight_errors() -> Iterator[tuple[str, float]]:
    """Yield the relative error of the weights of one rank."""
    for log in read_logs():
        loaded = log.number("load_gib")
        if loaded is not None:
            found = serving_footprint(replace(log.workload(), kv_cache_bytes=GIB), None).tightest.weights_bytes / GIB
            yield f"{log.row['id']} {log.row['model']}", found / loaded - 1


def length_errors() -> Iterator[tuple[str, float]]:
    """Yield the relative error of the longest context of each refusal, and of the memory that it names."""
    for log in read_logs():
        longest, needed = log.whole("longest"), log.number("needed_gib")
        if longest is not None and needed is not None:
            found = with_stated_cache(log)
            yield f"{log.row['id']} longest", found.longest_tokens / longest - 1
            yield f"{log.row['id']} needed", found.needed_bytes / GIB / needed - 1


def wrongly_fitting() -> Iterator[str]:
    """Yield the logs of refusals of which the verdict is that they fit."""
    for log in read_logs():
        if "refused" not in log.row["note"]:
            continue
        available = log.number("available_gib")
        stated = with_stated_cache(log) if available is not None and available > 0 else None
        whole = stated or serving_footprint(log.workload(), log.gpu)
        if whole.verdict is not Verdict.DOES_NOT_FIT:
            yield log.row["id"]


def _table(title: str, errors: list[tuple[str, float]]) -> Iterator[str]:
    sizes = [abs(error) for _, error in errors]
    yield f"{title}: {len(errors)} rows, median {median(sizes):.2%}, mean {mean(sizes):.2%}"
    for name, error in errors:
        yield f"  {error:+8.2%}  {name}"


def main() -> None:
    """Print the tables."""
    for title, errors in (
        ("KV tokens, memory stated", token_errors()),
        ("memory for the KV cache, GPU, vLLM and utilization stated", cache_errors(complete=True)),
        ("memory for the KV cache, vLLM or GPU's memory not stated", cache_errors(complete=False)),
        ("weights of one rank", weight_errors()),
        ("refusals", length_errors()),
    ):
        print("\n".join(_table(title, list(errors))))
    print(f"refused but called fitting: {', '.join(wrongly_fitting()) or 'none'}")


if __name__ == "__main__":
    main()
