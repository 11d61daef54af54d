"""Take nodes from runs of two at random steps, as a cluster does; each must end as a run that was left alone.

What starts the nodes anew is played as JobSet does it with what `--emit` writes: a node that failed has all start
again, one that ended with 2 or 3 ends the run. A node that survives must end by itself.

Usage: python tests/soak/soak_nodes.py [SEED [KIND...]]
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

from child_runs import ChildRun  # noqa: E402  (after the path)
from node_runs import NodeRuns, freeze_node, kill_node, kill_process, served  # noqa: E402
from short_plan import short_plan  # noqa: E402

from kaitoc.compiler.plan.plan import Plan  # noqa: E402

NUM_FAULTS = 5
NUM_STEPS = 60
NUM_DOWNLOADS = 20
FINAL_CODES = {2, 3}
SILENCE_SECONDS = 5.0
TRAINING = {"max_steps": NUM_STEPS, "save_strategy": "steps", "save_steps": 4, "save_total_limit": 2}
ROWS = "".join(f'{{"text": "Rule {row} finds {"a key. " * (1 + row % 5)}"}}\n' for row in range(40))


@dataclass(frozen=True)
class Fault:
    """What happens to one of two nodes or to both, and the exit codes of those it happens to and of the others."""

    do: Callable[[ChildRun], None]
    is_for_all: bool
    codes: set[int]
    codes_of_others: set[int]


def terminate(run: ChildRun) -> None:
    """Ask a node to end, as the kubelet does."""
    with suppress(ProcessLookupError):
        run.send_signal(signal.SIGTERM)


def freeze(run: ChildRun) -> None:
    """Let a node hang for longer than the other waits for a sign of life."""
    Timer(2 * SILENCE_SECONDS, freeze_node(run)).start()


FAULTS = {
    "killed process": Fault(kill_process, False, {1}, {1}),
    "killed node": Fault(kill_node, False, {-9}, {1}),
    "drained node": Fault(terminate, False, {143}, {1, 143}),
    "frozen node": Fault(freeze, False, {1}, {1}),
    "preemption": Fault(terminate, True, {143}, {1, 143}),
}


def lose_nodes(kind: str, folder: Path, alone: Plan, chance: random.Random) -> str:
    """Run a plan through the faults of a kind; return what was wrong, "" when it ended as the run left alone."""
    fault = FAULTS[kind]
    plan = plan_of(folder, kind.replace(" ", "-"), alone.sharding)
    steps = []
    for step in sorted(chance.sample(range(NUM_STEPS - 4), NUM_FAULTS)):
        nodes = NodeRuns([plan, plan], folder / "runs", "--resume", KAITOC_SILENCE_SECONDS=str(SILENCE_SECONDS))
        victim = chance.randrange(2)
        while nodes.are_alive() and (last_step(plan) < step or not nodes.have_met()):
            time.sleep(0.005)
        time.sleep(chance.random() / 10)
        steps.append(last_step(plan))
        for rank, run in enumerate(nodes):
            if fault.is_for_all or rank == victim:
                fault.do(run)
        ended = [run.returncode for run in nodes.end()]
        allowed = [fault.codes if fault.is_for_all or rank == victim else fault.codes_of_others for rank in (0, 1)]
        if any(code not in codes for code, codes in zip(ended, allowed, strict=True)):
            return f"at step {steps[-1]} of node {victim}: {ended} and not {allowed}"
        print(f"  step {steps[-1]}, node {victim}: {ended}", flush=True)
    ended = NodeRuns([plan, plan], folder / "runs", "--resume").end()
    if [run.returncode for run in ended] != [0, 0]:
        return f"it does not go on: {ended}"
    if losses(plan) != losses(alone) or weights(plan) != weights(alone):
        return "losses or weights differ"
    print(f"{kind} ({plan.sharding}) at steps {steps}: same losses, same weights", flush=True)
    return ""


def try_bad_plan(folder: Path) -> str:
    """Run a plan whose model is not there until a code is final; return what was wrong."""
    plan = plan_of(folder, "bad").model_copy(update={"num_processes": 2})
    plan = plan.model_copy(update={"model": plan.model.model_copy(update={"path": str(folder / "none")})})
    ended = NodeRuns([plan, plan], folder / "runs", "--resume").end()
    if {run.returncode for run in ended} - FINAL_CODES:
        return f"a bad plan would be tried again: {ended}"
    print("bad plan: tried once", flush=True)
    return ""


def separate_output(folder: Path) -> str:
    """Give each node an output folder of its own; return what was wrong."""
    ended = NodeRuns([plan_of(folder, f"own-{node}") for node in (0, 1)], folder / "runs", "--resume").end()
    is_refused = all(run.returncode == 2 and "on storage that they share" in run.stderr for run in ended)
    if not is_refused:
        return f"output that the nodes do not share: {ended}"
    print("output that the nodes do not share: refused", flush=True)
    return ""


def download(folder: Path) -> str:
    """Train on data from a server, on two nodes of two processes; return what was wrong."""
    with served(ROWS.encode()) as (address, asked):
        for trial in range(NUM_DOWNLOADS):
            plan = short_plan(
                folder / "model", Path("rows"), folder / f"downloads-{trial}", training={"max_steps": 1},
                data={"paths": [address], "max_length": 48},
            ).model_copy(update={"num_processes": 4})  # fmt: skip
            ended = NodeRuns([plan, plan], folder / "runs", "--resume", per_node=2).end()
            if [run.returncode for run in ended] != [0, 0] or len(asked) != trial + 1:
                return f"download {trial}: {ended}, {len(asked)} requests"
    print(f"downloads with 2 x 2 processes: {NUM_DOWNLOADS} of {NUM_DOWNLOADS}, each with one request", flush=True)
    return ""


def plan_of(folder: Path, name: str, sharding: str = "ddp") -> Plan:
    """Return the plan of a run on two nodes that draws random numbers, for dropout and shuffling."""
    plan = short_plan(
        folder / "model", folder / "rows.jsonl", folder / f"{name}-{sharding}", lora={"lora_dropout": 0.1},
        training=TRAINING, data={"max_length": 48},
    )  # fmt: skip
    return plan.model_copy(update={"num_processes": 2, "sharding": sharding})


def losses(plan: Plan) -> list[tuple[int, float]]:
    """Return the steps that were logged and their losses, as far as whole lines go."""
    path = Path(plan.output.path) / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [(entry["step"], entry["loss"]) for entry in map(json.loads, lines) if "loss" in entry]


def last_step(plan: Plan) -> int:
    """Return the last step that was logged, 0 before the first."""
    return max((step for step, _ in losses(plan)), default=0)


def weights(plan: Plan) -> bytes:
    """Return the adapter's weights."""
    return (Path(plan.output.path) / "adapter" / "adapter_model.safetensors").read_bytes()


def main() -> int:
    """Do everything and tell what was wrong."""
    from build_tiny_model import build_tokenizer
    from tiny_phi3 import save_tiny_phi3

    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.jsonl").write_text(ROWS)
        save_tiny_phi3(folder / "model", build_tokenizer())
        wrong = [try_bad_plan(folder), separate_output(folder)]
        for sharding in ("ddp", "fsdp2"):
            alone = plan_of(folder, "alone", sharding)
            ended = NodeRuns([alone, alone], folder / "runs").end()
            wrong.append("" if [run.returncode for run in ended] == [0, 0] else f"left alone: {ended}")
            wrong += [lose_nodes(kind, folder, alone, chance) for kind in sys.argv[2:] or FAULTS]
        wrong.append(download(folder))
    for text in filter(None, wrong):
        print(f"seed {seed}: {text}")
    return min(1, sum(map(bool, wrong)))


if __name__ == "__main__":
    sys.exit(main())
