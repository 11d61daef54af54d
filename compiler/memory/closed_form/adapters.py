"""Linear layers with LoRA or DoRA on sizes.

Values are held and dropped as in `closed_form/elementwise.py`. Sources: the modelling code of peft 0.11 to 0.21, and
what is named at each method.
"""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.kernel import NO_LAUNCH, Group, launch, traffic
from kaitoc.compiler.memory.closed_form.linear import Adapter, Linear, LinearOps
from kaitoc.compiler.memory.closed_form.product import MatrixProduct
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.tensor import Kind, Tensor
from kaitoc.compiler.memory.workload import Quantization

NUM_NORM_KERNELS = 9
NUM_NORM_PASSES = 13


class AdaptedLinearOps(LinearOps):
    """Linear layers with their adapters on one stream."""

    def linear(self, value: Tensor, layer: Linear, group: Group = Group.MLP) -> Tensor:
        """Run a linear layer, whose work counts for `group`, with its LoRA branch, if any, which counts as adapters."""
        with self.stream.inside(Group.ADAPTERS):
            base = self.base_linear(value, layer, group)
            adapter = layer.adapter
            if adapter is None:
                return base
            is_plain = layer.quantization is Quantization.GPTQ and self.precision.casts_gptq_input
            if layer.quantization is not Quantization.NONE and not is_plain:
                return self._quantized_lora(value, base, layer, adapter)
            return self._lora(value, base, layer, adapter)

    def _lora(self, value: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """PEFT's `Linear`: the input cast to the adapter's type, the sum cast back to the result's."""
        stream = self.stream
        given = self.cast(value, adapter.num_bytes)
        delta = self._delta(given, base, layer, adapter)
        total = self.add(base, delta)
        stream.drop(base, delta)
        output = self.cast(total, base.num_bytes)
        stream.drop(total, given)
        return output

    def _low_rank(self, given: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """`lora_B(lora_A(dropout(x))) * scaling`."""
        up = self._low_rank_without_scale(given, layer, adapter)
        return self.stream.replace(self.copy(up), up)

    def _quantized_lora(self, value: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """PEFT's `Linear4bit`, `Linear8bitLt`, `AwqLoraLinear` and, before 0.16, `GPTQLoraLinear`.

        No input cast under autocast, the delta cast to the result's type.
        """
        stream = self.stream
        result = base
        if self.precision.clones_quantized_result and layer.quantization in (Quantization.NF4, Quantization.FP4):
            result = self.stream.replace(self.copy(base), base)
        given = stream.hold(value) if self.precision.autocast_bytes else self.cast(value, adapter.num_bytes)
        delta = self._delta(given, result, layer, adapter)
        converts = not self.precision.autocast_bytes
        if converts and not adapter.dora:
            delta = self.stream.replace(self.cast(delta, result.num_bytes), delta)
        output = self.add(result, delta)
        if converts and adapter.dora:
            output = self.stream.replace(self.cast(output, result.num_bytes), output)
        stream.drop(result, delta, given)
        return output

    def _delta(self, given: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """Return the adapter's addition to the base layer's result."""
        return self._dora_delta(given, base, layer, adapter) if adapter.dora else self._low_rank(given, layer, adapter)

    def _dora_delta(self, given: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """`peft/tuners/lora/dora.py`: the merged weight's norm, then magnitude times the low-rank result.

        The product of both matrices lives until the function returns, with the identity matrix that its graph saves,
        and so does the weight in the input's type. With dropout the base result is computed again from that, otherwise
        the bias is taken off it.
        """
        stream, num_bytes = self.stream, given.num_bytes
        dropped = self._dropped(given, adapter)
        matrix = fixed(layer.num_weights * num_bytes)
        is_copied = num_bytes != layer.weight_bytes or layer.quantization is not Quantization.NONE
        widened = matrix if is_copied else ZERO
        self._dora_norm(layer, adapter, matrix, widened)
        weight = stream.new(widened, 1, False, Kind.WORKSPACE)
        held = stream.new(matrix + self._saved_identity(layer, adapter), 1, False, Kind.WORKSPACE)
        if adapter.has_dropout:
            base = self._dora_base(dropped, weight, layer)
        elif layer.has_bias:
            base = stream.apply([base], base.elements, max(base.num_bytes, layer.weight_bytes))
        else:
            stream.hold(base)
        low_rank = self._both_products(dropped, layer, adapter)
        scale_bytes = max(adapter.num_bytes, num_bytes)
        scaled_base = self._times_magnitude(base, scale_bytes, layer.out_features * adapter.num_bytes)
        scaled = self._times_magnitude(low_rank, scale_bytes, 0)
        scaled = self.stream.replace(self.copy(scaled), scaled)
        delta = self.add(scaled_base, scaled)
        stream.drop(base, scaled_base, scaled, low_rank, held, weight, dropped)
        return delta

    def _saved_identity(self, layer: Linear, adapter: Adapter) -> Size:
        return fixed(layer.in_features**2 * (self.precision.autocast_bytes or adapter.num_bytes))

    def _dora_base(self, given: Tensor, weight: Tensor, layer: Linear) -> Tensor:
        """`F.linear(x, weight)`, which saves the weight, or autocast's copy of it, for the input's gradient."""
        num_bytes = self.precision.autocast_bytes or given.num_bytes
        is_cast = num_bytes != given.num_bytes
        narrow = self._autocast(given)
        effects = Effects(
            saves=(weight,) if given.needs_grad and not is_cast else (),
            saves_size=fixed(layer.num_weights * num_bytes) if given.needs_grad and is_cast else ZERO,
        )
        elements = given.elements.scaled(layer.out_features, layer.in_features)
        return self.stream.replace(self.stream.apply([narrow], elements, num_bytes, effects), narrow)

    def _dora_norm(self, layer: Linear, adapter: Adapter, matrix: Size, widened: Size) -> None:
        """Take the norm of the merged weight (`peft/tuners/lora/dora.py`), as every forward pass does.

        The adapter's product with an identity matrix, the weight's widened copy, the product scaled, the sum and its
        norm: 13 passes over a matrix of the adapter's type. An identity matrix, the low-rank product, the widened
        weight, and their scaled sum live together.
        """
        rank, num_bytes = adapter.rank, adapter.num_bytes
        square = layer.in_features * layer.in_features
        down = MatrixProduct(Group.ADAPTERS, fixed(square), layer.in_features, rank, num_bytes)
        up = MatrixProduct(Group.ADAPTERS, fixed(layer.in_features * rank), rank, layer.out_features, num_bytes)
        norm = traffic(Group.ADAPTERS, matrix * NUM_NORM_PASSES)
        identity, saved = fixed(square * num_bytes), self._saved_identity(layer, adapter)
        self.stream.scratch(identity + saved if identity != saved else identity, NO_LAUNCH)
        self.stream.scratch(
            saved + matrix + widened + matrix * 2,
            launch(down.output(), up.output(), norm, num_launches=NUM_NORM_KERNELS),
        )

    def _times_magnitude(self, value: Tensor, scale_bytes: int, parameter_gradients: int) -> Tensor:
        num_bytes = max(value.num_bytes, scale_bytes)
        narrowed = value.elements * (num_bytes - value.num_bytes * self.precision.recomputes)
        effects = Effects(
            saves=(value,),
            backward_temporary=value.elements * num_bytes + (narrowed if value.num_bytes < num_bytes else ZERO),
            parameter_gradients=parameter_gradients,
        )
        return self.stream.apply([value], value.elements, num_bytes, effects)

    def _low_rank_without_scale(self, given: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        dropped = self._dropped(given, adapter)
        return self.stream.replace(self._both_products(dropped, layer, adapter), dropped)

    def _dropped(self, given: Tensor, adapter: Adapter) -> Tensor:
        return self.dropout(given) if adapter.has_dropout else self.stream.hold(given)

    def _both_products(self, dropped: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        down = self.matmul(dropped, Linear(layer.in_features, adapter.rank, adapter.num_bytes, trainable=True))
        up = self.matmul(down, Linear(adapter.rank, layer.out_features, adapter.num_bytes, trainable=True))
        return self.stream.replace(up, down)
