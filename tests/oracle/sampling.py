"""Which records the suite judges: a sixth, always the same; all of them where `KAITOC_WHOLE_RECORDINGS=1` is set.

`tests/soak/soak_recordings.py` sets it.
"""

from __future__ import annotations

import os
import zlib

import pytest

IS_WHOLE = os.environ.get("KAITOC_WHOLE_RECORDINGS") == "1"
_ONE_IN = 6

whole_only = pytest.mark.skipif(not IS_WHOLE, reason="asks for the whole recording; see tests/soak/soak_recordings.py")


def is_judged(record: str) -> bool:
    """Draw a record by its own text, so that a new one changes nothing of the others."""
    return IS_WHOLE or zlib.crc32(record.encode()) % _ONE_IN == 0
