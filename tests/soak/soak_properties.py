"""Every property test of the suite that sets no number of its own, on 1,000 examples each instead of 40.

Usage: python tests/soak/soak_properties.py [PATH ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    options = ["-m", "hypothesis", "--hypothesis-profile", "soak", "--hypothesis-show-statistics"]
    sys.exit(pytest.main([*options, *(sys.argv[1:] or [str(TESTS)])]))
