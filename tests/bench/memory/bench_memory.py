"""Hold the closed form to the trace on the whole grid, score it against measured runs, and set its peers beside it.

`--only NAME` traces some models only, `--sample N --seed S` some cases only; figures traced before are kept under
`build/`, so that a stopped run goes on. `--write` puts the table into `docs/memory.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from grid import Case, cases, fingerprint, shapes

from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.memory.closed_form.footprint import footprint

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TOLERANCE = 0.02
NUM_WORST = 12
PAGE = ROOT / "docs" / "memory.md"
BEGIN, END = "<!-- grid: begin -->", "<!-- grid: end -->"


@dataclass(frozen=True, slots=True)
class Compared:
    """The closed form beside the trace; `phases` are relative differences by phase."""

    case: Case
    share: float
    phases: dict[str, float]
    reserved_share: float

    @property
    def agrees(self) -> bool:
        """Whether the allocated peaks are within the tolerance."""
        return abs(self.share) <= TOLERANCE


def main() -> int:
    """Run what is missing of the grid and print its tables; exit 1 when a case disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="models whose name contains one of these")
    parser.add_argument("--sample", type=int, metavar="N", help="that many cases, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--cached", action="store_true", help="trace nothing, compare what was traced before")
    parser.add_argument("--write", action="store_true", help="put the table into docs/memory.md")
    arguments = parser.parse_args()
    if arguments.write and (arguments.only or arguments.sample is not None):
        parser.error("--write needs the whole grid: leave --only and --sample out")
    chosen = _chosen(arguments.only, arguments.sample, arguments.seed)
    if not arguments.cached:
        _trace_missing(chosen)
    compared, refused = _compare(chosen)
    table = f"{_coverage(compared, len(chosen))}\n\n{grid_table(compared)}"
    print(table)
    print(_worst(compared))
    if arguments.write:
        _write(table)
    for name, error in refused:
        print(f"not traced: {name}: {error}")
    return 0 if compared and all(one.agrees for one in compared) else 1


def _chosen(only: list[str], sample: int | None, seed: int) -> list[Case]:
    names = [model.name for model in shapes() if not only or any(part in model.name for part in only)]
    every = [case for name in names for case in cases(name)]
    if sample is None or sample >= len(every):
        return every
    drawn = set(random.Random(seed).sample([case.name for case in every], sample))
    return [case for case in every if case.name in drawn]


def _cache(model: str) -> Path:
    folder = ROOT / "build" / "memory-grid" / fingerprint()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{model}.jsonl"


def _known(model: str) -> dict[str, dict[str, object]]:
    path = _cache(model)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line["case"]: line for line in map(json.loads, lines)}


def _trace_missing(chosen: list[Case]) -> None:
    """Trace one model after the other, each in a process of its own."""
    by_model: dict[str, list[Case]] = defaultdict(list)
    for case in chosen:
        by_model[case.model].append(case)
    for model, wanted in by_model.items():
        known = _known(model)
        missing = [case.name for case in wanted if case.name not in known]
        if not missing:
            continue
        print(f"tracing {model}: {len(missing)} cases", file=sys.stderr, flush=True)
        with _cache(model).open("a", encoding="utf-8") as out:
            subprocess.run(  # our own script and interpreter
                [sys.executable, "-W", "ignore", str(HERE / "grid.py"), model],
                input="\n".join(missing),
                text=True,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=True,
            )


def _compare(chosen: list[Case]) -> tuple[list[Compared], list[tuple[str, str]]]:
    compared, refused = [], []
    known: dict[str, dict[str, dict[str, object]]] = {}
    for case in chosen:
        lines = known.setdefault(case.model, _known(case.model))
        line = lines.get(case.name)
        if line is None:
            continue
        if "error" in line:
            refused.append((case.name, str(line["error"])))
            continue
        compared.append(_compared(case, line))
    return compared, refused


def _compared(case: Case, line: dict[str, object]) -> Compared:
    predicted = footprint(case.workload())
    traced: dict[str, int] = line["phases"]  # type: ignore[assignment]  # our own JSON
    phases = {peak.phase.value: peak.allocated_bytes / traced[peak.phase.value] - 1.0 for peak in predicted.phases}
    reserved = float(str(line["reserved_bytes"]))
    return Compared(
        case, predicted.allocated_bytes / max(traced.values()) - 1.0, phases, predicted.reserved_bytes / reserved - 1.0
    )


def grid_table(compared: list[Compared]) -> str:
    """Return the agreement by method and checkpointing."""
    groups: dict[tuple[str, bool], list[Compared]] = defaultdict(list)
    for one in compared:
        groups[one.case.method, one.case.gradient_checkpointing].append(one)
        groups["all", True].append(one)
    lines = [
        "| method | checkpointing | cases | within 2% | mean | worst | worst case |",
        "|---|---|---|---|---|---|---|",
    ]
    for (method, checkpointing), found in groups.items():
        worst = max(found, key=lambda one: abs(one.share))
        mean = sum(abs(one.share) for one in found) / len(found)
        within = sum(one.agrees for one in found)
        switch = "" if method == "all" else "on" if checkpointing else "off"
        lines.append(
            f"| {method} | {switch} | {len(found)} | {within} | {mean:.2%} | {worst.share:+.2%} | {worst.case.name} |"
        )
    return "\n".join(lines)


def _coverage(compared: list[Compared], num_chosen: int) -> str:
    num_models = len({one.case.model for one in compared})
    num_within = sum(one.agrees for one in compared)
    return (
        f"{len(compared):,} of {num_chosen:,} cases of {num_models} models were traced; {num_within:,} of them agree "
        f"within {TOLERANCE:.0%}."
    )


def _write(table: str) -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    write_atomically(PAGE, f"{before}{BEGIN}\n{table}\n{END}{after}".encode())


def _worst(compared: list[Compared]) -> str:
    """Return the cases that differ most, by phase, each shape's worst only."""
    by_shape: dict[tuple[str, str, bool], Compared] = {}
    for one in compared:
        key = (one.case.model, one.case.method, one.case.gradient_checkpointing)
        if key not in by_shape or abs(one.share) > abs(by_shape[key].share):
            by_shape[key] = one
    worst = sorted(by_shape.values(), key=lambda one: -abs(one.share))[:NUM_WORST]
    lines = []
    for one in worst:
        phases = " ".join(f"{name} {share:+.1%}" for name, share in one.phases.items())
        lines.append(f"{one.share:+7.2%}  {one.case.name}  [{phases}; reserved {one.reserved_share:+.1%}]")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
