"""The whole demo, as `make demo` runs it; its loss must end below 60 percent of where it started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def main() -> int:
    """Run the demo in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
        subprocess.run(["sh", str(EXAMPLES / "demo.sh"), folder], env=environment, check=True)
        lines = (Path(folder) / "results" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    print(f"the loss fell from {losses[0]:.3f} to {losses[-1]:.3f}")
    return int(losses[-1] >= 0.6 * losses[0])


if __name__ == "__main__":
    sys.exit(main())
