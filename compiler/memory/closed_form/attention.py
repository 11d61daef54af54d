"""Attention on sizes: projections, heads, the kernel that PyTorch has for them, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.memory.closed_form.held import Scope
from kaitoc.compiler.memory.closed_form.kernel import Group
from kaitoc.compiler.memory.closed_form.layout import Layer, Plan
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, HALF_BYTES, per_token
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.tensor import Tensor
from kaitoc.compiler.memory.workload import Attention, Dtype, Kernels, Workload

NUM_NORMED_PROJECTIONS = 2
"""Queries and keys, each normed before the next projection (`Qwen3Attention`, `Gemma3Attention`)."""


class AttentionBlock:
    """The attention of one plan's layers on one stream."""

    def __init__(self, stream: StreamBuilder, ops: Ops, plan: Plan, workload: Workload) -> None:
        self.stream = stream
        self.ops = ops
        self.plan = plan
        self.is_single = workload.batch_size == 1
        self.kernels = workload.kernels
        self.computes_in_bfloat16 = (workload.autocast or workload.dtype) is Dtype.BFLOAT16
        falls_back = workload.attention is Attention.SDPA and not plan.family.supports_sdpa
        self.kind = Attention.EAGER if falls_back else workload.attention
        self.dropout = probability(plan.config, "attention_dropout", "attn_pdrop")
        self.rotary_share = _rotary_share(plan)
        self.fills_cache = workload.holds_outputs and not workload.gradient_checkpointing
        self.caches_projections = workload.gradient_checkpointing and _caches_when_checkpointing(plan)

    def run(self, layer: Layer, normed: Tensor) -> Tensor:
        """Attend; the caller keeps `normed`."""
        stream, ops, plan = self.stream, self.ops, self.plan
        projected = [self._projected(normed, linear, place) for place, linear in enumerate(layer.attention)]
        if self.caches_projections:
            for item in projected:
                stream.cache(item)
        query, key, value = self._split(projected)
        if plan.family.rotary:
            rotated = [ops.rotary(item, plan.embedding_bytes, *self.rotary_share) for item in (query, key)]
            if plan.family.rotates_inline:
                stream.linger(Scope.ATTENTION, query, key, *rotated)
            if plan.family.rotary_concatenates:
                for item in rotated:
                    stream.concatenate(item)
            stream.drop(query, key)
            query, key = rotated
        if self.fills_cache:
            key, value = self._cached(key), self._cached(value)
        attended = self._attend(query, key, value, layer.is_masked and self.kind is Attention.SDPA, normed.num_bytes)
        output = ops.linear(attended, layer.output, Group.ATTENTION)
        stream.drop(query, key, value, attended)
        stream.leave(Scope.ATTENTION)
        return output

    def _projected(self, normed: Tensor, linear: Linear, place: int) -> Tensor:
        """Project to heads; those of separate projections are used by head as they are, unless a norm comes first."""
        family = self.plan.family
        projected = self.ops.linear(normed, linear, Group.ATTENTION)
        if family.query_key_norm:
            return self._head_norm(projected) if place < NUM_NORMED_PROJECTIONS else projected
        if len(family.attention) > 1:
            self.stream.copy_gradient(projected)
        return projected

    def _split(self, projected: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value; those of a fused projection are views of its output."""
        if len(projected) == 3:
            return projected[0], projected[1], projected[2]
        architecture = self.plan.architecture
        (fused,) = projected
        widths = (architecture.num_heads, architecture.num_kv_heads, architecture.num_kv_heads)
        parts = [self._view(fused, width * architecture.head_dim) for width in widths]
        self.stream.drop(fused)
        return parts[0], parts[1], parts[2]

    def _view(self, fused: Tensor, width: int) -> Tensor:
        """Slice a fused projection; its gradient is padded with zeros to the whole (`slice_backward`)."""
        return self.stream.view(fused, per_token(width))

    def _head_norm(self, value: Tensor) -> Tensor:
        """Qwen 3's and Gemma 3's norm over each head."""
        plan = self.plan
        return self.stream.replace(
            self.ops.rms_norm(
                value,
                weight_bytes=plan.norm_bytes,
                num_trained=plan.architecture.head_dim if plan.trains_base else 0,
                multiplies_in_float32=plan.family.norm == "gemma",
            ),
            value,
        )

    def _cached(self, value: Tensor) -> Tensor:
        """Return keys or values as they are in the cache of the model's outputs.

        Since transformers 4.56 they are put behind those of an empty cache, a copy (`DynamicLayer.update`,
        `cache_utils.py`).
        """
        if self.plan.stack.copies_into_cache:
            value = self.stream.replace(self.ops.copy(value), value)
        self.stream.keep(value)
        return value

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, is_masked: bool, normed_bytes: int) -> Tensor:
        stream, ops, architecture = self.stream, self.ops, self.plan.architecture
        num_heads = architecture.num_heads
        groups = num_heads // architecture.num_kv_heads
        keys, values = stream.hold(key), stream.hold(value)
        is_view = architecture.num_kv_heads == 1 and self.kind is not Attention.EAGER
        repeats = self._repeats_keys(is_masked)
        if groups > 1 and repeats and not is_view:
            width = per_token(num_heads * architecture.head_dim)
            keys = stream.replace(stream.apply([keys], width, keys.num_bytes), keys)
            values = stream.replace(stream.apply([values], width, values.num_bytes), values)
        if self._makes_contiguous and len(self.plan.family.attention) == 1 and not (groups > 1 and repeats):
            values = self.stream.replace(ops.copy(values), values)
        if self.kind is Attention.EAGER:
            query, keys, values = self._contiguous(query, keys, values, groups)
            output = self._eager(query, keys, values, normed_bytes)
            stream.drop(query)
        elif self._falls_back_to_math(query, num_key_groups=1 if repeats else groups):
            output = ops.math_attention(
                query,
                keys,
                values,
                num_heads=num_heads,
                has_dropout=self.dropout > 0,
                copies_keys=not repeats and groups > 1 and not (self.is_single and architecture.num_kv_heads == 1),
            )
        else:
            stack = self.plan.stack
            makes_mask = is_masked and (stack.masks_are_boolean or architecture.model_type in stack.copies_masks)
            inputs = [self._for_kernel(item) for item in (query, keys, values)]
            output = ops.sdpa(
                *inputs, num_heads=num_heads, makes_mask=makes_mask, shares_keys=groups > 1 and not repeats
            )
            stream.drop(*inputs)
            if self._is_laid_out_by_head(query, is_masked):
                output = self.stream.replace(ops.copy(output), output)
        stream.drop(keys, values)
        return output

    def _for_kernel(self, value: Tensor) -> Tensor:
        """Narrow float32 for the flash-attention package (`_flash_attention_forward` of transformers, all versions)."""
        if self.kind is Attention.FLASH and value.num_bytes == FLOAT32_BYTES:
            return self.ops.cast(value, HALF_BYTES)
        return self.stream.hold(value)

    def _contiguous(self, query: Tensor, key: Tensor, value: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        """Copy the views of a fused projection that a batched product saves (`matmul` of strided heads)."""
        ops, stream = self.ops, self.stream
        is_fused = len(self.plan.family.attention) == 1
        if is_fused and groups == 1:
            value = self.stream.replace(ops.copy(value), value)
        if not is_fused or self.plan.family.rotary:
            return stream.hold(query), key, value
        return ops.copy(query), self.stream.replace(ops.copy(key), key) if groups == 1 else key, value

    def _repeats_keys(self, is_masked: bool) -> bool:
        """Whether grouped keys are repeated; repeating a single head is a view and copies nothing."""
        family = self.plan.family
        if family.own_attention:
            return bool(self.plan.config.get("new_decoder_architecture"))
        if self.kind is Attention.EAGER:
            return True
        if self.kind is Attention.FLASH:
            return self.plan.stack.flash_repeats_keys and family.flash_repeats_keys
        return self.plan.stack.repeats_keys == "always" or is_masked

    def _falls_back_to_math(self, query: Tensor, num_key_groups: int) -> bool:
        """Whether no fused kernel of SDPA takes these inputs (`sdp_utils.cpp`, PyTorch 2.5 to 2.13).

        None takes float64. Keys with fewer heads need the flash kernel, which is for half precision on Ampere and
        later; before Ampere the memory-efficient kernel takes no bfloat16. Falcon with one key head does not even say
        that heads are grouped.
        """
        if self.kind is not Attention.SDPA or self.kernels is Kernels.CPU:
            return False
        if query.num_bytes > FLOAT32_BYTES:
            return True
        is_old = self.kernels is Kernels.BEFORE_AMPERE
        if num_key_groups > 1:
            return self.plan.family.own_attention or self._is_float32(query) or is_old
        return is_old and self.computes_in_bfloat16 and not self._is_float32(query)

    def _is_laid_out_by_head(self, query: Tensor, is_masked: bool) -> bool:
        """Whether attention's output must be copied: the flash kernel lays it out as the query is, others by token."""
        takes_flash = not (is_masked or self._is_float32(query) or self.kernels is Kernels.BEFORE_AMPERE)
        return takes_flash and (self._makes_contiguous or self.plan.family.rotary_concatenates)

    @property
    def _makes_contiguous(self) -> bool:
        return self.plan.stack.makes_contiguous and self.kind is Attention.SDPA

    def _is_float32(self, query: Tensor) -> bool:
        """Whether attention gets float32, which the memory-efficient kernel computes; its output is token by token."""
        return query.num_bytes == FLOAT32_BYTES and not self.ops.precision.autocast_bytes

    def _softmax_bytes(self, query: Tensor, normed_bytes: int) -> int:
        """Return the size of the softmax's elements: float32, or the type of what the family names.

        Falcon names that of the hidden states, which autocast's layer norms return in float32.
        """
        family = self.plan.family
        if not family.half_softmax or (family.autocast_softmax and self.ops.precision.autocast_bytes):
            return FLOAT32_BYTES
        return normed_bytes if family.own_attention else query.num_bytes

    def _eager(self, query: Tensor, key: Tensor, value: Tensor, normed_bytes: int) -> Tensor:
        """Return the attended values; the weights come with them, and a variable of the layer holds those."""
        architecture, config, own = self.plan.architecture, self.plan.config, self.plan.family.own_attention
        softmax_bytes = self._softmax_bytes(query, normed_bytes)
        weights = self.ops.eager_scores(
            query,
            key,
            num_heads=architecture.num_heads,
            num_scalings=0 if own else 1,
            mask_bytes=self.plan.embedding_bytes,
            softmax_bytes=softmax_bytes,
            result_bytes=softmax_bytes if own else query.num_bytes,
            softcap=config.get("attn_logit_softcapping") is not None,
        )
        if self.dropout and not own:
            weights = self.stream.replace(self.ops.dropout(weights), weights)
        width = per_token(architecture.num_heads * architecture.head_dim)
        output = self.ops.weighted_sum(weights, value, width)
        self.stream.linger(Scope.LAYER, weights)
        self.stream.drop(weights)
        return self.stream.replace(self.ops.copy(output), output)


def _rotary_share(plan: Plan) -> tuple[int, int]:
    """Return the rotated features of a head and all of them (`apply_rotary_pos_emb` of Phi and GPT-NeoX)."""
    config, head_dim = plan.config, plan.architecture.head_dim
    share = config.get("partial_rotary_factor", config.get("rotary_pct"))
    is_partial = plan.family.rotary_concatenates and isinstance(share, (int, float))
    return (int(head_dim * share), head_dim) if is_partial else (head_dim, head_dim)  # type: ignore[operator]


def _caches_when_checkpointing(plan: Plan) -> bool:
    """Whether checkpointed layers fill the cache, whose keys and values are views that keep the fused projection.

    GPT-BigCode never turned it off there (`GPTBigCodeModel.forward` of transformers 4.39 to 4.48).
    """
    return plan.family.caches_when_checkpointing and plan.stack.own_losses


def probability(config: Mapping[str, object], *names: str) -> float:
    """Return the first of the named dropout probabilities that the configuration sets, else 0."""
    for name in names:
        value = config.get(name)
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0
