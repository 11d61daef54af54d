"""The feed-forward part of a layer on sizes: plain and gated MLPs, activations, mixtures of experts."""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.elementwise import FLOAT32_BYTES
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.plan import Experts, Layer, Plan
from kaitoc.compiler.memory.closed_form.size import ZERO, fixed, per_token
from kaitoc.compiler.memory.closed_form.tape import Tape
from kaitoc.compiler.memory.closed_form.value import Value


class FeedForward:
    """The MLPs or experts of one plan's layers on one tape."""

    def __init__(self, tape: Tape, ops: Ops, plan: Plan) -> None:
        self.tape = tape
        self.ops = ops
        self.plan = plan
        config = plan.config
        self.activation = str(
            config.get("hidden_act") or config.get("activation_function") or config.get("hidden_activation") or "silu"
        )

    def run(self, layer: Layer, normed: Value) -> Value:
        """Run a layer's MLP or experts; the caller keeps `normed`."""
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
        cube = self.tape.replace(ops.copy(cube), cube)
        total = ops.add(value, cube)
        tape.drop(cube)
        total = self.tape.replace(ops.copy(total), total)
        return self._tanh_gate(half, total)

    def _fast_gelu(self, value: Value) -> Value:
        """`0.5 * x * (1 + tanh(c * x * (1 + 0.044715 * x * x)))`, each product saving its factors."""
        ops, tape = self.ops, self.tape
        half, scaled, small = ops.copy(value), ops.copy(value), ops.copy(value)
        square = ops.multiply(small, value)
        tape.drop(small)
        square = self.tape.replace(ops.copy(square), square)
        total = ops.multiply(scaled, square)
        tape.drop(scaled, square)
        return self._tanh_gate(half, total)

    def _tanh_gate(self, half: Value, total: Value) -> Value:
        ops = self.ops
        bent = self.tape.replace(ops.unary(total, saves_input=False, saves_output=True), total)
        raised = self.tape.replace(ops.copy(bent), bent)
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
            summed = self.tape.replace(ops.add(summed, shared), summed)
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
