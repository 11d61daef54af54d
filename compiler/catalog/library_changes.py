"""What versions of the libraries changed (`schemas/catalog/library_changes.json`, each with its source)."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json


class LibraryChange(str, Enum):
    """A change by its key in the catalog, where its effect is described."""

    RAGGED_LABELS = "ragged_labels"
    CHUNKED_LOSS = "chunked_loss"
    NARROW_CHUNK_PRODUCT = "narrow_chunk_product"
    TILED_LOSS = "tiled_loss"
    GPTQ_CASTS_INPUT = "gptq_casts_input"
    RELEASED_STORAGE_KEYS = "released_storage_keys"
    LIGER_FROZEN_HEAD = "liger_frozen_head"
    LIGER_HALF_LOGITS = "liger_half_logits"
    LIGER_WHOLE_HIDDEN = "liger_whole_hidden"
    LIGER_WIDENED_GRADIENT = "liger_widened_gradient"
    LIGER_FLOAT32_SUM = "liger_float32_sum"
    LIGER_ALIGNED_HIDDEN = "liger_aligned_hidden"
    LIGER_ONE_BUFFER = "liger_one_buffer"
    EMPTIES_ROWS = "empties_rows"
    FSDP_CONFIG_WITH_FSDP = "fsdp_config_with_fsdp"
    CASTS_VOCABULARY_BACK = "casts_vocabulary_back"
    BFLOAT16_ADAPTERS = "bfloat16_adapters"
    FLOAT32_ADAPTERS = "float32_adapters"
    ADAPTED_FUSED_EXPERTS = "adapted_fused_experts"
    CHECKPOINT_DTYPE = "checkpoint_dtype"
    ONE_WARM_UP = "one_warm_up"
    FUSED_OPTIMIZER = "fused_optimizer"
    NCCL_CONNECTS_WHEN_USED = "nccl_connects_when_used"
    FSDP2 = "fsdp2"
    TAIL_UNITS = "tail_units"
    QUANTIZED_ON_HOST = "quantized_on_host"
    EMPTY_QUANTIZED_SHARDS = "empty_quantized_shards"
    INDEXES_BY_LIST = "indexes_by_list"
    TABLE_DEQUANTIZATION = "table_dequantization"
    LENGTH_BY_LAYERS = "length_by_layers"
    LENGTH_BY_FIRST_GROUP = "length_by_first_group"
    ALIGNED_STATES = "aligned_states"
    DRAFT_MODELS = "draft_models"
    MASKED_SAMPLING = "masked_sampling"
    COUNTED_GRAPHS = "counted_graphs"
    WIDER_GROUP_PADDING = "wider_group_padding"
    CAPACITY_BY_REQUESTS = "capacity_by_requests"
    WHOLE_ITEMS = "whole_items"
    HYBRID_CONNECTORS = "hybrid_connectors"
    QWEN3_ON_SECOND_RUNNER = "qwen3_on_second_runner"
    DENSE_ON_SECOND_RUNNER = "dense_on_second_runner"


@dataclass(frozen=True, slots=True)
class VersionRange:
    """The versions of one library that a change holds for: from `since` on and before `until`, None for no end."""

    library: str
    since: tuple[int, ...]
    until: tuple[int, ...] | None

    def includes(self, version: str) -> bool:
        """Return whether a version such as `1.7.0` is one of them."""
        number = version_number(version)
        return number >= self.since and (self.until is None or number < self.until)


@lru_cache(maxsize=128)
def version_number(text: str) -> tuple[int, ...]:
    """Return a dotted version as numbers; a leading `v` is dropped."""
    return tuple(int(part) for part in text.removeprefix("v").split(".") if part.isdigit())


@lru_cache(maxsize=1)
def changes() -> dict[LibraryChange, VersionRange]:
    """Return every change of the catalog with the versions that it holds for."""
    return {
        LibraryChange(name): _version_range(entry)
        for name, entry in read_json("catalog/library_changes")["changes"].items()
    }


def _version_range(entry: dict[str, str]) -> VersionRange:
    until = entry.get("until")
    return VersionRange(
        entry["library"], version_number(entry["since"]), version_number(until) if until is not None else None
    )
