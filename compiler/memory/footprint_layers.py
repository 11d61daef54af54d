"""One decoder layer on sizes, in the order in which transformers' modelling code computes it."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.memory.footprint_ops import FLOAT32_BYTES, HALF_BYTES, Linear, Ops
from kaitoc.compiler.memory.footprint_plan import Experts, Layer, Plan
from kaitoc.compiler.memory.footprint_size import ZERO, fixed, per_token
from kaitoc.compiler.memory.footprint_tape import Tape, Value
from kaitoc.compiler.memory.workload import Attention, Dtype, Kernels, Workload


class Decoder:
    """The layers of one plan on one tape."""

    def __init__(self, tape: Tape, ops: Ops, plan: Plan, workload: Workload) -> None:
        self.tape = tape
        self.ops = ops
        self.plan = plan
        self.is_single = workload.batch_size == 1
        self.kernels = workload.kernels
        self.computes_in_bfloat16 = (workload.autocast or workload.dtype) is Dtype.BFLOAT16
        falls_back = workload.attention is Attention.SDPA and not plan.family.supports_sdpa
        self.attention = Attention.EAGER if falls_back else workload.attention
        config = plan.config
        self.activation = str(
            config.get("hidden_act") or config.get("activation_function") or config.get("hidden_activation") or "silu"
        )
        self.projection_bytes = 0
        self.attention_dropout = _probability(config, "attention_dropout", "attn_pdrop")
        self.residual_dropout = _probability(config, "resid_pdrop", "residual_dropout", "hidden_dropout")
        self.is_parallel = plan.family.parallel or bool(
            config.get("parallel_attn") if plan.architecture.model_type == "falcon" else False
        )
        if plan.architecture.model_type == "gpt_neox":
            self.is_parallel = bool(config.get("use_parallel_residual", True))

    def layer(self, layer: Layer, hidden: Value) -> Value:
        """Run one layer; the caller keeps `hidden`."""
        if self.is_parallel:
            return self._parallel(layer, hidden)
        tape = self.tape
        normed = self.norm(hidden)
        attended = self._attention(layer, normed)
        tape.drop(normed)
        if self.plan.family.post_norms:
            attended = self._replace(self.norm(attended), attended)
        attended = self._residual_drop(attended)
        middle = self.ops.add(hidden, attended)
        tape.drop(attended)
        normed = self.norm(middle)
        out = self._feed_forward(layer, normed)
        tape.drop(normed)
        if self.plan.family.post_norms:
            out = self._replace(self.norm(out), out)
        out = self._residual_drop(out)
        result = self.ops.add(middle, out)
        tape.drop(out, middle)
        return result

    def norm(self, value: Value) -> Value:
        """Run the family's norm over the hidden size."""
        plan = self.plan
        if plan.family.norm == "layer":
            return self.ops.layer_norm(value, weight_bytes=plan.norm_bytes, trainable=plan.trains_base)
        return self.ops.rms_norm(
            value,
            weight_bytes=plan.norm_bytes,
            num_trained=plan.architecture.hidden_size if plan.trains_base else 0,
            multiplies_in_float32=plan.family.norm == "gemma",
        )

    def _parallel(self, layer: Layer, hidden: Value) -> Value:
        """Attention and MLP side by side (Falcon, GPT-NeoX, Phi)."""
        tape, config = self.tape, self.plan.config
        separate = self.plan.architecture.model_type == "gpt_neox" or bool(config.get("new_decoder_architecture"))
        normed = self.norm(hidden)
        second = self.norm(hidden) if separate else tape.hold(normed)
        attended = self._attention(layer, normed)
        tape.drop(normed)
        out = self._feed_forward(layer, second)
        tape.drop(second)
        both = self.ops.add(out, attended)
        tape.drop(out, attended)
        result = self.ops.add(both, hidden)
        tape.drop(both)
        return result

    def _residual_drop(self, value: Value) -> Value:
        return self._replace(self.ops.dropout(value), value) if self.residual_dropout else value

    def _attention(self, layer: Layer, normed: Value) -> Value:
        tape, ops, plan = self.tape, self.ops, self.plan
        projected = [ops.linear(normed, linear) for linear in layer.attention]
        self.projection_bytes = projected[0].num_bytes
        query, key, value = self._split(projected)
        if plan.family.query_key_norm:
            query, key = (self._head_norm(item) for item in (query, key))
        if plan.family.rotary:
            rotated = [ops.rotary(item) for item in (query, key)]
            tape.drop(query, key)
            query, key = rotated
        attended = self._attend(query, key, value, layer.is_masked and self.attention is Attention.SDPA)
        output = ops.linear(attended, layer.output)
        tape.drop(query, key, value, attended)
        return output

    def _split(self, projected: list[Value]) -> tuple[Value, Value, Value]:
        """Return query, key and value; those of a fused projection are views of its output."""
        if len(projected) == 3:
            return projected[0], projected[1], projected[2]
        architecture = self.plan.architecture
        (fused,) = projected
        widths = (architecture.num_heads, architecture.num_kv_heads, architecture.num_kv_heads)
        parts = [self._view(fused, width * architecture.head_dim) for width in widths]
        self.tape.drop(fused)
        return parts[0], parts[1], parts[2]

    def _view(self, fused: Value, width: int) -> Value:
        """Slice a fused projection; its gradient is padded with zeros to the whole (`slice_backward`)."""
        return self.tape.view(fused, per_token(width))

    def _head_norm(self, value: Value) -> Value:
        """Qwen 3's and Gemma 3's norm over each head."""
        plan = self.plan
        return self._replace(
            self.ops.rms_norm(
                value,
                weight_bytes=plan.norm_bytes,
                num_trained=plan.architecture.head_dim if plan.trains_base else 0,
                multiplies_in_float32=plan.family.norm == "gemma",
            ),
            value,
        )

    def _attend(self, query: Value, key: Value, value: Value, is_masked: bool) -> Value:
        tape, ops, architecture = self.tape, self.ops, self.plan.architecture
        num_heads = architecture.num_heads
        groups = num_heads // architecture.num_kv_heads
        keys, values = tape.hold(key), tape.hold(value)
        is_view = architecture.num_kv_heads == 1 and self.attention is not Attention.EAGER
        repeats = self._repeats_keys(is_masked)
        if groups > 1 and repeats and not is_view:
            width = per_token(num_heads * architecture.head_dim)
            keys = self._replace(tape.apply([keys], width, keys.num_bytes), keys)
            values = self._replace(tape.apply([values], width, values.num_bytes), values)
        if self._makes_contiguous and len(self.plan.family.attention) == 1 and not (groups > 1 and repeats):
            values = self._replace(ops.copy(values), values)
        if self.attention is Attention.EAGER:
            query, keys, values = self._contiguous(query, keys, values, groups)
            output = self._eager(query, keys, values)
            tape.drop(query)
        elif self._falls_back_to_math(query, num_key_groups=1 if repeats else groups):
            output = ops.math_attention(
                query,
                keys,
                values,
                num_heads=num_heads,
                has_dropout=self.attention_dropout > 0,
                copies_keys=not repeats and groups > 1 and not (self.is_single and architecture.num_kv_heads == 1),
            )
        else:
            stack = self.plan.stack
            makes_mask = is_masked and (stack.masks_are_boolean or architecture.model_type in stack.copies_masks)
            inputs = [self._for_kernel(item) for item in (query, keys, values)]
            output = ops.sdpa(*inputs, num_heads=num_heads, makes_mask=makes_mask)
            tape.drop(*inputs)
            if self._is_laid_out_by_head(query, is_masked):
                output = self._replace(ops.copy(output), output)
        tape.drop(keys, values)
        return output

    def _for_kernel(self, value: Value) -> Value:
        """Narrow float32 for the flash-attention package (`_flash_attention_forward` of transformers, all versions)."""
        if self.attention is Attention.FLASH and value.num_bytes == FLOAT32_BYTES:
            return self.ops.cast(value, HALF_BYTES)
        return self.tape.hold(value)

    def _contiguous(self, query: Value, key: Value, value: Value, groups: int) -> tuple[Value, Value, Value]:
        """Copy the views of a fused projection that a batched product saves (`matmul` of strided heads)."""
        ops, tape = self.ops, self.tape
        is_fused = len(self.plan.family.attention) == 1
        if is_fused and groups == 1:
            value = self._replace(ops.copy(value), value)
        if not is_fused or self.plan.family.rotary:
            return tape.hold(query), key, value
        return ops.copy(query), self._replace(ops.copy(key), key) if groups == 1 else key, value

    def _repeats_keys(self, is_masked: bool) -> bool:
        """Whether grouped keys are repeated; repeating a single head is a view and copies nothing."""
        family = self.plan.family
        if family.own_attention:
            return bool(self.plan.config.get("new_decoder_architecture"))
        if self.attention is Attention.EAGER:
            return True
        if self.attention is Attention.FLASH:
            return self.plan.stack.flash_repeats_keys and family.flash_repeats_keys
        return self.plan.stack.repeats_keys == "always" or is_masked

    def _falls_back_to_math(self, query: Value, num_key_groups: int) -> bool:
        """Whether no fused kernel of SDPA takes these inputs (`sdp_utils.cpp`, PyTorch 2.5 to 2.13).

        Keys with fewer heads need the flash kernel, which is for half precision on Ampere and later; before Ampere the
        memory-efficient kernel takes no bfloat16. Falcon with one key head does not even say that heads are grouped.
        """
        if self.attention is not Attention.SDPA or self.kernels is Kernels.CPU:
            return False
        is_old = self.kernels is Kernels.BEFORE_AMPERE
        if num_key_groups > 1:
            return self.plan.family.own_attention or self._is_float32(query) or is_old
        return is_old and self.computes_in_bfloat16 and not self._is_float32(query)

    def _is_laid_out_by_head(self, query: Value, is_masked: bool) -> bool:
        """Whether attention's output must be copied: the flash kernel lays it out as the query is, others by token."""
        takes_flash = not (is_masked or self._is_float32(query) or self.kernels is Kernels.BEFORE_AMPERE)
        return takes_flash and (self._makes_contiguous or self.plan.family.rotary_concatenates)

    @property
    def _makes_contiguous(self) -> bool:
        return self.plan.stack.makes_contiguous and self.attention is Attention.SDPA

    def _is_float32(self, query: Value) -> bool:
        """Whether attention gets float32, which the memory-efficient kernel computes; its output is token by token."""
        return query.num_bytes == FLOAT32_BYTES and not self.ops.precision.autocast_bytes

    def _eager(self, query: Value, key: Value, value: Value) -> Value:
        architecture, config = self.plan.architecture, self.plan.config
        weights = self.ops.eager_scores(
            query,
            key,
            num_heads=architecture.num_heads,
            num_scalings=1,
            softmax_bytes=query.num_bytes if self.plan.family.half_softmax else FLOAT32_BYTES,
            softcap=config.get("attn_logit_softcapping") is not None,
        )
        if self.attention_dropout:
            weights = self._replace(self.ops.dropout(weights), weights)
        width = per_token(architecture.num_heads * architecture.head_dim)
        output = self.ops.weighted_sum(weights, value, width)
        self.tape.drop(weights)
        return self._replace(self.ops.copy(output), output)

    def _feed_forward(self, layer: Layer, normed: Value) -> Value:
        if layer.experts is not None:
            return self._mixture(layer.experts, normed)
        return self._mlp(layer.mlp, normed, self.plan.family.mlp)

    def _mlp(self, linears: tuple[Linear, ...], given: Value, kind: str) -> Value:
        tape, ops = self.tape, self.ops
        if kind == "plain":
            wide = ops.linear(given, linears[0])
            product = self._activate(wide)
            tape.drop(wide)
        else:
            product = self._gated(linears[:-1], given)
        output = ops.linear(product, linears[-1])
        tape.drop(product)
        return output

    def _gated(self, linears: tuple[Linear, ...], given: Value) -> Value:
        tape, ops = self.tape, self.ops
        if len(linears) == 1:
            fused = ops.linear(given, linears[0])
            half = per_token(fused.elements[1] // 2)
            gate, up = tape.split(fused, half, half)
            tape.drop(fused)
            active = self._activate(gate)
        else:
            gate = ops.linear(given, linears[0])
            active = self._activate(gate)
            tape.drop(gate)
            gate = tape.hold(active)
            up = ops.linear(given, linears[1])
        product = ops.multiply(active, up)
        tape.drop(active, up, gate)
        return product

    def _activate(self, value: Value) -> Value:
        """Kernels save their input; the GELUs written in Python save most of their intermediate results."""
        if self.activation in ("gelu_new", "gelu_python_tanh"):
            return self._new_gelu(value)
        if self.activation == "gelu_fast":
            return self._fast_gelu(value)
        return self.ops.unary(value)

    def _new_gelu(self, value: Value) -> Value:
        """`0.5 * x * (1 + tanh(c * (x + 0.044715 * x ** 3)))`; under autocast the power is float32."""
        ops, tape = self.ops, self.tape
        half = ops.copy(value)
        given = ops.cast(value, 4) if ops.precision.autocast_bytes else tape.hold(value)
        cube = tape.apply([given], given.elements, given.num_bytes, saves=[given], backward_temporary=given.size)
        tape.drop(given)
        cube = self._replace(ops.copy(cube), cube)
        total = ops.add(value, cube)
        tape.drop(cube)
        total = self._replace(ops.copy(total), total)
        return self._tanh_gate(half, total)

    def _fast_gelu(self, value: Value) -> Value:
        """`0.5 * x * (1 + tanh(c * x * (1 + 0.044715 * x * x)))`, each product saving its factors."""
        ops, tape = self.ops, self.tape
        half, scaled, small = ops.copy(value), ops.copy(value), ops.copy(value)
        square = ops.multiply(small, value)
        tape.drop(small)
        square = self._replace(ops.copy(square), square)
        total = ops.multiply(scaled, square)
        tape.drop(scaled, square)
        return self._tanh_gate(half, total)

    def _tanh_gate(self, half: Value, total: Value) -> Value:
        ops = self.ops
        bent = self._replace(ops.unary(total, saves_input=False, saves_output=True), total)
        raised = self._replace(ops.copy(bent), bent)
        output = ops.multiply(half, raised)
        self.tape.drop(half, raised)
        return output

    def _mixture(self, experts: Experts, given: Value) -> Value:
        """Run a mixture of experts with tokens spread evenly: every token's row appears once per expert it visits."""
        tape, ops = self.tape, self.ops
        logits = ops.linear(given, experts.router)
        weights = tape.apply([logits], logits.elements, 4, saves_output=True)
        top = tape.apply([weights], per_token(experts.top_k), weights.num_bytes)
        tape.drop(logits, weights)
        summed = (self._grouped_experts if experts.fused else self._looped_experts)(experts, given, top)
        tape.drop(top)
        if experts.shared:
            shared = self._mlp(experts.shared, given, "gated")
            if experts.shared_gate is not None:
                shared = self._gate_shared(experts.shared_gate, given, shared)
            summed = self._replace(ops.add(summed, shared), summed)
            tape.drop(shared)
        return summed

    def _gate_shared(self, gate: Linear, given: Value, shared: Value) -> Value:
        """`sigmoid(gate(x)) * shared(x)`."""
        tape, ops = self.tape, self.ops
        logit = ops.linear(given, gate)
        weight = ops.unary(logit, saves_input=False, saves_output=True)
        output = tape.apply([shared, weight], shared.elements, shared.num_bytes, saves=[shared, weight])
        tape.drop(logit, weight, shared)
        return output

    def _grouped_experts(self, experts: Experts, given: Value, top: Value) -> Value:
        """One grouped product over all experts (`grouped_mm_experts_forward`), rows sorted by expert and put back."""
        tape = self.tape
        rows = per_token(given.elements.per_token * experts.top_k)
        gathered = tape.apply([given], rows, given.num_bytes)
        outputs = self._grouped_mlp(experts, gathered)
        tape.drop(gathered)
        weighted = tape.apply([outputs, top], rows, outputs.num_bytes, saves=[outputs])
        ordered = tape.apply([weighted], rows, weighted.num_bytes)
        summed = tape.apply([ordered], given.elements, given.num_bytes)
        tape.drop(outputs, weighted, ordered)
        return summed

    def _grouped_mlp(self, experts: Experts, gathered: Value) -> Value:
        if experts.adapter is None:
            return self._mlp(experts.per_expert, gathered, "gated_fused")
        tape = self.tape
        inward, outward = experts.per_expert
        fused = self._merged_product(experts, inward, gathered, 2 * experts.adapter.rank)
        half = per_token(fused.elements.per_token // 2)
        gate, up = tape.split(fused, half, half)
        active = self._activate(gate)
        product = self.ops.multiply(active, up)
        tape.drop(fused, gate, up, active)
        output = self._merged_product(experts, outward, product, experts.adapter.rank)
        tape.drop(product)
        return output

    def _merged_product(self, experts: Experts, linear: Linear, given: Value, rank: int) -> Value:
        """Add adapters to the fused weight itself (PEFT's `ParamWrapper`, `baddbmm`): a copy that is saved."""
        tape = self.tape
        adapter = experts.adapter
        num_bytes = adapter.num_bytes if adapter else FLOAT32_BYTES
        factors = experts.num_experts * rank * (linear.in_features + linear.out_features)
        merged = tape.apply(
            [],
            fixed(experts.num_experts * linear.num_weights),
            linear.weight_bytes,
            saves_size=fixed(factors * linear.weight_bytes),
            parameter_gradients=factors * num_bytes,
        )
        elements = per_token(given.elements.per_token * linear.out_features // linear.in_features)
        output = tape.apply([given, merged], elements, given.num_bytes, saves=[given, merged])
        tape.drop(merged)
        return output

    def _looped_experts(self, experts: Experts, given: Value, top: Value) -> Value:
        """One expert after the other, each on its share of rows, added in place (transformers 4).

        The gradient of each gather is a full tensor of zeros filled by index (`index_backward`).
        """
        tape = self.tape
        rows = per_token(given.elements.per_token * experts.top_k // experts.num_experts)

        def run() -> Value:
            gathered = tape.apply([given], rows, given.num_bytes)
            outputs = self._mlp(experts.per_expert, gathered, "gated")
            tape.drop(gathered)
            weighted = tape.apply([outputs, top], rows, outputs.num_bytes, saves=[outputs], grads=[outputs.size, ZERO])
            tape.drop(outputs)
            return weighted

        target = tape.new(given.elements, given.num_bytes, False)
        return tape.accumulate(run, target, experts.num_experts)

    def _replace(self, new: Value, old: Value) -> Value:
        self.tape.drop(old)
        return new


def _probability(config: Mapping[str, object], *names: str) -> float:
    """Return the first of the named dropout probabilities that the configuration sets, else 0."""
    for name in names:
        value = config.get(name)
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0
