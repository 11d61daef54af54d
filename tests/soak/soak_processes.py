"""Two processes train and evaluate what one with twice the accumulation does, where rows come out unevenly.

The adapter of a model in 4 bit is in bfloat16, where sums of more than two gradients depend on their order
(`adapter_sums`): one process is held to two there when it adds up as they do, or when the adapter is in float32.

Usage: python tests/soak/soak_processes.py [KIND...]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

from child_runs import run_ranks  # noqa: E402  (after the path)
from short_plan import short_plan  # noqa: E402

from kaitoc.compiler.plan.plan import Plan, read_plan  # noqa: E402

NUM_ROWS, NUM_HELD_OUT = 17, 7
TRAINING: dict[str, Any] = {
    "max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 3,
    "eval_strategy": "epoch", "learning_rate": 1e-3,
}  # fmt: skip
"""The last batch of an epoch has one row and the second process none; so it is with those of an evaluation."""
KINDS: dict[str, dict[str, Any]] = {
    "adapter": {},
    "whole model": {"lora": None},
    "4 bit": {"quantization": {"method": "nf4", "compute_dtype": "float32"}},
    "4 bit, float32 adapter": {"quantization": {"method": "nf4", "compute_dtype": "float32"}},
    "packed": {"data": {"packing": True}},
    "grouped by length": {"training": {"train_sampling_strategy": "group_by_length"}},
    "pairs": {"dpo": {}},
    "mixture": {},
    "packed mixture": {"data": {"packing": True}},
    "pairs on a mixture": {"dpo": {}},
}
BEFORE_ONE = {"4 bit": "adapter_sums.add_up_as_two", "4 bit, float32 adapter": "adapter_sums.keep_float32"}
BEFORE_TWO = {"4 bit, float32 adapter": "adapter_sums.keep_float32"}
"""What is changed in the one process, and in the two."""
ACCUMULATED = (1, 2)
MAX_LOSS_DIFFERENCE, MAX_WEIGHT_DIFFERENCE = 1e-4, 1e-5


def fault(kind: str, num_accumulated: int, folder: Path) -> str:
    """Return what differs between two processes and one, "" when nothing does."""
    two = plan_of(kind, num_accumulated, folder / "two").model_copy(update={"num_processes": 2})
    one = plan_of(kind, 2 * num_accumulated, folder / "one")
    for plan, before in ((two, BEFORE_TWO.get(kind)), (one, BEFORE_ONE.get(kind))):
        for ended in run_ranks(plan, folder / "runs", before=before):
            if ended.returncode != 0:
                return ended.stderr
    differences = {
        name: max(abs(ours - theirs) for ours, theirs in zip(logged(two, name), logged(one, name), strict=True))
        for name in ("loss", "eval_loss", *_more(kind))
    }
    difference = largest_difference(two, one)
    told = ", ".join(f"{name} {value:.1e}" for name, value in {**differences, "weights": difference}.items())
    is_same = max(differences.values()) <= MAX_LOSS_DIFFERENCE and difference <= MAX_WEIGHT_DIFFERENCE
    print(f"{kind}, {num_accumulated} accumulated: {told}", flush=True)
    return "" if is_same else "two processes differ from one"


def _more(kind: str) -> list[str]:
    """Return what else a run of a kind logs that does not depend on the number of processes."""
    names = ["rewards/margins"] if "pairs" in kind else ["token_loss"] if "mixture" in kind else []
    return [*names, *(f"eval_{name}" for name in names)]


def plan_of(kind: str, num_accumulated: int, output: Path) -> Plan:
    """Return the plan of one kind."""
    changes = {**KINDS[kind]}
    training = {**TRAINING, "gradient_accumulation_steps": num_accumulated, **changes.pop("training", {})}
    folder, is_pairs = output.parent, "dpo" in changes
    name = "pairs" if is_pairs else "rows"
    data = {"eval_paths": [str(folder / f"{name}-held-out.jsonl")], **changes.pop("data", {})}
    changes.pop("dpo", None)
    plan = short_plan(folder / "model", folder / f"{name}.jsonl", output, training=training, data=data, **changes)
    return read_plan(plan.to_json().replace('"dpo": null', '"dpo": {}')) if is_pairs else plan


def logged(plan: Plan, name: str) -> list[float]:
    """Return the numbers of one name that a run logged."""
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry[name] for entry in map(json.loads, lines) if name in entry]


def largest_difference(one: Plan, other: Plan) -> float:
    """Return by how much the weights of two results differ at most."""
    from safetensors.torch import load_file

    pattern = "adapter/*.safetensors" if one.lora is not None else "model/*.safetensors"
    (ours,), (theirs,) = (list(Path(plan.output.path).glob(pattern)) for plan in (one, other))
    expected = load_file(theirs)
    return max(float((value - expected[name]).abs().max()) for name, value in load_file(ours).items())


def write_data(folder: Path) -> None:
    """Write rows and pairs of several lengths, to train on and to evaluate."""
    for place, numbers in (("", range(NUM_ROWS)), ("-held-out", range(100, 100 + NUM_HELD_OUT))):
        answers = [f"Rule {number} finds a wrong key. " * (1 + number % 4) for number in numbers]
        rows = [{"prompt": "What is found? ", "completion": answer} for answer in answers]
        pairs = [{"prompt": "What is found? ", "chosen": answer, "rejected": "Nothing."} for answer in answers]
        for name, values in (("rows", rows), ("pairs", pairs)):
            text = "".join(json.dumps(value) + "\n" for value in values)
            (folder / f"{name}{place}.jsonl").write_text(text, encoding="utf-8")


def main() -> int:
    """Run all and print what differs."""
    from build_tiny_model import build_tokenizer
    from tiny_architectures import save_tiny
    from tiny_phi3 import save_tiny_phi3

    num_wrong = 0
    for kind in sys.argv[1:] or KINDS:
        for num_accumulated in ACCUMULATED:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                write_data(folder)
                if "mixture" in kind:
                    save_tiny("qwen3_moe", folder / "model", build_tokenizer())
                else:
                    save_tiny_phi3(folder / "model", build_tokenizer())
                wrong = fault(kind, num_accumulated, folder)
                num_wrong += bool(wrong)
                print(f"{kind}, {num_accumulated} accumulated: {wrong or 'right'}", flush=True)
    return min(num_wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
