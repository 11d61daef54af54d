"""How frozen weights are stored, and what a checkpoint says of it (`quantization_config` of its `config.json`)."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.workload import Quantization, WorkloadError

DEFAULT_GROUP_SIZE = 128
"""`group_size` of most GPTQ and AWQ checkpoints."""

_PACKED_BITS = 4
_KEY = "quantization_config"


@dataclass(frozen=True, slots=True)
class WeightStorage:
    """The format of frozen weights; `group_size` is that of GPTQ and AWQ, 0 where a column is one group."""

    quantization: Quantization
    double_quant: bool = False
    group_size: int = 0


def stored_weights(architecture: Architecture) -> WeightStorage | None:
    """Name the quantization of a checkpoint, None without one; raises `WorkloadError` for one that is not predicted."""
    stored = architecture.config.get(_KEY)
    if not isinstance(stored, Mapping):
        return None
    method = stored.get("quant_method")
    if method in (Quantization.GPTQ.value, Quantization.AWQ.value):
        return _packed(architecture, Quantization(method), stored)
    if stored.get("load_in_8bit"):
        return WeightStorage(Quantization.INT8)
    if stored.get("load_in_4bit"):
        is_nf4 = stored.get("bnb_4bit_quant_type") == Quantization.NF4.value
        kind = Quantization.NF4 if is_nf4 else Quantization.FP4
        return WeightStorage(kind, bool(stored.get("bnb_4bit_use_double_quant")))
    raise WorkloadError(
        f"{architecture.name} holds weights quantized by {method or 'an unnamed method'}, of which training is not "
        "predicted; bitsandbytes, GPTQ and AWQ are, and a checkpoint without quantization"
    )


def _packed(architecture: Architecture, quantization: Quantization, stored: Mapping[object, object]) -> WeightStorage:
    bits, size = stored.get("bits", _PACKED_BITS), stored.get("group_size", DEFAULT_GROUP_SIZE)
    if bits != _PACKED_BITS:
        raise WorkloadError(
            f"{architecture.name} holds {bits}-bit {quantization.value} weights; only {_PACKED_BITS}-bit ones are "
            "predicted"
        )
    return WeightStorage(quantization, group_size=max(size, 0) if isinstance(size, int) else DEFAULT_GROUP_SIZE)
