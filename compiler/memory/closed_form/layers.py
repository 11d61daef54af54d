"""One decoder layer on sizes, in the order in which transformers' modelling code computes it."""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.attention import AttentionBlock, probability
from kaitoc.compiler.memory.closed_form.detail import Detail
from kaitoc.compiler.memory.closed_form.held import Scope
from kaitoc.compiler.memory.closed_form.layout import Layer, Plan
from kaitoc.compiler.memory.closed_form.mlp import FeedForward
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.scratch import together
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.tensor import Tensor
from kaitoc.compiler.memory.workload import Workload

_RESIDUAL_DROPOUTS = {
    "gpt2": "resid_pdrop", "gpt_bigcode": "resid_pdrop", "phi": "resid_pdrop", "phi3": "resid_pdrop",
    "starcoder2": "residual_dropout", "gpt_neox": "hidden_dropout",
}  # fmt: skip
"""The probability of dropping out what attention and the MLP return, by the model types whose code does so."""


class Decoder:
    """The layers of one plan on one stream."""

    def __init__(self, stream: StreamBuilder, ops: Ops, plan: Plan, workload: Workload) -> None:
        self.stream = stream
        self.ops = ops
        self.plan = plan
        self.attention = AttentionBlock(stream, ops, plan, workload)
        self.feed_forward = FeedForward(stream, ops, plan)
        config = plan.config
        model_type = plan.architecture.model_type
        residual = _RESIDUAL_DROPOUTS.get(model_type)
        self.residual_dropout = probability(config, residual) if residual is not None else 0.0
        self.sum_dropout = probability(config, "hidden_dropout") if model_type == "falcon" else 0.0
        self.is_parallel = plan.family.parallel or bool(
            config.get("parallel_attn") if model_type == "falcon" else False
        )
        if model_type == "gpt_neox":
            self.is_parallel = bool(config.get("use_parallel_residual", True))

    def layer(self, layer: Layer, hidden: Tensor) -> Tensor:
        """Run one layer; the caller keeps `hidden`."""
        if self.is_parallel:
            return self._parallel(layer, hidden)
        stream = self.stream
        normed = self.norm(hidden)
        attended = self.attention.run(layer, normed)
        stream.drop(normed)
        if self.plan.family.post_norms:
            attended = self.stream.replace(self.norm(attended), attended)
        attended = self._residual_drop(attended)
        middle = self._residual(hidden, attended)
        stream.drop(attended)
        normed = self.norm(middle)
        out = self.feed_forward.run(layer, normed)
        stream.drop(normed)
        if self.plan.family.post_norms:
            out = self.stream.replace(self.norm(out), out)
        out = self._residual_drop(out)
        result = self._residual(middle, out)
        stream.drop(out, middle)
        stream.leave(Scope.LAYER)
        return result

    def norm(self, value: Tensor) -> Tensor:
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

    def _parallel(self, layer: Layer, hidden: Tensor) -> Tensor:
        """Attention and MLP side by side (Falcon, GPT-NeoX, Phi); Falcon drops out their sum (`dropout_add`).

        Variables hold what goes into the sum until the end.
        """
        stream, config = self.stream, self.plan.config
        separate = self.plan.architecture.model_type == "gpt_neox" or bool(config.get("new_decoder_architecture"))
        normed = self.norm(hidden)
        second = self.norm(hidden) if separate else stream.hold(normed)
        attended = self._residual_drop(self.attention.run(layer, normed))
        if not separate:
            stream.linger(Scope.LAYER, normed)
        stream.drop(normed)
        out = self._residual_drop(self.feed_forward.run(layer, second))
        stream.drop(second)
        stream.linger(Scope.LAYER, out, attended)
        both = self.ops.add(out, attended)
        stream.drop(out, attended)
        if self.sum_dropout:
            both = stream.replace(self.ops.dropout(both), both)
        result = self.ops.add(both, hidden)
        stream.drop(both)
        stream.leave(Scope.LAYER)
        return result

    def _residual(self, hidden: Tensor, result: Tensor) -> Tensor:
        """Add a block's result, which Granite multiplies first (`residual_multiplier` of `modeling_granite.py`)."""
        if not self.plan.family.scales_residuals:
            return self.ops.add(hidden, result)
        self.stream.copy_gradient(result)
        return self.ops.add(hidden, result, Detail(before=together(result.size)))

    def _residual_drop(self, value: Tensor) -> Tensor:
        return self.stream.replace(self.ops.dropout(value), value) if self.residual_dropout else value
