"""Try whole the grids of which the suite tries samples: `python tests/soak/soak_grids.py [FILE...]`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samples import WHOLE

TESTS = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    files = sys.argv[1:] or [
        str(path) for path in sorted(TESTS.rglob("test_*.py")) if "from samples import" in path.read_text("utf-8")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *files]
    sys.exit(subprocess.run(command, env={**os.environ, WHOLE: "1"}, check=False).returncode)
