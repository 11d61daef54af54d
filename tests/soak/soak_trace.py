"""The closed form agrees with the trace on all layers of whole models, in every way that the suite tries on four."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "memory"))

from test_trace_agrees import WAYS, assert_agreement, workload

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name, method, checkpointing in WAYS:
        assert_agreement(workload(name, method, checkpointing=checkpointing, batch_size=2, seq_len_tokens=512))
        print(name, method, "checkpointing" if checkpointing else "plain", flush=True)
