"""Linear layers with LoRA or DoRA on sizes.

Values are held and dropped as in `closed_form/elementwise.py`. Sources: the modelling code of peft 0.11 to 0.21, and
what is named at each method.
"""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.kernel import Group, launch, traffic
from kaitoc.compiler.memory.closed_form.linear import Adapter, Linear, LinearOps
from kaitoc.compiler.memory.closed_form.op import Kind, Tensor
from kaitoc.compiler.memory.closed_form.product import MatrixProduct
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed, per_token
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
        if not self.precision.autocast_bytes:
            delta = self.stream.replace(self.cast(delta, result.num_bytes), delta)
        output = self.add(result, delta)
        stream.drop(result, delta, given)
        return output

    def _delta(self, given: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """Return the adapter's addition to the base layer's result."""
        return self._dora_delta(given, base, layer, adapter) if adapter.dora else self._low_rank(given, layer, adapter)

    def _dora_delta(self, given: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """`peft/tuners/lora/dora.py`: the merged weight's norm, then magnitude times the low-rank result.

        With dropout the base result is computed again from the widened weight, which is then saved.
        """
        stream, num_bytes = self.stream, adapter.num_bytes
        matrix = fixed(layer.num_weights * num_bytes)
        widened = matrix if num_bytes != layer.weight_bytes else ZERO
        self._dora_norm(layer, adapter, matrix, widened)
        held = stream.new(matrix + widened, 1, False, Kind.WORKSPACE)
        if adapter.has_dropout:
            effects = Effects(saves_size=widened if given.needs_grad else ZERO)
            base = stream.apply([given], per_token(layer.out_features), num_bytes, effects)
        else:
            stream.hold(base)
        low_rank = self._low_rank_without_scale(given, layer, adapter)
        scaled_base = self._times_magnitude(base, num_bytes, layer.out_features * num_bytes)
        stream.drop(base)
        scaled = self._times_magnitude(low_rank, num_bytes, 0)
        scaled = self.stream.replace(self.copy(scaled), scaled)
        delta = self.add(scaled_base, scaled)
        stream.drop(scaled_base, scaled, low_rank, held)
        return delta

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
        self.stream.scratch(
            fixed(square * num_bytes) + matrix + widened + matrix * 2,
            launch(down.output(), up.output(), norm, num_launches=NUM_NORM_KERNELS),
        )

    def _times_magnitude(self, value: Tensor, num_bytes: int, parameter_gradients: int) -> Tensor:
        effects = Effects(
            saves=(value,),
            backward_temporary=value.elements * num_bytes,
            parameter_gradients=parameter_gradients,
        )
        return self.stream.apply([value], value.elements, num_bytes, effects)

    def _low_rank_without_scale(self, given: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        stream = self.stream
        dropped = self.dropout(given) if adapter.has_dropout else stream.hold(given)
        down = self.matmul(dropped, Linear(layer.in_features, adapter.rank, adapter.num_bytes, trainable=True))
        stream.drop(dropped)
        up = self.matmul(down, Linear(adapter.rank, layer.out_features, adapter.num_bytes, trainable=True))
        stream.drop(down)
        return up
