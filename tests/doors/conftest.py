"""Lets the tests of the doors use the helpers of each door's own tests."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / folder) for folder in ("rules", "language_server", "admission")]
