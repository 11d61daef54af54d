"""`torchrun` starts the processes of a run just as well as the launcher does: two with gloo on this CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

from build_tiny_model import build_tokenizer  # noqa: E402  (after the path)
from child_runs import ENVIRONMENT  # noqa: E402
from short_plan import short_plan  # noqa: E402
from tiny_phi3 import save_tiny_phi3  # noqa: E402


def main() -> int:
    """Train four steps and look for the marker of a completed run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_phi3(folder / "model", build_tokenizer())
        (folder / "rows.jsonl").write_text('{"text": "one two three"}\n' * 24, encoding="utf-8")
        plan = short_plan(folder / "model", folder / "rows.jsonl", folder / "results")
        file = folder / "plan.json"
        file.write_text(plan.model_copy(update={"num_processes": 2}).to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        command += ["-m", "kaitoc.runtime", str(file), "--device", "cpu"]
        code = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, check=False).returncode
        is_complete = (folder / "results" / "fine_tuning_completed.txt").exists()
    return code or int(not is_complete)


if __name__ == "__main__":
    sys.exit(main())
