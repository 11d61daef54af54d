"""How many nodes Kaito starts for a server."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.catalog.served_models import ServedConfig
from kaitoc.compiler.kaito.node_estimate import NodeEstimate, estimate_nodes
from kaitoc.compiler.memory.serving.models import shape_of
from kaitoc.compiler.memory.serving.shape import CacheKind, ServedModel
from kaitoc.compiler.memory.serving.weights import files_bytes

_HALF_BYTES = 2


def served_nodes(
    release: str, instance: InstanceType, served: ServedConfig, length_tokens: int | None
) -> NodeEstimate | None:
    """Run Kaito's node estimator on a model of the catalog, None for an instance type without GPUs."""
    model = shape_of(served)
    return estimate_nodes(release, instance, files_bytes(model), kaito_token_bytes(model), length_tokens)


def kaito_token_bytes(model: ServedModel) -> int:
    """Return the bytes per token that Kaito's estimator counts with (`calculateKVCacheTokenSize` in generator.go).

    Every layer counts, in half precision, whatever it keeps.
    """
    caches = [layer.cache for layer in model.layers if layer.cache.key_dim]
    if not caches:
        return 0
    cache = caches[0]
    per_layer = cache.key_dim if cache.kind is CacheKind.MLA else 2 * cache.num_kv_heads * cache.key_dim
    return per_layer * len(model.layers) * _HALF_BYTES
