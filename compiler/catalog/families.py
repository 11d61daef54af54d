"""Model families: how the decoder layers of each transformers model type compute (`schemas/catalog/families.json`)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture, UnknownModelTypeError
from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json


@dataclass(frozen=True, slots=True)
class Family:
    """The structure of one model type's decoder layer, with the module names of transformers' code.

    `norm`: "rms" (weight after the cast back), "gemma" (weight in float32) or "layer". `attention`: the input
    projections, one name when they are fused. `mlp`: "gated", "gated_fused" or "plain". `parallel`: attention and MLP
    read the same residual. `experts`: "" for a dense MLP, else how expert modules are named. `own_attention`: the model
    calls `scaled_dot_product_attention` itself, with keys that are not repeated. `rotary_concatenates`: a part of each
    head is rotated and joined with the rest, head by head, so that attention's output must be copied; with
    `rotates_inline` variables of the attention's own `forward` hold the parts. `half_softmax`: eager attention's
    softmax stays in the model's type, `autocast_softmax`: but under autocast, which widens a softmax that states no
    type. `adapts_experts`: PEFT 0.18 and later reach fused experts with "all-linear". `own_loss` and
    `caches_when_checkpointing` describe the code of transformers 4: cross-entropy in the
    model's type, and key-value caches kept although checkpointing is on. `supports_sdpa`: where it is false,
    transformers falls back to eager attention. `flash_repeats_keys`: so did transformers 4 for grouped queries before
    it called flash attention. `scales_outside_embedding`: the model scales what the embedding returns, which then lives
    on as the leaf of a frozen embedding's gradients (`enable_input_require_grads`). `scales_residuals`: it
    multiplies what a block adds to the residual. `slides`: layers attend within
    `sliding_window`, but for every `full_attention_every`-th (0: none is full). `own_linear`: projections are a
    subclass of `nn.Linear`, which transformers 5 does not quantize. `defaults` are configuration values, (key, value),
    that the model type has when `config.json` leaves them out.
    """

    norm: str
    attention: tuple[str, ...]
    output: str
    attention_path: str
    mlp: str
    mlp_modules: tuple[str, ...]
    mlp_path: str = "mlp"
    layers_path: str = "model.layers"
    embedding: str = "embed_tokens"
    head: str = "lm_head"
    positions: str = ""
    experts: str = ""
    rotary: bool = True
    post_norms: bool = False
    query_key_norm: bool = False
    parallel: bool = False
    norms: int = 2
    shared_expert: bool = False
    scales_embedding: bool = False
    scales_logits: bool = False
    own_attention: bool = False
    rotary_concatenates: bool = False
    rotates_inline: bool = False
    scales_residuals: bool = False
    half_softmax: bool = False
    autocast_softmax: bool = False
    adapts_experts: bool = False
    own_loss: bool = False
    caches_when_checkpointing: bool = False
    supports_sdpa: bool = True
    scales_outside_embedding: bool = False
    slides: bool = False
    flash_repeats_keys: bool = False
    full_attention_every: int = 0
    own_linear: bool = False
    defaults: tuple[tuple[str, object], ...] = ()


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict[str, object]]:
    entries: dict[str, dict[str, object]] = read_json("catalog/families")["families"]
    return entries


@lru_cache(maxsize=64)
def find_family(model_type: str) -> Family:
    """Return the family of a `model_type`; raises `UnknownModelTypeError` naming the nearest known one."""
    entries = _entries()
    if model_type not in entries:
        from difflib import get_close_matches

        nearest = get_close_matches(model_type, entries, n=1, cutoff=0.0)[0]
        raise UnknownModelTypeError(
            f"no closed form for model type {model_type!r} (nearest known: {nearest!r}); "
            "`--trace` runs any causal language model that transformers knows"
        )
    fields: dict[str, object] = {}
    chain = [entries[model_type]]
    while "like" in chain[-1]:
        chain.append(entries[str(chain[-1]["like"])])
    for entry in reversed(chain):
        fields.update(entry)
    fields.pop("like", None)
    return Family(**{key: _frozen(value) for key, value in fields.items()})  # type: ignore[arg-type]  # held to the dataclass by tests/memory/test_footprint_families.py


def masked_window(architecture: Architecture, seq_len_tokens: int) -> int | None:
    """Return the window that a model's sliding layers need a mask for at this length, None when they need none.

    A sequence of the window's own length is masked too (`_ignore_causal_mask_sdpa` of transformers'
    `masking_utils.py` skips the mask for shorter ones only).
    """
    window = architecture.config.get("sliding_window")
    slides = isinstance(window, int) and find_family(architecture.model_type).slides
    return window if slides and isinstance(window, int) and seq_len_tokens >= window else None


def _frozen(value: object) -> object:
    """Return lists and mappings of JSON as tuples."""
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list) else value


def known_model_types() -> tuple[str, ...]:
    """Return the model types that the closed form covers."""
    return tuple(_entries())
