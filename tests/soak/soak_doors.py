"""Take every example of the rules' pages through all doors, of which the suite takes some."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


def main() -> int:
    """Run the tests of all doors; return pytest's exit code."""
    os.environ["KAITOC_SOAK"] = "1"
    return int(pytest.main([str(Path(__file__).parents[1] / "doors" / "test_same_codes.py"), "-p", "no:randomly"]))


if __name__ == "__main__":
    sys.exit(main())
