"""The feed-forward part of a layer on sizes: plain and gated MLPs, activations, mixtures of experts."""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.held import Scope
from kaitoc.compiler.memory.closed_form.kernel import Group, launch, traffic
from kaitoc.compiler.memory.closed_form.layout import Experts, Layer, Plan
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.op import PASSED_ON
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.product import grouped_product
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, INT64_BYTES, ZERO, fixed, per_token
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.tensor import Tensor


class FeedForward:
    """The MLPs or experts of one plan's layers on one stream."""

    def __init__(self, stream: StreamBuilder, ops: Ops, plan: Plan) -> None:
        self.stream = stream
        self.ops = ops
        self.plan = plan
        config = plan.config
        self.activation = str(
            config.get("hidden_act") or config.get("activation_function") or config.get("hidden_activation") or "silu"
        )

    def run(self, layer: Layer, normed: Tensor) -> Tensor:
        """Run a layer's MLP or experts; the caller keeps `normed`."""
        if layer.experts is not None:
            return self._mixture(layer.experts, normed)
        return self._dense(layer.mlp, normed)

    def _dense(self, linears: tuple[Linear, ...], given: Tensor) -> Tensor:
        """Run an MLP; where one projection gives both halves, a variable of its `forward` holds them until it returns
        (`Phi3MLP` of `modeling_phi3.py`).
        """
        kind, stream = self.plan.family.mlp, self.stream
        if kind != "gated_fused":
            return self._mlp(linears, given, kind)
        fused = self.ops.linear(given, linears[0])
        stream.linger(Scope.MLP, fused)
        product = self._halves_multiplied(fused)
        output = self.ops.linear(product, linears[-1])
        stream.drop(product)
        stream.leave(Scope.MLP)
        return output

    def _mlp(self, linears: tuple[Linear, ...], given: Tensor, kind: str) -> Tensor:
        stream, ops = self.stream, self.ops
        if kind == "plain":
            wide = ops.linear(given, linears[0])
            product = self._activate(wide)
            stream.drop(wide)
        else:
            product = self._gated(linears[:-1], given)
        output = ops.linear(product, linears[-1])
        stream.drop(product)
        return output

    def _gated(self, linears: tuple[Linear, ...], given: Tensor) -> Tensor:
        stream, ops = self.stream, self.ops
        if len(linears) == 1:
            return self._halves_multiplied(ops.linear(given, linears[0]))
        gate = ops.linear(given, linears[0])
        active = self._activate(gate)
        stream.drop(gate)
        gate = stream.hold(active)
        up = ops.linear(given, linears[1])
        product = ops.multiply(active, up)
        stream.drop(active, up, gate)
        return product

    def _halves_multiplied(self, fused: Tensor) -> Tensor:
        """Activate one half of a tensor and multiply by the other; drops it."""
        stream = self.stream
        half = per_token(fused.elements[1] // 2)
        gate, up = stream.split(fused, half, half)
        stream.drop(fused)
        active = self._activate(gate)
        product = self.ops.multiply(active, up)
        stream.drop(active, up, gate)
        return product

    def _activate(self, value: Tensor) -> Tensor:
        """Kernels save their input; the GELUs written in Python save most of their intermediate results."""
        if self.activation in ("gelu_new", "gelu_python_tanh"):
            return self._new_gelu(value)
        if self.activation == "gelu_fast":
            return self._fast_gelu(value)
        return self.ops.unary(value)

    def _new_gelu(self, value: Tensor) -> Tensor:
        """`0.5 * x * (1 + tanh(c * (x + 0.044715 * x ** 3)))`; under autocast the power is float32."""
        ops, stream = self.ops, self.stream
        half = ops.copy(value)
        given = ops.cast(value, FLOAT32_BYTES) if ops.precision.autocast_bytes else stream.hold(value)
        effects = Effects(saves=(given,), backward_temporary=given.size)
        cube = stream.apply([given], given.elements, given.num_bytes, effects)
        stream.drop(given)
        cube = self.stream.replace(ops.copy(cube), cube)
        total = ops.add(value, cube)
        stream.drop(cube)
        total = self.stream.replace(ops.copy(total), total)
        return self._tanh_gate(half, total)

    def _fast_gelu(self, value: Tensor) -> Tensor:
        """`0.5 * x * (1 + tanh(c * x * (1 + 0.044715 * x * x)))`, each product saving its factors."""
        ops, stream = self.ops, self.stream
        half, scaled, small = ops.copy(value), ops.copy(value), ops.copy(value)
        square = ops.multiply(small, value)
        stream.drop(small)
        square = self.stream.replace(ops.copy(square), square)
        total = ops.multiply(scaled, square)
        stream.drop(scaled, square)
        return self._tanh_gate(half, total)

    def _tanh_gate(self, half: Tensor, total: Tensor) -> Tensor:
        ops = self.ops
        bent = self.stream.replace(ops.unary(total, saves_input=False, saves_output=True), total)
        raised = self.stream.replace(ops.copy(bent), bent)
        output = ops.multiply(half, raised)
        self.stream.drop(half, raised)
        return output

    def _mixture(self, experts: Experts, given: Tensor) -> Tensor:
        """Run a mixture of experts with tokens spread evenly: every token's row appears once per expert it visits."""
        stream, ops = self.stream, self.ops
        logits = ops.linear(given, experts.router)
        weights = stream.apply([logits], logits.elements, FLOAT32_BYTES, Effects(saves_output=True))
        top = stream.apply([weights], per_token(experts.top_k), weights.num_bytes)
        stream.drop(logits, weights)
        summed = (self._grouped_experts if experts.fused else self._looped_experts)(experts, given, top)
        stream.drop(top)
        if experts.shared:
            shared = self._mlp(experts.shared, given, "gated")
            if experts.shared_gate is not None:
                shared = self._gate_shared(experts.shared_gate, given, shared)
            summed = self.stream.replace(ops.add(summed, shared), summed)
            stream.drop(shared)
        return summed

    def _gate_shared(self, gate: Linear, given: Tensor, shared: Tensor) -> Tensor:
        """`sigmoid(gate(x)) * shared(x)`."""
        stream, ops = self.stream, self.ops
        logit = ops.linear(given, gate)
        weight = ops.unary(logit, saves_input=False, saves_output=True)
        output = stream.apply([shared, weight], shared.elements, shared.num_bytes, Effects(saves=(shared, weight)))
        stream.drop(logit, weight, shared)
        return output

    def _grouped_experts(self, experts: Experts, given: Tensor, top: Tensor) -> Tensor:
        """One grouped product over all experts (`grouped_mm_experts_forward`), rows sorted by expert and put back."""
        stream = self.stream
        rows = per_token(given.elements.per_token * experts.top_k)
        gathered = stream.apply([given], rows, given.num_bytes)
        outputs = self._grouped_mlp(experts, gathered)
        stream.drop(gathered)
        weighted = stream.apply([outputs, top], rows, outputs.num_bytes, Effects(saves=(outputs,)))
        ordered = stream.apply([weighted], rows, weighted.num_bytes)
        summed = stream.apply([ordered], given.elements, given.num_bytes)
        stream.drop(outputs, weighted, ordered)
        return summed

    def _grouped_mlp(self, experts: Experts, gathered: Tensor) -> Tensor:
        if experts.adapter is None:
            return self._mlp(experts.per_expert, gathered, "gated_fused")
        stream = self.stream
        inward, outward = experts.per_expert
        fused = self._merged_product(experts, inward, gathered, 2 * experts.adapter.rank)
        half = per_token(fused.elements.per_token // 2)
        gate, up = stream.split(fused, half, half)
        active = self._activate(gate)
        product = self.ops.multiply(active, up)
        stream.drop(fused, gate, up, active)
        output = self._merged_product(experts, outward, product, experts.adapter.rank)
        stream.drop(product)
        return output

    def _merged_product(self, experts: Experts, linear: Linear, given: Tensor, rank: int) -> Tensor:
        """Add adapters to the fused weight itself (PEFT's `ParamWrapper`, `baddbmm`): a copy that is saved."""
        stream = self.stream
        adapter = experts.adapter
        num_bytes = adapter.num_bytes if adapter else FLOAT32_BYTES
        factors = experts.num_experts * rank * (linear.in_features + linear.out_features)
        effects = Effects(saves_size=fixed(factors * linear.weight_bytes), parameter_gradients=factors * num_bytes)
        weights = fixed(experts.num_experts * linear.num_weights)
        merged = stream.apply([], weights, linear.weight_bytes, effects)
        elements = per_token(given.elements.per_token * linear.out_features // linear.in_features)
        forward, backward = grouped_product(given, merged, elements, linear.out_features)
        product = Effects(saves=(given, merged), forward=forward, backward=backward)
        output = stream.apply([given, merged], elements, given.num_bytes, product)
        stream.drop(merged)
        return output

    def _looped_experts(self, experts: Experts, given: Tensor, top: Tensor) -> Tensor:
        """One expert after the other, each on its share of rows, added in place (transformers 4).

        The gradient of each gather is a full tensor of zeros filled by index (`index_backward`).
        """
        stream = self.stream
        rows = per_token(given.elements.per_token * experts.top_k // experts.num_experts)

        def run() -> Tensor:
            gathered = stream.apply([given], rows, given.num_bytes)
            outputs = self._mlp(experts.per_expert, gathered, "gated")
            stream.drop(gathered)
            effects = Effects(saves=(outputs,), gradients=(outputs.size, PASSED_ON))
            weighted = stream.apply([outputs, top], rows, outputs.num_bytes, effects)
            stream.drop(outputs)
            return weighted

        if changes()[LibraryChange.INDEXES_BY_LIST].includes(self.plan.stack.transformers):
            stream.scratch(ZERO, launch(traffic(Group.HOST, per_token(INT64_BYTES * experts.top_k)), num_launches=0))
        target = stream.new(given.elements, given.num_bytes, False)
        return stream.accumulate(run, target, experts.num_experts)
