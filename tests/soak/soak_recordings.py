"""Hold `check` to every record of the option variants and of the servers, of which the suite judges a sixth.

Usage: python tests/soak/soak_recordings.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ORACLE = Path(__file__).parents[1] / "oracle"


def main() -> int:
    """Run the tests of the recordings over all records; return pytest's exit code."""
    files = (ORACLE / "test_oracle_recordings.py", ORACLE / "test_serving_recordings.py")
    environment = {**os.environ, "KAITOC_WHOLE_RECORDINGS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *map(str, files)], env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
