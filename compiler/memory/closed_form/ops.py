"""All operations of a decoder on sizes: attention here, linear layers and what keeps a shape where they are named.

Values are held and dropped as in `closed_form/elementwise.py`. Sources: `attention.cpp`, `flash_api.cpp` and
`SoftMax.cu` of PyTorch, and the modelling code of transformers 4.39 to 5.23.
"""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.adapters import AdaptedLinearOps
from kaitoc.compiler.memory.closed_form.detail import Detail
from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.held import Scope
from kaitoc.compiler.memory.closed_form.kernel import Group, launch
from kaitoc.compiler.memory.closed_form.op import PASSED_ON
from kaitoc.compiler.memory.closed_form.product import fused_attention, score_product, value_product
from kaitoc.compiler.memory.closed_form.scratch import together
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, Size, per_pair, per_token
from kaitoc.compiler.memory.closed_form.tensor import Tensor


class Ops(AdaptedLinearOps):
    """Operations on one stream."""

    def sdpa(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        num_heads: int,
        makes_mask: bool = False,
        shares_keys: bool = False,
    ) -> Tensor:
        """Fused attention: saves query, key, value, output and one float32 log-sum-exp per head and token.

        Backward of the flash kernel accumulates the query's gradient in float32 and holds a row sum per head
        (`flash_api.cpp`, `dq_accum` and `softmax_d`), and so does the memory-efficient one. cuDNN's saves the same
        tensors (`_scaled_dot_product_cudnn_attention_backward_cuda`, `attention_backward.cu`); scratch memory of its
        backward is sized by cuDNN (`get_workspace_size`, `MHA.cpp`) and is taken to be as large. `makes_mask`: the
        layer saves a mask of its own in the query's type, made of truth values (`convert_boolean_attn_mask`,
        `attention.cpp`) or by indexing. `shares_keys`: several heads share a key, for which the flash kernel forms both
        gradients per head before it adds them up (`dk_expanded` and `dv_expanded`, `mha_bwd` of `flash_api.cpp`).
        """
        forward, backward = fused_attention(query, key, value)
        self.stream.owed = None
        with self.stream.inside(Group.ATTENTION):
            inputs = [self._autocast(item) for item in (query, key, value)]
            statistics = per_token(FLOAT32_BYTES * num_heads)
            mask = per_pair(inputs[0].num_bytes) if makes_mask else ZERO
            gradient = inputs[0].elements * FLOAT32_BYTES
            expanded = (inputs[0].size,) * 2 if shares_keys else ()
            effects = Effects(
                saves=tuple(inputs),
                saves_output=True,
                saves_size=statistics + mask,
                detail=Detail(saved=(mask, statistics)),
                backward_temporary=gradient + statistics,
                later_pieces=together(statistics, gradient, *expanded),
                forward=forward,
                backward=backward,
            )
            output = self.stream.apply(inputs, inputs[0].elements, inputs[0].num_bytes, effects)
        self.stream.drop(*inputs)
        return output

    def math_attention(
        self, query: Tensor, key: Tensor, value: Tensor, *, num_heads: int, has_dropout: bool, copies_keys: bool
    ) -> Tensor:
        """Attend as PyTorch does where no fused kernel fits, in float32 or wider.

        `_scaled_dot_product_attention_math` (`attention.cpp`): widens a half input, scales query and key, and saves
        the attention weights; `copies_keys`: `matmul` copies a key head to all that share it, which a single sequence
        with a single key head spares it: what is saved of its values is then a view of the projection.
        """
        stream, num_bytes = self.stream, max(FLOAT32_BYTES, query.num_bytes)
        with stream.inside(Group.ATTENTION):
            forward, backward = score_product(query, num_heads, num_bytes)
            stream.scratch(ZERO, launch(*forward.kernels * 2), launch(*backward.kernels * 2))
            wide = [self.cast(query, num_bytes)]
            wide += [
                stream.apply([item], query.elements, num_bytes) if copies_keys else self.cast(item, num_bytes)
                for item in (key, value)
            ]
            scaled = [self.copy(item) for item in wide[:2]]
            scores = stream.apply(scaled, per_pair(num_heads), num_bytes, Effects(saves=self._factors(*scaled)))
            weights = stream.replace(self._safe_softmax(scores), scores)
            if has_dropout:
                weights = stream.replace(self.dropout(weights), weights)
            effects = Effects(saves=self._factors(weights, wide[2]))
            output = stream.apply([weights, wide[2]], query.elements, num_bytes, effects)
            stream.drop(weights, *scaled, *wide)
            return stream.replace(self.cast(output, query.num_bytes), output)

    def _safe_softmax(self, scores: Tensor) -> Tensor:
        """`_safe_softmax` looks for rows that are masked throughout."""
        effects = Effects(
            saves_output=True, forward_temporary=scores.size + scores.elements, backward_temporary=scores.size
        )
        return self.stream.apply([scores], scores.elements, scores.num_bytes, effects)

    def eager_scores(
        self,
        query: Tensor,
        key: Tensor,
        *,
        num_heads: int,
        num_scalings: int,
        mask_bytes: int,
        softmax_bytes: int,
        result_bytes: int,
        softcap: bool,
    ) -> Tensor:
        """`softmax(q k^T * scale + mask, dtype=float32).to(dtype)` over all pairs of tokens.

        A mask that is wider than the scores widens them.
        """
        forward, backward = score_product(query, num_heads, self.precision.autocast_bytes or query.num_bytes)
        stream = self.stream
        stream.owed = None
        with stream.inside(Group.ATTENTION):
            inputs = [self._autocast(item) for item in (query, key)]
            effects = Effects(saves=self._factors(*inputs), forward=forward, backward=backward)
            scores = stream.apply(inputs, per_pair(num_heads), inputs[0].num_bytes, effects)
            stream.drop(*inputs)
            for _ in range(num_scalings):
                scores = stream.replace(self.copy(scores), scores)
            if softcap:
                scores = self.softcapped(scores)
            gradient = PASSED_ON if scores.num_bytes >= mask_bytes else scores.size
            masked_bytes = max(scores.num_bytes, mask_bytes)
            masked = stream.apply([scores], scores.elements, masked_bytes, Effects(gradients=(gradient,)))
            scores = stream.replace(masked, scores)
            stream.linger(Scope.STATEMENT, scores)
            weights = stream.replace(self.softmax(scores, softmax_bytes), scores)
            narrow = stream.replace(self.cast(weights, result_bytes), weights)
            stream.leave(Scope.STATEMENT)
            return narrow

    def softcapped(self, value: Tensor) -> Tensor:
        """`tanh(x / cap) * cap`; drops the value."""
        divided = self.stream.replace(self.copy(value), value)
        bent = self.stream.replace(self.unary(divided, saves_input=False, saves_output=True), divided)
        return self.stream.replace(self.copy(bent), bent)

    def softmax(self, scores: Tensor, num_bytes: int) -> Tensor:
        """`softmax(scores, dtype)`: saves its output.

        CUDA's backward forms `grad * output` in full (`SoftMax.cu`, `softmax_backward_cuda`), and its forward reads a
        half input without widening it first.
        """
        effects = Effects(saves_output=True, backward_temporary=scores.elements * num_bytes)
        return self.stream.apply([scores], scores.elements, num_bytes, effects)

    def weighted_sum(self, weights: Tensor, value: Tensor, elements: Size) -> Tensor:
        """Attention weights times values; saves both."""
        num_bytes = self.precision.autocast_bytes or value.num_bytes
        forward, backward = value_product(weights, value, elements, num_bytes)
        self.stream.owed = None
        with self.stream.inside(Group.ATTENTION):
            inputs = [self._autocast(item) for item in (weights, value)]
            effects = Effects(saves=self._factors(*inputs), forward=forward, backward=backward)
            output = self.stream.apply(inputs, elements, inputs[1].num_bytes, effects)
        self.stream.drop(*inputs)
        return output
