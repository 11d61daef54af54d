"""The shape of a served model: what each decoder layer stores of a request, and how large its weights are."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.core.records import dataclass


class CacheKind(str, Enum):
    """What a layer keeps of a request while it is served."""

    FULL = "full attention"
    SLIDING = "sliding window"
    CHUNKED = "chunked attention"
    MLA = "latent attention"
    STATE = "recurrent state"
    NONE = "nothing of its own"


@dataclass(frozen=True, slots=True)
class StateShape:
    """The recurrent state of a Mamba or gated-delta-net layer, before it is divided among ranks.

    `conv_features` times `conv_tokens` elements have the model's type, `num_heads` matrices of `head_elements` the
    state's type, whose elements take `state_element_bytes` (0: the model's). `num_groups` of Mamba 2 are padded to the
    ranks, each with `group_features` of the convolution.
    """

    conv_features: int
    conv_tokens: int
    num_heads: int
    head_elements: int
    state_element_bytes: int = 0
    num_groups: int = 0
    group_features: int = 0


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one layer caches of a request, by the dimensions of its heads or states.

    Keys and values have `num_kv_heads` heads of `key_dim` and `value_dim`; a latent cache has one head of `key_dim` on
    every rank. `window_tokens` bounds a sliding or chunked layer. `index_bytes` is the indexer's part of a sparse
    layer, per token.
    """

    kind: CacheKind
    num_kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    window_tokens: int = 0
    state: StateShape | None = None
    index_bytes: int = 0


@dataclass(frozen=True, slots=True)
class AdaptedLinears:
    """The linear layers of one decoder layer that adapters can go on, as sums of their features.

    Of those whose outputs are divided among ranks, `column_inputs` and `column_outputs`; of those whose inputs are,
    `row_inputs` and `row_outputs`.
    """

    column_inputs: int = 0
    column_outputs: int = 0
    row_inputs: int = 0
    row_outputs: int = 0

    def with_mlp(self, hidden_size: int, intermediate_size: int, num_gates: int, count: int = 1) -> AdaptedLinears:
        """Return these and the layers of so many MLPs."""
        return AdaptedLinears(
            self.column_inputs + count * num_gates * hidden_size,
            self.column_outputs + count * num_gates * intermediate_size,
            self.row_inputs + count * intermediate_size,
            self.row_outputs + count * hidden_size,
        )


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The parameters of one layer, and the widths of the activations that its linear layers write.

    `sharded` linear parameters and `experts` are divided among ranks, `kv` too, but whole heads only; `replicated` ones
    are not. `plain` are parameters that quantization leaves alone (norms, routers), on every rank. Widths are in
    elements per token: `attention_width` is divided among ranks, `mlp_width` is the first projection's, of which
    `activated_width` are left after the activation.
    """

    sharded: int
    kv: int
    replicated: int
    plain: int
    experts: int
    attention_width: int
    mlp_width: int
    activated_width: int
    latent_bytes: int = 0
    adapted: AdaptedLinears = AdaptedLinears()


@dataclass(frozen=True, slots=True)
class ServedLayer:
    """One decoder layer: what it caches and what it weighs."""

    cache: LayerCache
    weights: LayerWeights


@dataclass(frozen=True, slots=True)
class ExpertShape:
    """The experts of a mixture: `num` per layer, of which a token takes `per_token`."""

    num: int
    per_token: int
    intermediate_size: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server must know of a model.

    `max_length_tokens` is the context that its configuration allows, `quantization` the method of its checkpoint (empty
    for none). `checkpoint_bytes` is the size of its weight files where it is known; `is_multimodal` says that encoders
    are among them, `num_draft_layers` how many layers for multi-token prediction, which are loaded for that alone.
    """

    name: str
    model_type: str
    hidden_size: int
    vocab_size: int
    max_length_tokens: int
    num_heads: int
    num_kv_heads: int
    tied_embeddings: bool
    layers: tuple[ServedLayer, ...]
    experts: ExpertShape | None = None
    quantization: str = ""
    dtype: str = "bfloat16"
    is_multimodal: bool = False
    num_draft_layers: int = 0
    checkpoint_bytes: int | None = None

    def __hash__(self) -> int:
        return hash((self.name, self.model_type, self.hidden_size, len(self.layers), self.quantization))

    @property
    def is_hybrid(self) -> bool:
        """Return whether some layers keep a recurrent state instead of keys and values."""
        return any(layer.cache.kind is CacheKind.STATE for layer in self.layers)

    @property
    def has_windows(self) -> bool:
        """Return whether layers with and without a window are mixed, which the hybrid KV manager is for."""
        kinds = {layer.cache.kind for layer in self.layers}
        return len(kinds & {CacheKind.SLIDING, CacheKind.CHUNKED}) > 0 and len(kinds - {CacheKind.NONE}) > 1
