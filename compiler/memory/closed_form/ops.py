"""All operations of a decoder on sizes: attention here, linear layers and what keeps a shape where they are named.

Values are held and dropped as in `closed_form/elementwise.py`. Sources: `attention.cpp`, `flash_api.cpp` and
`SoftMax.cu` of PyTorch, and the modelling code of transformers 4.39 to 5.23.
"""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.elementwise import FLOAT32_BYTES
from kaitoc.compiler.memory.closed_form.linear import LinearOps
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, per_pair, per_token
from kaitoc.compiler.memory.closed_form.value import Value


class Ops(LinearOps):
    """Operations on one tape."""

    def sdpa(self, query: Value, key: Value, value: Value, *, num_heads: int, makes_mask: bool = False) -> Value:
        """Fused attention: saves query, key, value, output and one float32 log-sum-exp per head and token.

        Backward of the flash kernel accumulates the query's gradient in float32 and holds a row sum per head
        (`flash_api.cpp`, `dq_accum` and `softmax_d`), and so does the memory-efficient one. cuDNN's saves the same
        tensors (`_scaled_dot_product_cudnn_attention_backward_cuda`, `attention_backward.cu`); scratch memory of its
        backward is sized by cuDNN (`get_workspace_size`, `MHA.cpp`) and is taken to be as large. `makes_mask`: the
        layer saves a mask of its own in the query's type, made of truth values (`convert_boolean_attn_mask`,
        `attention.cpp`) or by indexing.
        """
        inputs = [self._autocast(item) for item in (query, key, value)]
        statistics = per_token(FLOAT32_BYTES * num_heads)
        mask = per_pair(inputs[0].num_bytes) if makes_mask else ZERO
        output = self.tape.apply(
            inputs,
            inputs[0].elements,
            inputs[0].num_bytes,
            saves=inputs,
            saves_output=True,
            saves_size=statistics.plus(mask),
            backward_temporary=inputs[0].elements.times(FLOAT32_BYTES).plus(statistics),
        )
        self.tape.drop(*inputs)
        return output

    def math_attention(
        self, query: Value, key: Value, value: Value, *, num_heads: int, has_dropout: bool, copies_keys: bool
    ) -> Value:
        """Attend as PyTorch does where heads differ in number and no fused kernel fits, all in float32.

        `_scaled_dot_product_attention_math` (`attention.cpp`): widens a half input, scales query and key, and saves
        the attention weights; `copies_keys`: `matmul` copies a key head to all that share it, which a single sequence
        with a single key head spares it: what is saved of its values is then a view of the projection. `_safe_softmax`
        looks for rows that are masked throughout.
        """
        tape = self.tape
        wide = [self.cast(query, FLOAT32_BYTES)]
        wide += [
            tape.apply([item], query.elements, FLOAT32_BYTES) if copies_keys else self.cast(item, FLOAT32_BYTES)
            for item in (key, value)
        ]
        scaled = [self.copy(item) for item in wide[:2]]
        scores = tape.apply(scaled, per_pair(num_heads), FLOAT32_BYTES, saves=scaled)
        size = scores.size
        weights = tape.apply(
            [scores],
            scores.elements,
            FLOAT32_BYTES,
            saves_output=True,
            forward_temporary=size.plus(scores.elements),
            backward_temporary=size,
        )
        tape.drop(scores)
        if has_dropout:
            weights = self.tape.replace(self.dropout(weights), weights)
        output = tape.apply([weights, wide[2]], query.elements, FLOAT32_BYTES, saves=[weights, wide[2]])
        tape.drop(weights, *scaled, *wide)
        return self.tape.replace(self.cast(output, query.num_bytes), output)

    def eager_scores(
        self, query: Value, key: Value, *, num_heads: int, num_scalings: int, softmax_bytes: int, softcap: bool
    ) -> Value:
        """`softmax(q k^T * scale + mask, dtype=float32).to(dtype)` over all pairs of tokens."""
        tape = self.tape
        inputs = [self._autocast(item) for item in (query, key)]
        scores = tape.apply(inputs, per_pair(num_heads), inputs[0].num_bytes, saves=inputs)
        tape.drop(*inputs)
        for _ in range(num_scalings):
            scores = self.tape.replace(self.copy(scores), scores)
        if softcap:
            scores = self.tape.replace(self.copy(scores), scores)
            scores = self.tape.replace(self.unary(scores, saves_input=False, saves_output=True), scores)
            scores = self.tape.replace(self.copy(scores), scores)
        scores = self.tape.replace(tape.apply([scores], scores.elements, scores.num_bytes, grads=[ZERO]), scores)
        given_bytes = scores.num_bytes
        weights = self.tape.replace(self.softmax(scores, softmax_bytes), scores)
        return self.tape.replace(self.cast(weights, given_bytes), weights)

    def softmax(self, scores: Value, num_bytes: int) -> Value:
        """`softmax(scores, dtype)`: saves its output.

        CUDA's backward forms `grad * output` in full (`SoftMax.cu`, `softmax_backward_cuda`), and its forward reads a
        half input without widening it first.
        """
        product = scores.elements.times(num_bytes)
        return self.tape.apply([scores], scores.elements, num_bytes, saves_output=True, backward_temporary=product)

    def weighted_sum(self, weights: Value, value: Value, elements: Size) -> Value:
        """Attention weights times values; saves both."""
        given = self._autocast(value)
        output = self.tape.apply([weights, given], elements, given.num_bytes, saves=[weights, given])
        self.tape.drop(given)
        return output
